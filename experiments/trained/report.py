"""Print a table of trained flows."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.markdown import table
from experiments.formatting import mean_and_deviation, milliseconds
from experiments.result import Result, Values
from experiments.trained.published import NOTES, Published
from experiments.trained.table import TrainedTable
from experiments.trained.tasks import SAMPLES, SEED, SPEED
from experiments.units import bits_per_dim

_SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def parts(definition: TrainedTable, result: Result) -> list[str]:
    """Return the result as Markdown: our table, and the paper's if it prints one.

    Args:
        definition: the table.
        result: of its experiment.
    """
    printed = {line.name: line.published for line in definition.lines if line.published is not None}
    some = result.parts(result.names[0], SEED)[0].values
    comparable = some["title"] == "MNIST"
    seeds = "1 seed" if result.seeds == 1 else f"{result.seeds} seeds, mean ± standard deviation"
    baselines = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in some["baselines"].items())
    batch = result.parts(result.names[0], SPEED)[0].settings["effort"]["batch"]
    head = ["flow", "bits/dim", *(["published"] if comparable else []), "nats/image", "ST, ms", "FT, ms", "step, ms"]
    head += ["peak, MiB", "parameters", "error", "in float64"]
    lines = [
        [
            name,
            mean_and_deviation([row.values["bits_per_dim"] for row in result.parts(name, SEED)], 3),
            *([_published_bits(printed.get(name), definition)] if comparable else []),
            mean_and_deviation([row.values["nats_per_image"] for row in result.parts(name, SEED)], 1),
            *_speed_cells(result.parts(name, SPEED)[0].values),
        ]
        for name in result.names
    ]
    texts = [
        f"{some['title']}: {some['steps']} steps of {some['batch_size']} images, {some['test_images']} test images, "
        f"{seeds}. Baselines in bits per dimension on the same images: {baselines}.",
        table(head, lines),
        f"ST is the time to draw {batch} samples, and FT the time of the log-likelihood of {batch} images. A step is "
        f"log-likelihood, backward and Adam on {batch} images, and peak is its memory in tensors. All flows take turns "
        "in one process. Error is the largest error of a pixel after encoding and decoding, in gray levels before "
        "rounding. "
        + _wrong(result)
        + _overflowing(result)
        + (" The marked numbers (*) are unreliable, see the notes." if comparable and printed else ""),
    ]
    return texts + (_published_parts(definition, printed) if printed else [])


def _speed_cells(values: Values) -> list[str]:
    times = [milliseconds(values[what]["median"]) for what in ("sample", "forward", "training")]
    peak = f"{values['memory']['tensors'] / 2**20:.1f}"
    errors = (f"{values[what]:.0e}" for what in ("round_trip_error", "round_trip_error_float64"))
    return [*times, peak, f"{values['parameters']:,}", *errors]


def _wrong(result: Result) -> str:
    """Return in words how many pixels are wrong after rounding."""
    speed = {name: result.parts(name, SPEED)[0].values for name in result.names}
    wrong = {name: values["wrong_pixels"] for name, values in speed.items() if values["wrong_pixels"]}
    if not wrong:
        return "After rounding every pixel is recovered, in every row."
    lost = ", ".join(f"{name} loses {count}" for name, count in wrong.items())
    in_float64 = max(speed[name]["round_trip_error_float64"] for name in wrong)
    told = f"After rounding NOT every pixel is recovered: {lost} in all images together."
    if in_float64 < 0.5:
        told += " With the same weights in float64 all are: the trained layers stretch too much for float32."
    return told


def _overflowing(result: Result) -> str:
    """Return in words which flows draw samples that are not finite."""
    drawn = [row for row in result.rows if row.part == SAMPLES]
    missing = {row.name: (row.values["count"] - row.values["finite"], row.values["count"]) for row in drawn}
    lost = ", ".join(f"{name} {number} of {count}" for name, (number, count) in missing.items() if number)
    return f" NOT all samples are finite: the inverse overflows for {lost}." if lost else " All samples are finite."


def _published_bits(published: Published | None, definition: TrainedTable) -> str:
    if published is None:
        return "–"
    shape = _SHAPES[definition.data]
    mark = "*" if published.doubtful(shape) else ""
    if published.bits is None and published.nats is not None:
        return f"{bits_per_dim(published.nats, shape):.3f}{mark}"
    return f"{_or_dash(published.bits)}{mark}"


def _published_parts(definition: TrainedTable, printed: Mapping[str, Published]) -> list[str]:
    shape = _SHAPES[definition.data]
    texts: list[str] = []
    lines = []
    for name, row in printed.items():
        found = [NOTES[key] for key in row.notes]
        disagreement = row.disagreement(shape)
        found += [] if disagreement is None else [disagreement]
        texts += [text for text in found if text not in texts]
        nats = "–" if row.nats is None else f"{row.nats:g}" + ("" if row.nats_std is None else f" ± {row.nats_std:g}")
        cells = [_or_dash(row.bits), nats, *map(_or_dash, (row.sample_ms, row.forward_ms, row.parameters_m))]
        lines.append([name, *cells, ", ".join(str(texts.index(text) + 1) for text in found)])
    where = {
        "mnist": "on other hardware",
        "cifar10": "on other hardware and on the original CIFAR-10, which is not comparable with JPEG images",
    }
    return [
        f"What the paper prints, {where[definition.data]}:",
        table(["flow", "bits/dim", "nats/image", "ST, ms", "FT, ms", "parameters, M", "notes"], lines),
        "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1)),
    ]


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
