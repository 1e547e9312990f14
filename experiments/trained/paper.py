"""Tables 2 to 6 of the Inverse-Flow paper: flows trained on MNIST and CIFAR-10."""

from __future__ import annotations

from experiments.trained.experiment import trained_experiment
from experiments.trained.published import Published
from experiments.trained.table import Line, TrainedTable

_ALIKE = """The rows are flows that differ only in the layer of their steps. Coupling network, spline, ActNorm,
1×1 convolution, optimizer, number of training steps, images and their order are the same."""
_SNF = """SNF's likelihood is exact here: its step and FT contain the exact log-determinant,
which the publication estimates, and its ST the exact inverse."""
_MULTISCALE = f"""{_ALIKE}
Glow is the flow without any k×k layer. ARMA is ours: a k×k convolution followed by the inverse of another.
{_SNF}"""
_AND_MINTNET = """MintNet is as published, with its blocks and ActNorm but without spline, 1×1 convolution and
coupling."""

_SAMPLING = ("sampling",)
_COUNTS = ("architecture",)
_GLOW = Line("Glow (no k×k layer)", {"name": "glow"})
_ARMA = Line("ARMA (ours)", {"name": "arma"})


def _flow(name: str, model: str, published: Published) -> Line:
    return Line(name, {"name": model}, published)


def _planar(name: str, layer: str, published: Published | None = None) -> Line:
    return Line(name, {"name": "planar", "layer": layer}, published)


TABLE_2 = TrainedTable(
    name="table2",
    title="Table 2: MNIST, two scales of four steps",
    about=_MULTISCALE,
    data="mnist",
    model={"scales": 2, "steps": 4},
    lines=(
        _flow("Emerging", "emerging", Published(1.12, 630, None, 332.7, 121.0, 0.16, ("planar", *_COUNTS))),
        _flow("FInC Flow", "finc", Published(0.73, 411, None, 47.3, 95.1, 5.16, ("implausible", *_COUNTS))),
        _flow("SNF", "self-normalizing", Published(1.03, 557, None, 33.5, 212.5, 1.2, _COUNTS)),
        _flow(
            "Inverse-Flow",
            "inverse-flow",
            Published(0.62, 350, None, 12.2, 77.9, 0.6, ("doubled", "implausible", "gradient", *_SAMPLING, *_COUNTS)),
        ),
        _GLOW,
        _ARMA,
    ),
    quick_steps=200,
    quick_seeds=2,
)

TABLE_3 = TrainedTable(
    name="table3",
    title="Table 3: MNIST, two scales of sixteen steps",
    about=f"{_MULTISCALE}\n{_AND_MINTNET}",
    data="mnist",
    model={"scales": 2, "steps": 16},
    lines=(
        _flow("SNF", "self-normalizing", Published(1.28, 699, None, 99, None, 10.1, _COUNTS)),
        _flow("FInC Flow", "finc", Published(1.15, 655, None, 90, None, 10.2, _COUNTS)),
        _flow("MintNet", "mintnet", Published(0.98, 630, None, 320, None, 125.9)),
        _flow("Emerging", "emerging", Published(1.09, 640, None, 814, None, 11.4, _COUNTS)),
        _flow(
            "Inverse-Flow",
            "inverse-flow",
            Published(1.31, 710, None, 52, None, 1.6, ("doubled", "gradient", *_SAMPLING, *_COUNTS)),
        ),
        _GLOW,
        _ARMA,
    ),
    quick_steps=60,
    quick_test_images=500,
    quick_validation_images=200,
)

