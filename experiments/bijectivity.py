"""Errors of the round trip and the log-determinant of every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.measured_layers import MEASURED_LAYERS, ImageShape, Measured
from experiments.result import Result, Values
from inverseflow.bijections import Bijection
from inverseflow.ops.fixed_point import default_tolerance

BATCH = 2
PERTURBATION = 0.1

ROUND_TRIP_GOAL = 1e-9
LOG_DET_GOAL = 1e-8

_SIZES: dict[Budget, tuple[ImageShape, ...]] = {
    "smoke": ((4, 4, 6),),
    "quick": ((4, 4, 6), (4, 8, 8), (12, 4, 4)),
    "full": ((4, 4, 6), (4, 8, 8), (12, 4, 4), (12, 8, 8)),
}
_PRECISIONS = (torch.float64, torch.float32)


def measure(layer: Measured, shape: ImageShape, device: str, seed: int = 0) -> dict[torch.dtype, Values]:
    """Measure one layer at one size in float64 and in float32, with perturbed parameters.

    Args:
        layer: the layer.
        shape: of an image.
        device: where.
        seed: decides parameters and data.

    Returns:
        For each precision the largest errors: of an element after forward and inverse (``round_trip``) and after
        inverse and forward (``latent_round_trip``), and of the log-determinants of both directions (``log_det``,
        ``inverse_log_det``) compared with `torch.linalg.slogdet` of the Jacobian from autograd in float64.

    Example:
        >>> measured = measure(MEASURED_LAYERS[0], (4, 2, 2), "cpu")[torch.float64]
        >>> measured["round_trip"] < 1e-12, measured["log_det"] < 1e-12
        (True, True)
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        single = layer.build(shape).eval()
        with torch.no_grad():
            for parameter in single.parameters():
                parameter.add_(PERTURBATION * torch.randn_like(parameter))
        x = torch.randn(BATCH, *shape)
        x = 0.02 + 0.96 * x.sigmoid() if layer.unit else x
    single, x = single.to(device), x.to(device)
    double = copy.deepcopy(single).double()  # the same function in higher precision
    z = double(x.double())[0].detach()
    expected = log_abs_det(lambda event: double(event)[0], x.double())
    inverse_expected = log_abs_det(lambda event: double.inverse(event)[0], z)
    with torch.no_grad():
        return {
            dtype: _errors(bijection, x.to(dtype), z.to(dtype), expected, inverse_expected)
            for dtype, bijection in zip(_PRECISIONS, (double, single), strict=True)
        }


def log_abs_det(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return log|det| of the dense Jacobian of a function at each event.

    Args:
        function: maps ``(1, C, H, W)`` to as many elements.
        x: ``(B, C, H, W)``.

    Example:
        >>> log_abs_det(lambda event: event * torch.e, torch.ones(1, 1, 2, 3))
        tensor([6.])
    """
    log_dets = []
    for event in x:
        jacobian = torch.autograd.functional.jacobian(function, event[None]).reshape(event.numel(), event.numel())
        log_dets.append(torch.linalg.slogdet(jacobian).logabsdet)
    return torch.stack(log_dets)


def _errors(bijection: Bijection, x: Tensor, z: Tensor, expected: Tensor, inverse_expected: Tensor) -> Values:
    image, log_det = bijection(x)
    back, _ = bijection.inverse(image)
    preimage, inverse_log_det = bijection.inverse(z)
    again, _ = bijection(preimage)
    return {
        "round_trip": _largest(back - x),
        "latent_round_trip": _largest(again - z),
        "log_det": _largest(log_det.double() - expected),
        "inverse_log_det": _largest(inverse_log_det.double() - inverse_expected),
    }


def _largest(error: Tensor) -> float:
    return float(error.abs().max())


def _tasks(settings: Settings) -> list[Task]:
    return [
        Task(
            f"{'×'.join(map(str, shape))}",
            {layer.name: {"shape": shape, "batch": BATCH, "perturbation": PERTURBATION, "device": settings.device}},
            partial(_by_precision, layer, shape, settings.device),
        )
        for layer in MEASURED_LAYERS
        for shape in _SIZES[settings.budget]
    ]


def _by_precision(layer: Measured, shape: ImageShape, device: str) -> dict[str, Values]:
    errors = measure(layer, shape, device)
    return {
        layer.name: {
            f"{name}_{str(dtype).removeprefix('torch.')}": value
            for dtype, values in errors.items()
            for name, value in values.items()
        }
    }


def _worst(result: Result, name: str, key: str) -> float:
    return max(float(row.values[key]) for row in result.parts(name))


def _parts(result: Result) -> list[str]:
    keys = ("round_trip", "latent_round_trip", "log_det", "inverse_log_det")
    lines = [
        [
            name,
            *(f"{_worst(result, name, f'{key}_float64'):.0e}" for key in keys),
            *(f"{_worst(result, name, f'{key}_float32'):.0e}" for key in keys),
        ]
        for name in result.names
    ]
    sizes = ", ".join(dict.fromkeys(row.part for row in result.rows))
    head = ["layer", *("x→z→x", "z→x→z", "log-det", "of the inverse") * 2]
    return [
        *(_verdict(result, what, keys, goal) for what, keys, goal in _GOALS),
        f"Largest errors over the sizes {sizes}. The first four columns are in float64, the others in float32:",
        table(head, lines),
    ]


_GOALS = (
    ("round trip", ("round_trip", "latent_round_trip"), ROUND_TRIP_GOAL),
    ("log-determinant", ("log_det", "inverse_log_det"), LOG_DET_GOAL),
)


def _verdict(result: Result, what: str, keys: tuple[str, ...], goal: float) -> str:
    errors = {name: max(_worst(result, name, f"{key}_float64") for key in keys) for name in result.names}
    worst = max(errors, key=lambda name: errors[name])
    above = [name for name, error in errors.items() if not error < goal]
    verdict = f"every layer is below {goal:.0e}" if not above else f"NOT below {goal:.0e}: {', '.join(above)}"
    return f"In float64, {what}: {verdict}; the largest error is {errors[worst]:.1e}, of {worst}."


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(8, 0.8 + 0.24 * len(result.names)), layout="constrained")
    axes = figure.subplots()
    names = result.names[::-1]
    for precision, color in (("float64", "tab:blue"), ("float32", "tab:orange")):
        for key, marker, label in (("round_trip", "o", "round trip"), ("log_det", "x", "log-determinant")):
            errors = [max(_worst(result, name, f"{key}_{precision}"), 1e-17) for name in names]
            axes.plot(errors, range(len(names)), marker, color=color, markersize=5, label=f"{label}, {precision}")
    axes.set_yticks(range(len(names)), names)
    axes.set(xscale="log", xlabel="largest error")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


EXPERIMENTS = (
    Experiment(
        name="bijectivity",
        title="Bijectivity",
        about=f"""
Every layer of this library except `Dequantize`, which draws noise. Normal noise of standard deviation {PERTURBATION} is
added to the initial parameters, and {BATCH} random images of each size are mapped. The round-trip error is the largest
absolute difference of an element. The log-determinants of both directions are compared with `torch.linalg.slogdet` of
the dense Jacobian from autograd in float64; their errors are in nats per image. MintNet's inverse iterates to the
residual {default_tolerance(torch.float64):.0e} ({default_tolerance(torch.float32):.0e} in float32), and the series of
the exponential ends at the precision of the dtype.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
