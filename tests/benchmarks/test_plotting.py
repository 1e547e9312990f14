"""Labels of logarithmic axes."""

from matplotlib.figure import Figure

from benchmarks.plotting import label_one_two_five


def test_labels_are_plain_numbers_at_one_two_and_five():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([12, 4000], [1, 1])
    axes.set(xscale="log", xlim=(12, 4000))
    label_one_two_five(axes.xaxis)
    figure.canvas.draw()
    low, high = axes.get_xlim()
    labels = {
        text.get_text() for text in axes.get_xticklabels(which="both") if low <= text.get_position()[0] <= high
    } - {""}
    assert labels == {"20", "50", "100", "200", "500", "1,000", "2,000"}
