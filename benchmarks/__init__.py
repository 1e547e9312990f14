"""Benchmarks of the operators and of whole flows, as ratios of times from one process.

Where Triton is installed, importing this package registers the backend ``"triton"`` of `benchmarks.triton_backend`.
"""

from importlib.util import find_spec

from benchmarks.cases import OP_BUDGETS
from benchmarks.model import MODEL_BUDGETS, ModelBenchmark, bench_model
from benchmarks.op import OpBenchmark, bench_op
from benchmarks.triton_backend import launch
from inverseflow.ops import register_backend

__all__ = ["MODEL_BUDGETS", "OP_BUDGETS", "ModelBenchmark", "OpBenchmark", "bench_model", "bench_op"]

if find_spec("triton"):
    register_backend("triton", launch)
