"""Table, sentences and pictures of the scientific problems."""

from __future__ import annotations

import math
import statistics

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.result import Result, Values

PART = "posterior"

HII = "H II regions"
EXOPLANETS = "exoplanets"
SEGMENT = "exoplanets, incompressible"
COSMIC_RAYS = "cosmic rays"
NITROGEN = "cosmic rays, nitrogen alone"
ASTEROIDS = "asteroids, cinn"
ASTEROIDS_INN = "asteroids, inn"
ROTOR = "rotor section"
TURBINE = "turbine"
SMALL_BODIES = "small bodies, real data"

_REFERENCES = {SEGMENT: "segments", NITROGEN: "exact grid"}
_HEAD = ("problem", "reference", "C2ST", "shift", "spread", "SBC p", "trusted")
_TIMES = ("problem", "simulations, s", "training, s", "drawing, ms", "reference, s", "break-even")


def parts(result: Result) -> list[str]:
    """Return the result as Markdown: two tables and a sentence for each problem."""
    found = {row.name: row.values for row in result.rows}
    settings = result.rows[0].settings
    compared = [name for name in found if name != SMALL_BODIES]
    tables = [
        f"{settings['simulations']:,} simulations and {settings['steps']:,} training steps each; means over "
        f"{settings['observations']} test observations, {settings['samples']} samples of each:",
        table(_HEAD, [_judged(name, found[name]) for name in compared]),
        "C2ST: accuracy of a classifier that tells posterior and reference apart, 0.5 if it can't. Shift: mean "
        "distance of the means in standard deviations of the reference. Spread: mean of |ln| of the ratio of standard "
        "deviations. SBC p: of simulation-based calibration. Trusted: the verdict of all diagnostics.",
        table(_TIMES, [_timed(name, found[name]) for name in compared]),
        "Drawing and reference: for one observation. Break-even: number of observations from which simulating and "
        "training once is faster than the reference for each.",
    ]
    return tables + [sentence(values) for name, sentence in SENTENCES.items() if (values := found.get(name))]


def _judged(name: str, values: Values) -> list[str]:
    figures = [f"{values[key]:.2f}" for key in ("c2st", "shift", "spread")]
    return [
        name,
        _REFERENCES.get(name, "Metropolis–Hastings"),
        *figures,
        f"{values['sbc_p']:.2g}",
        "yes" if values["trusted"] else "no",
    ]


def _timed(name: str, values: Values) -> list[str]:
    enough = values["break_even"]
    return [
        name,
        f"{values['simulate_seconds']:.1f}",
        f"{values['train_seconds']:.1f}",
        f"{1000 * values['draw_seconds']:.1f}",
        f"{values['reference_seconds']:.2f}",
        "–" if enough is None else f"{math.ceil(enough):,}",
    ]


def _hii(values: Values) -> str:
    age = "never exceeds" if values["oldest_is_oldest"] else "EXCEEDS"
    return (
        f"**{HII}.** The light tells M·SFE better than mass and efficiency: the posterior correlation of ln M and "
        f"ln SFE is {values['correlation']:.2f}, of the reference {values['reference_correlation']:.2f} (goal below "
        f"-0.5). The age of the youngest cluster {age} the age of the cloud."
    )


def _exoplanets(values: Values) -> str:
    enough = values["break_even"]
    planets = "never" if enough is None else f"from {math.ceil(enough)} planets on"
    return (
        f"**{EXOPLANETS}.** Layers are compressible, and the star tells iron from rock. The mean water content differs "
        f"from the chains' by {values['water']:.3f}. Against Metropolis–Hastings the network pays {planets}; the paper "
        "says about 10, for another simulator and another sampler."
    )


def _segment(values: Values) -> str:
    return (
        f"**{SEGMENT}.** Mass and radius alone fix one linear functional of the layers. Along the segment of the "
        f"simplex that remains, samples are uniform up to a Kolmogorov–Smirnov distance of {values['distance']:.3f} "
        f"(reference {values['reference_distance']:.3f}); their distance from its line is {values['miss']:.4f} (root "
        f"mean square; reference {values['reference_miss']:.4f}, from the noise)."
    )


def _nitrogen(values: Values) -> str:
    return (
        f"**{NITROGEN}.** With a single element the posterior of spectral index and rigidity is exact on a grid. The "
        f"table compares with it. The chains differ from it by a shift of {values['chains_shift']:.3f} and a spread of "
        f"{values['chains_spread']:.3f}; on the other problems their error is not known."
    )


