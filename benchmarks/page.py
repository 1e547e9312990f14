"""The page about speed and memory, made of committed measurements and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tables
from benchmarks.model import ModelBenchmark
from benchmarks.op import OpBenchmark
from inverseflow.errors import OptionError
from inverseflow.utils.files import write_text
from inverseflow.utils.machine import Machine

_DEVICES = {"cpu": "CPU", "cuda": "GPU"}
_HEAD = """# Performance

What the inverse of a k×k convolution costs beside the convolution itself, `torch.nn.functional.conv2d`, and what a flow
made of it costs. Every figure and every verdict on this page is computed from the JSON files in
[results](results) by `python -m benchmarks page`; a test compares the two. To measure anew:

```
python -m benchmarks op -o docs/results/op-cpu.json
python -m benchmarks op --budget sweeps -o docs/results/op-sweeps-cpu.json
python -m benchmarks model -o docs/results/model-cpu.json
python -m benchmarks page
```

With `--device cuda`, and `cuda` for `cpu` in the names, the same for a GPU.

## How it is measured

* **Time.** All methods of a shape run in one process, in turn, round after round, after a warm-up that is not counted.
  A short call is repeated within a round. A figure is the median over the rounds with the quartiles in brackets; a
  ratio is one of medians. float32 throughout.
* **conv2d** maps an image to one of the same size with the same kernel. An odd kernel is padded by conv2d itself; for
  an even one the image is padded beforehand, at no cost to conv2d. No bias. The solve is that of
  `inv_conv2d(..., unitriangular=True)`.
* **Forward** meets the same kernel in every call, as inference does; what was made of it alone may be kept. **Forward
  and backward** is the operation and the gradients of the image and of the kernel, and meets a changed kernel in every
  call, as training does.
* **GFLOP/s** count multiplications and additions with pixels inside the image, of each method its own: the solve has
  a triangle in the last tap, and of conv2d's taps fewer are outside. *Of peak* is the fraction of the fastest of a
  few large matrix products and a wide convolution in the same process.
* **Residual** is the largest element of A x − y, computed in float64 by conv2d from the float32 solution.
* **Memory** is the peak during a call, its results included, beyond what was there before, in units of the input
  image. The first figure counts tensors: on a CPU the allocations and releases that torch's profiler reports, on a GPU
  `torch.cuda.max_memory_allocated`. The one in brackets counts everything in the process, buffers inside
  compiled code too: the growth of the resident set to its high-water mark, the median of five calls (Linux only, and
  only where it is more than a mebibyte, because the system counts pages in lots of up to a quarter of one). The shapes
  are measured in a process of their own in which glibc's allocator gives back at once what is freed; else what it
  keeps of former calls would count as in use.
* **native**, **blocked**, **dense** and **triton** are the backends, each forced by `inverseflow.ops.backend`; the one
  that is chosen by default is in bold. **jacobi** is plain fixed-point iteration, as many sweeps as the image has
  anti-diagonals. **antidiagonal** is the published GPU algorithm, one launch for each anti-diagonal. dense, jacobi and
  antidiagonal run only where they take a reasonable time, and without gradient; backends that are not the default run
  only up to two million elements.
"""
_MODELS = """
Untrained flows of equal architecture on random images. FT is the log-likelihood of a batch, ST as many samples, a
training step is log-likelihood, backward and a step of Adam; peak is that of the step. The *sequential
alternative* is the same flow with each k×k layer turned round: its density is an ordinary convolution and its sampling
the solve, here once by our solver and once by plain substitution, pixel by pixel (all images and channels of a pixel
at once, which is more generous than published code).
"""
_SHARE = """
The first architecture is the default MNIST flow. Its training step beside its inverse convolutions alone, forward and
backward, on the inputs that they get in that step; all in turn in one process.
"""


@dataclass(frozen=True)
class Results:
    """What was measured on one kind of device; None where a file is missing."""

    grid: OpBenchmark | None
    sweeps: OpBenchmark | None
    models: ModelBenchmark | None


def read_results(folder: Path) -> dict[str, Results]:
    """Read ``op-*.json``, ``op-sweeps-*.json`` and ``model-*.json`` for each kind of device that has any of them."""
    found = {device: _read_device(folder, device) for device in _DEVICES}
    return {device: results for device, results in found.items() if results != Results(None, None, None)}


def page(results: dict[str, Results], assets: str = "assets") -> str:
    """Return the page in Markdown.

    Args:
        results: by kind of device.
        assets: folder of the pictures, relative to the page.
    """
    parts = [_HEAD.rstrip()]
    for device, name in _DEVICES.items():
        if device in results:
            parts += _device_parts(device, name, results[device], assets)
        else:
            parts += [f"## {name}", f"None of this was ever run on a {name}: there are no measurements of one."]
    return "\n\n".join(parts) + "\n"


def write_page(folder: Path, path: Path) -> None:
    """Write the page and, into ``assets`` beside it, its pictures.

    Args:
        folder: of the JSON files.
        path: of the page.

    Raises:
        OptionError: the folder holds no measurements.
    """
    from benchmarks.plots import save_ratios, save_sweeps

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
    write_text(path, page(results))


def _read_device(folder: Path, device: str) -> Results:
    grid, sweeps, models = (folder / f"{name}-{device}.json" for name in ("op", "op-sweeps", "model"))
    return Results(
        OpBenchmark.from_json(json.loads(grid.read_text("utf-8"))) if grid.exists() else None,
        OpBenchmark.from_json(json.loads(sweeps.read_text("utf-8"))) if sweeps.exists() else None,
        ModelBenchmark.from_json(json.loads(models.read_text("utf-8"))) if models.exists() else None,
    )


def _device_parts(device: str, name: str, results: Results, assets: str) -> list[str]:
    parts = [f"## {name}"]
    if results.grid is not None:
        grid = results.grid
        parts += [_measured_on(grid.machine), "### The grid of shapes", *tables.summary_lines(grid.rows)]
        parts.append(f"![Time over that of conv2d, for each shape]({assets}/performance-{device}.png)")
        parts += ["Forward, over conv2d:", tables.ratio_table(grid.rows, training=False)]
        parts += ["Forward and backward, over conv2d:", tables.ratio_table(grid.rows, training=True)]
        parts += ["Rows above 1.0, and what limits them as far as these figures tell:", tables.limit_table(grid)]
        parts += ["### Rates and errors", "The default backend:", tables.rate_table(grid)]
        parts += ["### Memory", tables.memory_summary(grid.rows), tables.memory_table(grid.rows)]
    if results.sweeps is not None:
        parts += ["### Growth", _measured_on(results.sweeps.machine)]
        parts.append(f"![Time along each axis]({assets}/performance-sweeps-{device}.png)")
        parts.append(
            "Least-squares fit of time ~ sizeᵉ in logarithms over each sweep; along the side of the image from 16² on."
        )
        parts.append(tables.growth_table(results.sweeps))
    if results.models is not None:
        parts += ["### Whole flows", _measured_on(results.models.machine), _MODELS.strip()]
        parts += [tables.model_table(results.models), "### How much of training is the solve", _SHARE.strip()]
        parts.append(tables.share_table(results.models))
    return parts


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
