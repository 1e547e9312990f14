"""Benchmarks of the operators, of whole flows and of density models, as ratios of times from one process.

Where Triton is installed, importing this package registers the backend ``"triton"`` of `benchmarks.triton_backend`.
"""

from importlib.util import find_spec

from benchmarks.axes import AxesBenchmark, bench_axes
from benchmarks.cases import OP_BUDGETS
from benchmarks.densities import DENSITY_BUDGETS, DensityBenchmark, bench_densities
from benchmarks.model import MODEL_BUDGETS, ModelBenchmark, bench_model
from benchmarks.op import OpBenchmark, bench_op
from benchmarks.triton_backend import launch
from inverseflow.ops import register_backend

__all__ = [
    "DENSITY_BUDGETS",
    "MODEL_BUDGETS",
    "OP_BUDGETS",
    "AxesBenchmark",
    "DensityBenchmark",
    "ModelBenchmark",
    "OpBenchmark",
    "bench_axes",
    "bench_densities",
    "bench_model",
    "bench_op",
]

if find_spec("triton"):
    register_backend("triton", launch)
