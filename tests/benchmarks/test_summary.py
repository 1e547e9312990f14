import pytest

from benchmarks.cases import Case
from benchmarks.memory import Memory
from benchmarks.op import OpBenchmark, OpRow, SweepRows
from benchmarks.summary import fitted_points, growth_exponent, limits, pairs
from benchmarks.tables import limit_table, memory_summary, summary_lines
from inverseflow.utils.timing import Timing

MACHINE = {"peak_gflops": 100.0}


def row(case, method, forward, training=None, variant="avx512, 16 lanes are images"):
    def timing(median):
        return None if median is None else Timing(median, 0.99 * median, 1.01 * median, 5)

    memory = Memory(2 * case.bytes, 3 * case.bytes)
    return OpRow(case, method, variant, method == "native", timing(forward), timing(training), memory, memory, 0.0)


def test_ratios_are_against_the_convolution_of_the_same_case():
    small, large = Case(1, 2, 8, 3), Case(1, 2, 16, 3)
    rows = [row(small, "conv2d", 1, 2), row(small, "native", 2, 1), row(large, "conv2d", 10, 20)]
    rows += [row(large, "native", 5, 40)]
    assert [(pair.forward, pair.training) for pair in pairs(rows)] == [(2, 0.5), (0.5, 2)]
    forward, training = summary_lines(rows)
    assert "geometric mean 1.00, worst 2.00 (1×2×8×8, k=3)" in forward
    assert "geometric mean 1.00, worst 2.00 (1×2×16×16, k=3)" in training


def test_growth_along_the_side_is_in_pixels_from_16_on():
    cases = [Case(1, 2, side, 3) for side in (8, 16, 32, 64)]
    rows = [row(case, "native", 1000 if case.side == 8 else case.side**2 / 100) for case in cases]
    points = fitted_points(SweepRows("side", "side", rows), "native", training=False)
    assert growth_exponent(points) == pytest.approx(1)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case(1, 12, 16, 3), "fill 6% of the vectors"),
        (Case(16, 2, 16, 3), "few channels"),
        (Case(16, 96, 16, 3), "many channels"),
        (Case(4, 96, 4, 3), "is packed"),
        (Case(16, 12, 16, 3), "not identified"),
    ],
)
def test_a_slow_row_is_told_what_limits_it(case, reason):
    rows = [row(case, "conv2d", 1), row(case, "native", 2)]
    benchmark = OpBenchmark(MACHINE, [], rows, [])
    assert reason in "; ".join(limits(pairs(rows)[0], benchmark))
    assert reason in limit_table(benchmark)


def test_fast_rows_need_no_excuse():
    case = Case(16, 12, 16, 3)
    benchmark = OpBenchmark(MACHINE, [], [row(case, "conv2d", 2), row(case, "native", 1)], [])
    assert limit_table(benchmark) == "No row is above 1."


def test_memory_is_told_in_inputs_and_without_large_kernels():
    small, large = Case(100, 2, 16, 3), Case(1, 96, 4, 3)
    rows = [row(case, method, 1, 1) for case in (small, large) for method in ("conv2d", "native")]
    text = memory_summary(rows)
    assert "1 of 2 shapes" in text
    assert "2.00 inputs in tensors and 3.00 in the whole process" in text
    assert memory_summary(rows[2:]) == "Every kernel is large compared with its image."
