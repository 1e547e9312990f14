"""inverseflow compare."""

from inverseflow.cli.arguments import Output, RunFolder
from inverseflow.cli.checks import check_output, check_run


def compare(*runs: RunFolder, output: Output | None = None) -> None:
    """Print the figures of several runs side by side, and write them with their curves as a page.

    Likelihoods are compared only if they were measured on the same examples; else the command says what else compares.

    Args:
        runs: two run folders or more.
        output: file name of the page (.html), one file that needs no network. By default none is written.
    """
    check_output(output, ".html")
    for run in runs:
        check_run(run)
    from inverseflow.training.report.pages import comparison, comparison_text, write_comparison

    page = comparison(runs)
    print(comparison_text(page))
    if output is not None:
        write_comparison(output, page)
        print(f"the page is {output}")
