"""The page about speed and memory, computed from committed measurements and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tables
from benchmarks.axes import AxesBenchmark, axes_table
from benchmarks.densities import DensityBenchmark
from benchmarks.density_tables import density_summary, density_time_table, inverse_table, likelihood_table
from benchmarks.machine import Machine
from benchmarks.model import ModelBenchmark
from benchmarks.op import OpBenchmark
from inverseflow.errors import OptionError
from inverseflow.utils.files import write_text

_DEVICES = {"cpu": "CPU", "cuda": "GPU"}
_HEAD = """# Performance

The cost of the inverse of a k×k convolution compared with the convolution itself, `torch.nn.functional.conv2d`, and the
cost of flows that contain it. `python -m benchmarks page` computes every number and every verdict on this page from the
JSON files in [results](results), and a test checks that page and files agree. To measure again:

```
python -m benchmarks op -o docs/results/op-cpu.json
python -m benchmarks op --budget sweeps -o docs/results/op-sweeps-cpu.json
python -m benchmarks axes -o docs/results/axes-cpu.json
python -m benchmarks model -o docs/results/model-cpu.json
python -m benchmarks densities -o docs/results/densities-cpu.json
python -m benchmarks page
```

The last but one needs the packages zuko, nflows and normflows, and real tables in the folder that the variable
`INVERSEFLOW_DATA` names; what is missing is left out. For a GPU, add `--device cuda` and write `cuda` for `cpu` in the
file names.

## How it is measured

* **Time.** All methods for one shape run in one process and take turns, round after round, after an uncounted warm-up.
  A short call is repeated within a round. Times are medians over the rounds with quartiles in brackets; a ratio is a
  ratio of medians. Everything is float32.
* **conv2d** maps an image to an image of the same size with the same kernel, without bias. conv2d itself pads for an
  odd kernel. For an even kernel the image is padded beforehand, at no cost to conv2d. The solve is
  `inv_conv2d(..., unitriangular=True)`.
* **Forward** uses the same kernel in every call, as inference does, so results that depend only on the kernel may be
  cached. **Forward and backward** computes the operation and the gradients of image and kernel, with a changed kernel
  in every call, as training does.
* **GFLOP/s** count multiplications and additions with pixels inside the image, separately for each method: the last tap
  of the solve is a triangle, and fewer taps of the solve lie outside the image. *Of peak* is the fraction of the
  fastest of a few large matrix products and a wide convolution in the same process.
* **Residual** is the largest element of A x − y. conv2d computes it in float64 from the float32 solution.
* **Memory** is the peak during a call, including its results, above the level before the call. The unit is the input
  image. The first number counts tensors: on a CPU the allocations and releases that torch's profiler reports, on a GPU
  `torch.cuda.max_memory_allocated`. The number in brackets counts the whole process, including buffers in compiled
  code: the growth of the resident set to its high-water mark, as the median of five calls. It exists only on Linux
  and only above one mebibyte, because the system counts pages in lots of up to a quarter of a mebibyte. Each shape is
  measured in a separate process whose glibc allocator returns freed memory immediately. Otherwise memory that the
  allocator keeps from earlier calls would count as used.
* **native**, **blocked** and **dense** are the backends, each forced by `inverseflow.ops.backend`; the default is in
  bold. **triton** is our backend for GPUs. The package does not contain it; the benchmarks register it to measure it.
  **jacobi** is plain fixed-point iteration with as many sweeps as the image has anti-diagonals. **antidiagonal** is the
  published GPU algorithm with one launch for each anti-diagonal. dense, jacobi and antidiagonal run only where they
  take a reasonable time, and without gradient. Backends other than the default run only up to two million elements.
