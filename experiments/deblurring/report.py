"""Tables and sentences of the deblurring experiment: PSNR, SSIM, comparisons and times."""

from __future__ import annotations

from benchmarks.markdown import table
from experiments.formatting import milliseconds
from experiments.result import Result, Row

METHODS = {
    "blurred": "blurred",
    "wiener": "Wiener",
    "unsupervised": "unsupervised Wiener",
    "richardson_lucy": "Richardson–Lucy",
    "linear": "four corners",
    "blended": "blended",
    "blended_wiener": "blended Wiener",
    "wiener_best": "Wiener, best",
}
"""Titles of the methods, in order."""
SHOWN = ("blurred", "wiener", "richardson_lucy", "linear", "blended", "blended_wiener")
"""Methods in the plot, next to the original."""
_OURS = ("linear", "blended")
_RIVALS = ("wiener", "unsupervised", "richardson_lucy", "wiener_best")


def parts(result: Result) -> list[str]:
    """Return tables and sentences.

    Args:
        result: of the experiment.
    """
    texts = []
    for blur in dict.fromkeys(row.part for row in result.rows):
        rows = [row for row in result.rows if row.part == blur]
        pictures = [row for row in rows if "psnr" in row.values]
        texts += [f"**{blur[0].upper()}{blur[1:]}**", _comparison(pictures), *(above(pictures, key) for key in _OURS)]
        texts.append(without(pictures))
        texts += [_costs(row) for row in rows if "times" in row.values]
    return texts


def above(pictures: list[Row], ours: str) -> str:
    """State on how many images one of our methods has a higher PSNR than each rival, and the mean difference.

    Args:
        pictures: rows for one blur.
        ours: key of our method.

    Example:
        >>> values = {"linear": 30.5, "wiener": 30.0, "unsupervised": 29.5, "richardson_lucy": 31, "wiener_best": 30}
        >>> above([Row("camera", "motion", {}, {"psnr": values})], "linear")
        'Four corners: above Wiener on 1 of 1 (+0.50 dB on average), above unsupervised Wiener on 1 of 1 (+1.00 dB),
        above Richardson–Lucy on 0 of 1 (-0.50 dB), above Wiener, best on 1 of 1 (+0.50 dB). Nowhere below Wiener.'
    """
    clauses = []
    for index, rival in enumerate(_RIVALS):
        gains = [row.values["psnr"][ours] - row.values["psnr"][rival] for row in pictures]
        mean = f"{sum(gains) / len(gains):+.2f} dB" + (" on average" if index == 0 else "")
        clauses.append(f"above {METHODS[rival]} on {sum(gain > 0 for gain in gains)} of {len(gains)} ({mean})")
    below = [row.name for row in pictures if row.values["psnr"][ours] <= row.values["psnr"]["wiener"]]
    verdict = f"Not above Wiener on {', '.join(below)}." if below else "Nowhere below Wiener."
    return f"{METHODS[ours].capitalize()}: {', '.join(clauses)}. {verdict}"


def without(pictures: list[Row]) -> str:
    """State what share of the blended method's PSNR gain over Wiener is also reached by blending Wiener filters alone.

    Args:
        pictures: rows for one blur.

    Example:
        >>> values = {"wiener": 30.0, "blended": 32.0, "blended_wiener": 31.5}
        >>> without([Row("camera", "motion", {}, {"psnr": values})])
        'Without inverse convolutions: of the average gain of +2.00 dB of blended over Wiener, blended Wiener reaches
        +1.50 dB (75%). Blended is above blended Wiener on 1 of 1 (+0.50 dB).'
    """
    scores = [row.values["psnr"] for row in pictures]
    gain, reached = (
        sum(each[key] - each["wiener"] for each in scores) / len(scores) for key in ("blended", "blended_wiener")
    )
    if gain > 0:
        share = (
            f"of the average gain of {gain:+.2f} dB of blended over Wiener, blended Wiener reaches {reached:+.2f} dB "
            f"({reached / gain:.0%})"
        )
    else:
        share = f"blended gains nothing over Wiener on average ({gain:+.2f} dB), blended Wiener {reached:+.2f} dB"
    higher = sum(each["blended"] > each["blended_wiener"] for each in scores)
    return (
        f"Without inverse convolutions: {share}. Blended is above blended Wiener on {higher} of {len(scores)} "
        f"({gain - reached:+.2f} dB)."
    )


def _comparison(pictures: list[Row]) -> str:
    lines = [[row.name, *(_cell([row], key) for key in METHODS)] for row in pictures]
    lines.append(["mean", *(_cell(pictures, key) for key in METHODS)])
    return table(["picture", *METHODS.values()], lines)


def _cell(rows: list[Row], key: str) -> str:
    psnr, ssim = (sum(row.values[measure][key] for row in rows) / len(rows) for measure in ("psnr", "ssim"))
    return f"{psnr:.2f} / {ssim:.3f}"


def _costs(row: Row) -> str:
    height, width = row.values["timed"]
    times = ", ".join(
        f"{METHODS[key]} {milliseconds(timing['median'])} ms" for key, timing in row.values["times"].items()
    )
    counts = ", ".join(f"{METHODS[key]} {count:,}" for key, count in row.values["parameters"].items())
    return (
        f"Time for {height}×{width} pixels: {times}. Parameters: {counts}, learned in "
        f"{row.values['learning_seconds']:.0f} s. "
        f"Chosen: balance {row.values['balance']:.2g}, {row.values['iterations']} iterations of Richardson–Lucy."
    )
