"""Measurements: side by side in one process, as ratios."""

from benchmarks.cases import OP_BUDGETS
from benchmarks.model import MODEL_BUDGETS, ModelBenchmark, bench_model
from benchmarks.op import OpBenchmark, bench_op

__all__ = ["MODEL_BUDGETS", "OP_BUDGETS", "ModelBenchmark", "OpBenchmark", "bench_model", "bench_op"]
