"""Benchmarks of the operators and of whole flows, as ratios of times from one process."""

from benchmarks.cases import OP_BUDGETS
from benchmarks.model import MODEL_BUDGETS, ModelBenchmark, bench_model
from benchmarks.op import OpBenchmark, bench_op

__all__ = ["MODEL_BUDGETS", "OP_BUDGETS", "ModelBenchmark", "OpBenchmark", "bench_model", "bench_op"]