TABLE_4 = TrainedTable(
    name="table4",
    title="Table 4: MNIST, nine linear layers",
    about=f"""The planar model: three blocks of three linear layers, a squeeze between blocks, and a spline for each
element after every layer but the last. There is no coupling, no ActNorm and no 1×1 convolution, except for the one in
the definition of the emerging layer. Optimizer, number of training steps, images and their order are the same for all
rows. All layers scale their channels except inv-conv, whose diagonal is 1 as published. {_SNF}""",
    data="mnist",
    model={"name": "planar", "scales": 3, "steps": 3},
    lines=(
        _planar("Exact", "exact", Published(None, 637.4, 0.2, 36.5, 294, 0.103, ("copied",))),
        _planar("Exponential", "exponential", Published(None, 638.1, 1.0, 27.5, 160, 0.110, ("copied",))),
        _planar("Emerging", "emerging", Published(None, 645.7, 3.6, 26.1, 143, 0.103, ("copied", *_COUNTS))),
        _planar("SNF", "self-normalizing", Published(None, 638.6, 0.9, 61.3, 255, 0.364, ("copied", *_COUNTS))),
        _planar(
            "inv-conv",
            "inverse",
            Published(None, 645.3, 1.2, 19.7, 100, 0.096, ("doubled", "gradient", *_SAMPLING)),
        ),
        _planar("CInC", "cinc"),
        _planar("Periodic", "periodic"),
        _planar("ARMA (ours)", "arma"),
        _planar("splines only", "none"),
    ),
    quick_steps=120,
    quick_seeds=2,
    full_seeds=3,
)

TABLE_5 = TrainedTable(
    name="table5",
    title="Table 5: CIFAR-10, two scales of four steps",
    about=_MULTISCALE,
    data="cifar10",
    model={"scales": 2, "steps": 4},
    lines=(
        _flow("SNF", "self-normalizing", Published(3.47, None, None, 199.0, 81.8, 0.446, ("deeper", *_COUNTS))),
        _flow("Woodbury", "woodbury", Published(3.55, None, None, 2559.4, 31.3, 3.125, _COUNTS)),
        _flow("FInC Flow", "finc", Published(3.52, None, None, 47.3, 125.5, 0.589, _COUNTS)),
        _flow("Butterfly", "butterfly", Published(3.36, None, None, 155, 394.6, 3.168, _COUNTS)),
        _flow(
            "Inverse-Flow",
            "inverse-flow",
            Published(3.56, None, None, 23.2, 250.2, 0.466, ("doubled", "gradient", *_SAMPLING, *_COUNTS)),
        ),
        _GLOW,
        _ARMA,
    ),
    quick_steps=150,
    quick_batch=50,
    quick_test_images=1000,
)

TABLE_6 = TrainedTable(
    name="table6",
    title="Table 6: CIFAR-10, two scales of sixteen steps",
    about=f"{_MULTISCALE}\n{_AND_MINTNET}",
    data="cifar10",
    model={"scales": 2, "steps": 16},
    lines=(
        _flow("SNF", "self-normalizing", Published(3.52, None, None, 16.8, 609, 1.682, ("deeper", *_COUNTS))),
        _flow("MintNet", "mintnet", Published(3.51, None, None, 25_000, 2458, 12.466, ("seconds", *_COUNTS))),
        _flow("Woodbury", "woodbury", Published(3.48, None, None, 7654.4, 119, 12.49, _COUNTS)),
        _flow("MaCow", "macow", Published(3.40, None, None, 790.8, 1080, 2.68, _COUNTS)),
        _flow("CInC Flow", "cinc", Published(3.46, None, None, 1710, 615, 2.62, _COUNTS)),
        _flow("Butterfly", "butterfly", Published(3.39, None, None, 311.8, 1325, 12.58, _COUNTS)),
        _flow("FInC Flow", "finc", Published(3.59, None, None, 194.8, 548, 2.72, _COUNTS)),
        _flow(
            "Inverse-Flow",
            "inverse-flow",
            Published(3.57, None, None, 91.6, 722, 1.76, ("doubled", "gradient", *_SAMPLING, *_COUNTS)),
        ),
        _GLOW,
        _ARMA,
    ),
    quick_steps=20,
    quick_learning_rate=1e-3,  # at twice this rate, MaCow and ARMA soon exceed the precision of float32
    quick_batch=32,
    quick_test_images=100,
    quick_validation_images=64,
)

TABLES = (TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6)
"""In the order of the paper."""

EXPERIMENTS = tuple(map(trained_experiment, TABLES))
