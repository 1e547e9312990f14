import pytest

from benchmarks import DensityBenchmark, ModelBenchmark, OpBenchmark, bench_model, bench_op
from benchmarks.densities import InverseRow, LikelihoodRow, TimeRow
from inverseflow.utils.timing import Timing


@pytest.fixture(scope="session")
def op_benchmark() -> OpBenchmark:
    return bench_op("smoke")


@pytest.fixture(scope="session")
def model_benchmark() -> ModelBenchmark:
    return bench_model("smoke")


def _timing(median: float) -> Timing:
    return Timing(median, 0.9 * median, 1.1 * median, 3)


@pytest.fixture
def density_benchmark() -> DensityBenchmark:
    about = {"device": "cpu", "processor": "CPU", "cores": 2, "threads": 1, "system": "Linux", "python": "3.11"}
    about |= {"torch": "2.13", "inverseflow": "0.1.0", "peak_gflops": 10.0}
    times = [
        TimeRow(6, "maf", package, 100, _timing(time), None, _timing(2 * time))
        for package, time in (("inverseflow", 3.0), ("zuko", 6.0), ("nflows", 4.0))
    ]
    likelihoods = [
        LikelihoodRow("two-moons", 2, model, package, 10, value, 0.01)
        for model, values in (("maf", (-1.5, -1.6)), ("nsf", (-1.405, -1.4)), ("realnvp", (-1.6, -1.55)))
        for package, value in zip(("inverseflow", "zuko"), values, strict=True)
    ]
    inverses = [InverseRow(6, 1, 4, _timing(2.0), _timing(3.0))]
    means, versions = {"log_prob": 0.75, "sample": 0.75}, {"inverseflow": "0.1.0", "zuko": "1.6.0"}
    return DensityBenchmark(about, versions, 500, means, likelihoods, times, inverses)
