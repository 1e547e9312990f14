"""Densities as ONNX files, for runtimes without PyTorch."""

import io
import re
import traceback
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from inverseflow.bijections import Bijection
from inverseflow.densities.density import Density, example_context_shape
from inverseflow.ops.decompositions import export_decompositions
from inverseflow.utils.files import atomic_write
from inverseflow.utils.packages import packages_for

Method = Literal["log_prob", "log_prob_at_center", "encode", "decode"]


def export_onnx(density: Density, path: str | Path, method: Method = "decode") -> None:
    """Write one method of a density as an ONNX file that takes any batch size; needs the extra ``inverseflow[export]``.

    The inputs are called ``x`` (``z`` for ``"decode"``) and, for a conditional density, ``context``; the output has the
    name of the method. Sampling is ``"decode"`` of normal noise. The size of the image is fixed.

    Args:
        density: the density, on the CPU; it is exported in evaluation mode.
        path: the file.
        method: ``"log_prob"``, or of a flow ``"encode"``, ``"decode"``, or ``"log_prob_at_center"``: of gray levels
            ``"log_prob"`` draws noise in the runtime too, this one none.

    Raises:
        MissingPackageError: if ONNX is not installed.
        NotImplementedError: if the density has no such method, or a layer has no ONNX form.

    Example:
        >>> from inverseflow.flows import InverseFlow
        >>> export_onnx(InverseFlow((1, 8, 8)), "sampler.onnx")  # doctest: +SKIP
    """
    if not hasattr(density, method):
        raise NotImplementedError(f"{type(density).__name__} has no method {method!r} to export")
    with packages_for("exporting to ONNX"):
        for package in ("onnx", "onnxscript"):
            import_module(package)
    training = density.training
    try:
        program = exportable(density.eval(), method)
        names = ["z" if method == "decode" else "x", *(["context"] if example_context_shape(density) else [])]
        exported = torch.onnx.export(program, dynamo=True, input_names=names, output_names=[method], verbose=False)
    except torch.onnx.OnnxExporterError as error:
        operators = re.findall(r"(?:OpOverload\(op='|target=torch\.ops\.)([\w.]+?)(?:\.default)?[\]']", _causes(error))
        missing = f"the operator {operators[-1]} has no ONNX form" if operators else str(error).strip()
        raise _refusal(density, method, missing) from error
    finally:
        density.train(training)
    assert exported is not None
    with atomic_write(Path(path).expanduser()) as temporary:
        exported.save(temporary)


def exportable(density: Density, method: Method) -> torch.export.ExportedProgram:
    """Trace a method of a density, as `export_onnx` does, into a program that PyTorch's other exporters take too.

    The batch size is free, and the program has PyTorch's own operators only.

    Raises:
        NotImplementedError: if a layer can't be traced, such as one whose inverse iterates until it converges.
    """
    inputs = _example(density, method)
    shapes = (tuple({0: torch.export.Dim("batch", min=1)} for _ in inputs),)
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):  # torch prints the graph up to where it fails
            program = torch.export.export(_Call(density, method), inputs, dynamic_shapes=shapes)
    except Exception as error:  # what cannot be traced raises errors of many kinds
        layer = _layer_of(error, density) or "the density"
        traced = type(error).__module__.startswith("torch.")
        what = "depends on values that are known only when it runs" if traced else f"fails: {error}"
        raise _refusal(density, method, f"{layer} {what}") from error
    table = {**torch.export.default_decompositions(), **export_decompositions()}
    plain: torch.export.ExportedProgram = program.run_decompositions(table)
    return plain


class _Call(nn.Module):
    """A module whose forward pass is a method of a density."""

    def __init__(self, density: Density, method: Method) -> None:
        super().__init__()
        self.density = density
        self.method = method

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor = getattr(self.density, self.method)(*inputs)
        return result


def _example(density: Density, method: Method) -> tuple[Tensor, ...]:
    parameter = next(density.parameters(), torch.empty(0))
    shape = (density.dims,) if method == "decode" else density.event_shape
    x = torch.zeros(2, *shape, dtype=parameter.dtype, device=parameter.device)
    if density.levels is not None and method != "decode":
        x = x.to(torch.uint8 if density.levels <= 256 else torch.int32)
    context = example_context_shape(density)
    return (x,) if context is None else (x, parameter.new_zeros(2, *context))


def _refusal(density: Density, method: Method, reason: str) -> NotImplementedError:
    return NotImplementedError(f"{type(density).__name__}.{method} can't be exported to ONNX: {reason}")


def _layer_of(error: BaseException, density: Density) -> str | None:
    """Return path and class of the innermost bijection of a density that an error was raised in."""
    paths = {module: path for path, module in density.named_modules() if isinstance(module, Bijection)}
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Bijection) and owner in paths:
            found = f"{paths[owner]} ({type(owner).__name__})"
    return found


def _causes(error: BaseException | None) -> str:
    """Return the messages of an error and of its causes."""
    return "" if error is None else f"{error}\n{_causes(error.__cause__)}"
