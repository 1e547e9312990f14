"""Tables of the benchmark of flows of vectors."""

from benchmarks.densities import TIMED, DensityBenchmark, LikelihoodRow, TimeRow, missing_peers, ratios
from benchmarks.markdown import table
from benchmarks.peers import PACKAGES
from benchmarks.tables import milliseconds
from inverseflow.utils.timing import Timing


def density_report(benchmark: DensityBenchmark) -> str:
    """Return the tables of `python -m benchmarks densities`."""
    return "\n\n".join(
        [
            likelihood_table(benchmark),
            density_summary(benchmark),
            density_time_table(benchmark),
            inverse_table(benchmark),
        ]
    )


def density_summary(benchmark: DensityBenchmark) -> str:
    """Return the geometric means of the ratios, and which peers were missing, in words."""
    sentences = []
    if benchmark.geometric_means:
        means = ", ".join(f"{TIMED[name]} {value:.2f}" for name, value in benchmark.geometric_means.items())
        sentences.append(f"Our time / the fastest peer's, geometric mean over models and columns: {means}.")
        for timed in benchmark.geometric_means:
            found = ratios(benchmark.times, timed)
            (columns, model), worst = max(found.items(), key=lambda item: item[1])
            sentences.append(f"Largest ratio of {TIMED[timed]}: {worst:.2f} ({model}, {columns} columns).")
    missing = missing_peers(benchmark)
    if missing:
        sentences.append(f"Not installed, so without rows: {', '.join(missing)}.")
    return " ".join(sentences)


def likelihood_table(benchmark: DensityBenchmark) -> str:
    """Return the held-out likelihoods, one line for each model of each data set."""
    packages = [name for name in PACKAGES if name in benchmark.versions]
    by_package = {(row.data, row.model, row.package): row for row in benchmark.likelihoods}
    lines = []
    for data, columns, model in dict.fromkeys((row.data, row.columns, row.model) for row in benchmark.likelihoods):
        rows = [by_package.get((data, model, package)) for package in packages]
        lines.append([data, str(columns), model, *map(_likelihood, rows), _verdict(rows)])
    return table(["data", "columns", "model", *packages, "ours and the best peer"], lines)


def density_time_table(benchmark: DensityBenchmark) -> str:
    """Return the times of every flow; after a peer's time follows our time / it."""
    ours = {(row.columns, row.model): row for row in benchmark.times if row.package == PACKAGES[0]}
    lines = []
    for row in benchmark.times:
        cells = [_beside(row, ours[row.columns, row.model], timed) for timed in TIMED]
        lines.append([str(row.columns), row.model, row.package, f"{row.parameters:,}", *cells])
    return table(["columns", "model", "package", "parameters", *(f"{word}, ms" for word in TIMED.values())], lines)


def inverse_table(benchmark: DensityBenchmark) -> str:
    """Return passes and times of both solvers of the inverse of masked autoregressive flows."""
    return table(
        ["columns", "batch", "sequential, ms", "parallel, ms", "passes", "parallel / sequential"],
        [
            [
                str(row.columns),
                str(row.batch),
                milliseconds(row.sequential),
                milliseconds(row.parallel),
                str(row.passes),
                f"{row.parallel.median / row.sequential.median:.2f}",
            ]
            for row in benchmark.inverses
        ],
    )


def _likelihood(row: LikelihoodRow | None) -> str:
    if row is None:
        return "–"
    diverged = f", {row.diverged} of {row.starts} diverged" if row.diverged else ""
    return f"{row.log_likelihood:.3f} ± {row.standard_error:.3f}, {row.parameters:,}{diverged}".replace("-", "−")


def _verdict(rows: list[LikelihoodRow | None]) -> str:
    ours, *peers = rows
    known = [row for row in peers if row is not None]
    if ours is None or not known:
        return "–"
    best = max(known, key=lambda row: row.log_likelihood)
    difference = (ours.log_likelihood - best.log_likelihood) / ours.standard_error
    if difference >= 0:
        return "better"
    return (
        "within one standard error" if difference >= -1 else f"{-difference:.1f} standard errors below {best.package}"
    )


def _beside(row: TimeRow, ours: TimeRow, timed: str) -> str:
    theirs: Timing | None = getattr(row, timed)
    if theirs is None or row is ours:
        return milliseconds(theirs)
    return f"{milliseconds(theirs)}, {getattr(ours, timed).median / theirs.median:.2f}"
