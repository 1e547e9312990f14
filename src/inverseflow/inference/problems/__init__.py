"""Ready-made inverse problems, most of them with an exact posterior to be judged by: `create` builds them by name."""

from inverseflow.inference.problems.ballistics import inverse_ballistics
from inverseflow.inference.problems.darcy import darcy_flow
from inverseflow.inference.problems.kinematics import inverse_kinematics
from inverseflow.inference.problems.linear import gaussian_linear, gaussian_linear_uniform
from inverseflow.inference.problems.mixtures import eight_modes, gaussian_mixture
from inverseflow.inference.problems.moons import two_moons
from inverseflow.inference.problems.populations import epidemic, predator_and_prey
from inverseflow.inference.problems.registry import create, problem_names, register
from inverseflow.inference.problems.slcp import simple_likelihood, simple_likelihood_with_distractors
from inverseflow.inference.problems.spikes import spike_statistics, spike_train

__all__ = [
    "create",
    "darcy_flow",
    "eight_modes",
    "epidemic",
    "gaussian_linear",
    "gaussian_linear_uniform",
    "gaussian_mixture",
    "inverse_ballistics",
    "inverse_kinematics",
    "predator_and_prey",
    "problem_names",
    "register",
    "simple_likelihood",
    "simple_likelihood_with_distractors",
    "spike_statistics",
    "spike_train",
    "two_moons",
]
