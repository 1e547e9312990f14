"""Measurements: side by side in one process, as ratios."""

from inverseflow.benchmarks.op import BUDGETS, OpBenchmark, bench_op

__all__ = ["BUDGETS", "OpBenchmark", "bench_op"]
