"""The experiments by name."""

from __future__ import annotations

from experiments import (
    arma,
    bijectivity,
    classifier,
    deblurring,
    figure1,
    paper,
    scalability,
    speedup,
    sweeps,
)
from experiments.experiment import Experiment
from inverseflow.errors import OptionError

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        bijectivity.EXPERIMENT,
        speedup.EXPERIMENT,
        *(each.experiment for each in paper.TABLES),
        *(each.experiment for each in sweeps.TABLES),
        figure1.EXPERIMENT,
        arma.EXPERIMENT,
        scalability.EXPERIMENT,
        deblurring.EXPERIMENT,
        classifier.EXPERIMENT,
    )
}
"""In the order of the page."""


def experiment_named(name: str) -> Experiment:
    """Return the experiment of that name, or raise an OptionError that lists the names.

    Example:
        >>> experiment_named("bijectivity").title
        'Bijectivity'
    """
    if name not in EXPERIMENTS:
        raise OptionError(f"there is no experiment {name!r}; there are {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