"""
_AXES = """
The layers `InverseConv1d` and `InverseConv3d` (*inverse*) and `CausalConv1d` and `CausalConv3d` (*causal*), with
kernels of side 3, as ratios to `torch.nn.Conv1d` and `torch.nn.Conv3d` of the same size. Training is forward and
backward.
"""
_MODELS = """
Untrained flows of equal architecture on random images. FT is the time of the log-likelihood of a batch, ST the time to
draw as many samples. A training step is log-likelihood, backward and a step of Adam, and peak is its memory. The
*sequential alternative* is the same flow with the direction of each k×k layer swapped: its density is an ordinary
convolution and its sampling the solve. It appears twice, with our solver and with plain substitution, pixel by pixel.
The substitution handles all images and channels of a pixel at once, which is more generous than published code.
"""
_SHARE = """
The training step of the first architecture, the default MNIST flow, compared with its inverse convolutions alone: their
forward and backward on the inputs that they receive in that step. All take turns in one process.
"""
_DENSITIES = """
Flows of vectors beside those of zuko, nflows and normflows: five transforms, networks of two hidden layers of 64 units,
splines of eight bins. Couplings change one half of the columns after the other, without linear maps between them;
those of normflows with splines change every other column, and have a spline for the others too. Ours
multiply the parameters of splines by their default gain of 2, which speeds up their training. normflows has no masked
autoregressive flow, only the inverse one. zuko has no NICE and, like nflows, no planar and radial flows.
"""
_LIKELIHOODS = """
Mean log-likelihood of held-out points, in nats of standardized columns, with its standard error, and the number of
parameters. All flows of a line were trained on the same batches of 256 points by Adam with the same learning rates, for
{steps} steps{starts}, and none is trained to the end. Two moons is synthetic.
"""
_DENSITY_TIMES = """
Batches of 256 normal vectors. After a peer's time stands our time / it. log_prob and sample take no gradients; a
training step is log-likelihood, backward and a step of Adam. Inverse autoregressive, planar and radial flows are only
sampled, because a peer computes no density of data, or slowly.
"""
_INVERSES = """
Our masked autoregressive flow, after a short training on synthetic correlated vectors. *sequential* finds one column
after another at the price of one evaluation of each network, *parallel* evaluates the networks again and again for all
columns until nothing changes. Passes are evaluations of each network by the parallel solver.
"""


@dataclass(frozen=True)
class Results:
    """Measurements on one kind of device, None if a file is missing."""

    grid: OpBenchmark | None
    sweeps: OpBenchmark | None
    axes: AxesBenchmark | None
    models: ModelBenchmark | None
    densities: DensityBenchmark | None


def read_results(folder: Path) -> dict[str, Results]:
    """Read the files that the commands wrote, such as ``op-cpu.json``, for each kind of device."""
    found = {device: _read_device(folder, device) for device in _DEVICES}
    return {device: results for device, results in found.items() if results != Results(None, None, None, None, None)}


def page(results: dict[str, Results], assets: str = "assets") -> str:
    """Return the page in Markdown.

    Args:
        results: by kind of device.
        assets: folder of the plots, relative to the page.
    """
    parts = [_HEAD.rstrip()]
    for device, name in _DEVICES.items():
        if device in results:
            parts += _device_parts(device, name, results[device], assets)
        else:
            parts += [f"## {name}", f"No measurements on a {name} exist yet."]
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, path: Path) -> None:
    """Write the page and, into ``assets`` next to it, its plots.

    Args:
        folder: of the JSON files.
        path: of the page.

    Raises:
        OptionError: if the folder holds no measurements.
    """
    from benchmarks.plots import save_densities, save_ratios, save_sweeps

    results = read_results(folder)
    if not results:
        raise OptionError(
            f"there are no measurements in {folder}; python -m benchmarks op -o {folder / 'op-cpu.json'} makes some"
        )
    for device, measured in results.items():
        if measured.grid is not None:
            save_ratios(path.parent / "assets" / f"performance-{device}.png", measured.grid)
        if measured.sweeps is not None:
            save_sweeps(path.parent / "assets" / f"performance-sweeps-{device}.png", measured.sweeps)
        if measured.densities is not None and measured.densities.geometric_means:
            save_densities(path.parent / "assets" / f"performance-densities-{device}.png", measured.densities)
    write_text(path, page(results))


def _read_device(folder: Path, device: str) -> Results:
    names = ("op", "op-sweeps", "axes", "model", "densities")
    grid, sweeps, axes, models, densities = (folder / f"{name}-{device}.json" for name in names)
    return Results(
        OpBenchmark.from_json(json.loads(grid.read_text("utf-8"))) if grid.exists() else None,
        OpBenchmark.from_json(json.loads(sweeps.read_text("utf-8"))) if sweeps.exists() else None,
        AxesBenchmark.from_json(json.loads(axes.read_text("utf-8"))) if axes.exists() else None,
        ModelBenchmark.from_json(json.loads(models.read_text("utf-8"))) if models.exists() else None,
        DensityBenchmark.from_json(json.loads(densities.read_text("utf-8"))) if densities.exists() else None,
    )


def _device_parts(device: str, name: str, results: Results, assets: str) -> list[str]:
    parts = [f"## {name}"]
    if results.grid is not None:
        grid = results.grid
        parts += [_measured_on(grid.machine), "### The grid of shapes", *tables.summary_lines(grid.rows)]
        parts.append(f"![Time relative to conv2d for each shape]({assets}/performance-{device}.png)")
        parts += ["Forward, relative to conv2d:", tables.ratio_table(grid.rows, training=False)]
        parts += ["Forward and backward, relative to conv2d:", tables.ratio_table(grid.rows, training=True)]
        parts += ["Rows above 1.0, and their likely limits:", tables.limit_table(grid)]
        parts += ["### Rates and errors", "The default backend:", tables.rate_table(grid)]
        parts += ["### Memory", tables.memory_summary(grid.rows), tables.memory_table(grid.rows)]
    if results.sweeps is not None:
        parts += ["### Growth", _measured_on(results.sweeps.machine)]
        parts.append(f"![Time along each axis]({assets}/performance-sweeps-{device}.png)")
        parts.append("Least-squares fit of time ~ sizeᵉ in logarithms over each sweep; for image sides, from 16×16 on.")
        parts.append(tables.growth_table(results.sweeps))
    if results.axes is not None:
        parts += ["### Sequences and volumes", _measured_on(results.axes.machine), _AXES.strip()]
        parts.append(axes_table(results.axes))
    if results.models is not None:
        parts += ["### Whole flows", _measured_on(results.models.machine), _MODELS.strip()]
        parts += [tables.model_table(results.models), "### Share of the solve in training", _SHARE.strip()]
        parts.append(tables.share_table(results.models))
    if results.densities is not None:
        parts += _density_parts(device, results.densities, assets)
    return parts


def _density_parts(device: str, densities: DensityBenchmark, assets: str) -> list[str]:
    packages = ", ".join(f"{name} {version}" for name, version in densities.versions.items())
    parts = ["### Flows of vectors", f"{_measured_on(densities.machine)} Packages: {packages}.", _DENSITIES.strip()]
    parts.append(density_summary(densities))
    if densities.geometric_means:
        parts.append(f"![Time relative to the fastest peer]({assets}/performance-densities-{device}.png)")
    parts += ["#### Likelihood after equal steps", _likelihoods(densities)]
    parts += [likelihood_table(densities), "#### Times", _DENSITY_TIMES.strip(), density_time_table(densities)]
    return [*parts, "#### The inverse in parallel", _INVERSES.strip(), inverse_table(densities)]


def _likelihoods(densities: DensityBenchmark) -> str:
    count = max((row.starts for row in densities.likelihoods), default=1)
    starts = "" if count == 1 else f", from {count} random starts each, whose spread is in the standard error"
    return _LIKELIHOODS.strip().format(steps=densities.training_steps, starts=starts)


def describe_machine(machine: Machine) -> str:
    """Return what something was measured on, in words.

    Args:
        machine: as recorded with the measurements.
    """
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] != 1 else "")
    processor = f"{machine['processor']}, {machine['cores']} cores, {threads} used"
    return f"on {processor}" if machine["device"] == "cpu" else f"on {machine['device']} with {processor}"


def describe_versions(machine: Machine) -> str:
    """Return the versions that something was measured with.

    Args:
        machine: as recorded with the measurements.
    """
    return f"inverseflow {machine['inverseflow']}, torch {machine['torch']}, Python {machine['python']}"


def _measured_on(machine: Machine) -> str:
    return (
        f"Measured {describe_machine(machine)}, {machine['system']}; {describe_versions(machine)}; "
        f"peak {float(machine['peak_gflops']):.0f} GFLOP/s."
    )
