"""Measurements: side by side in one process, as ratios."""

from inverseflow.benchmarks.cases import BUDGETS
from inverseflow.benchmarks.model import MODEL_BUDGETS, ModelBenchmark, bench_model
from inverseflow.benchmarks.op import OpBenchmark, bench_op

__all__ = ["BUDGETS", "MODEL_BUDGETS", "ModelBenchmark", "OpBenchmark", "bench_model", "bench_op"]
