import pytest

from benchmarks import ModelBenchmark, OpBenchmark, bench_model, bench_op


@pytest.fixture(scope="session")
def op_benchmark() -> OpBenchmark:
    return bench_op("smoke")


@pytest.fixture(scope="session")
def model_benchmark() -> ModelBenchmark:
    return bench_model("smoke")