def _asteroids(values: Values) -> str:
    return (
        f"Along curves of equal (ρ_c − ρ_m)·r_c³, which the path can't tell apart, the posterior has a deviation of "
        f"{values['along']:.3f} (reference {values['reference_along']:.3f}); across them {values['across']:.3f} "
        f"({values['reference_across']:.3f}), in logarithms"
    )


def _rotor(values: Values) -> str:
    dropped = ", ".join(name.partition(" [")[0] for name in values["dropped"]) or "nothing"
    return (
        f"**{ROTOR}.** The variance-based screening drops {dropped}. Thickness and modulus of the flange, of which EA "
        f"knows the product only, have the posterior correlation {values['correlation']:.2f}, in the reference "
        f"{values['reference_correlation']:.2f}. From the linearized posterior, a normal one in closed form, the "
        f"trained one differs by a shift of {values['linear_shift']:.2f} and a spread of {values['linear_spread']:.2f}."
    )


def _turbine(values: Values) -> str:
    cells = []
    for name in ("prior", "posterior"):
        calls = values["calls"][name]
        reached = [number for number in calls if number is not None]
        often = f"{statistics.median(reached):g} designs in the median" if reached else "no number of designs"
        cells.append(f"{often} from the {name} ({len(reached)} of {len(calls)} starts arrive)")
    below = "stays below" if values["largest"] <= values["betz"] else "EXCEEDS"
    return (
        f"**{TURBINE}.** Maximal power at four limits of the thrust takes the optimizer {cells[0]} and {cells[1]}, "
        "where arriving means 99.5 % of the best power that other starts found. The largest power coefficient of all "
        f"designs is {values['largest']:.3f} and {below} the Betz limit {values['betz']:.3f}. Airfoils are thin ones "
        "with a parabolic camber."
    )


def _bodies(values: Values) -> str:
    true, sampled = values["relation"], values["sampled_relation"]
    measured, others = values["transneptunian"]
    judged = "calibrated" if values["trusted"] else "NOT calibrated"
    return (
        f"**{SMALL_BODIES}.** {values['bodies']:,} bodies of the NASA/JPL Small-Body Database have both diameter and "
        f"albedo; a fifth of them is held out. Given magnitude, orbit and class, the posterior of both costs "
        f"{values['nats']:.2f} nats on these, a linear regression {values['linear_nats']:.2f}. It is {judged} "
        f"(SBC p {values['sbc_p']:.2g}). The relation of diameter, albedo and magnitude is off by {true[0]:+.3f} ± "
        f"{true[1]:.3f} in log10 in the database and by {sampled[0]:+.3f} ± {sampled[1]:.3f} in the samples, whose "
        f"log10 diameters have a deviation of {values['diameter_deviation']:.3f}. The {values['unmeasured']:,} others "
        f"are not missing at random: {others:.0%} of them lie beyond Neptune and {measured:.0%} of the measured ones. "
        f"So what is learned holds for bodies like the measured ones; {values['surprising']:.0%} of the others are "
        "flagged as unlike (probability below 1 %)."
    )


SENTENCES = {
    HII: _hii,
    EXOPLANETS: _exoplanets,
    SEGMENT: _segment,
    NITROGEN: _nitrogen,
    ASTEROIDS: lambda values: f"**{ASTEROIDS}.** {_asteroids(values)}.",
    ASTEROIDS_INN: lambda values: (
        f"**{ASTEROIDS_INN}.** Trained in both directions by its four losses. {_asteroids(values)}."
    ),
    ROTOR: _rotor,
    TURBINE: _turbine,
    SMALL_BODIES: _bodies,
}
"""From the values of a row to what is said about it."""


def draw(result: Result) -> Figure:
    """Plot samples of posterior and reference of one observation of each problem."""
    count = len(result.rows)
    columns = math.ceil(count / 2)
    figure = Figure(figsize=(3.4 * columns, 7), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False).flatten()
    for axes, row in zip(panels, result.rows, strict=False):
        _scatter(axes, row.name, row.values["picture"])
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure


def _scatter(axes: Axes, name: str, picture: Values) -> None:
    for label, color in (("reference", "0.6"), ("posterior", "tab:blue")):
        x, y = zip(*picture[label], strict=True)
        what = "held-out bodies" if label == "reference" and picture["truth"] is None else label
        axes.scatter(x, y, s=6, color=color, alpha=0.6, label=what, linewidths=0)
    if picture["truth"] is not None:
        axes.plot(*picture["truth"], "x", color="tab:red", markersize=9, markeredgewidth=2, label="truth")
    axes.set(title=name, xlabel=picture["names"][0], ylabel=picture["names"][1])
    axes.legend(fontsize="x-small", loc="best")
