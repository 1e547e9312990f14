"""The galleries: every layer, flow and density has a row, and a picture shows the Jacobian that its caption says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from docs.generators import api, applications, flows, layers
from inverseflow import densities
from inverseflow import flows as package
from inverseflow.densities import AutoregressiveDensity
from tests.contracts.test_registry import PUBLIC_LAYERS

LISTED = {layer for uses in layers.USES.values() for layer in uses}


def test_every_layer_is_in_the_gallery() -> None:
    public = {layer.__name__ for layer in PUBLIC_LAYERS}
    families = {name for name in public if not (name.endswith(("1d", "3d")) and f"{name[:-2]}2d" in public)}
    assert families == LISTED, "write what it costs and when to use it into docs/generators/layers.py"


def test_every_flow_and_density_is_in_the_gallery() -> None:
    listed = {name for uses in flows.USES.values() for name in uses}
    assert listed == {*package.names(), *densities.names(AutoregressiveDensity)}


@pytest.mark.parametrize(
    ("layer", "lower", "upper"),
    [
        ("CausalConv2d", True, False),
        ("InverseConv2d", True, False),
        ("ActNorm", False, False),
        ("ExactConv2d", True, True),
    ],
)
def test_the_picture_of_a_convolution_is_triangular_where_the_layer_is(layer: str, lower: bool, upper: bool) -> None:
    matrix = layers.jacobian(layers.case_of(layer), pixels_first=True)
    assert (matrix.diagonal() > 0).all()
    assert bool((matrix.tril(-1) != 0).any()) == lower
    assert bool((matrix.triu(1) != 0).any()) == upper


def test_a_picture_has_the_determinant_that_the_layer_states() -> None:
    case = layers.case_of("PeriodicConv2d")
    matrix = layers.jacobian(case, pixels_first=False)
    torch.manual_seed(0)
    layer = case.perturbed("cpu", torch.float64)
    _, log_det = layer(case.data(1, "cpu", torch.float64))
    absolute = torch.autograd.functional.jacobian(
        lambda x: layer(x[None])[0][0].flatten(), torch.zeros(case.shape).double()
    )
    torch.testing.assert_close(torch.linalg.slogdet(absolute.flatten(1))[1], log_det[0])
    torch.testing.assert_close(absolute.flatten(1).abs(), matrix)


def test_a_formula_is_the_first_of_the_docstring() -> None:
    doc = {name.name: name.doc for name in api.public_names("inverseflow.bijections")}
    assert layers.formula(doc["Scale"]) == [r".. math:: z = a (x + b), \qquad \log|\det| = D \log|a|"]
    assert layers.formula(doc["Permute"]) == []
    assert len(layers.formula(doc["Radial"])) == 3


def test_the_pages_say_something_of_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "draw", lambda matrix, path: path.write_bytes(b""))
    monkeypatch.setattr(layers, "jacobian", lambda case, pixels_first: None)
    monkeypatch.setattr(flows, "draw", lambda names, path: path.write_bytes(b""))
    layers.write(tmp_path)
    flows.write(tmp_path)
    page = (tmp_path / "gallery" / "layers.rst").read_text()
    assert all(f"\n{layer}\n~" in page for layer in LISTED)
    assert page.count("* When: ") == len(LISTED)
    assert (tmp_path / "gallery" / "flows.rst").read_text().count("   * - ``") == sum(map(len, flows.USES.values()))


def test_every_application_is_in_the_gallery_with_a_picture_and_its_commands(tmp_path: Path) -> None:
    applications.write(tmp_path)
    page = (tmp_path / "gallery" / "applications.md").read_text()

    assert len(applications.names()) >= 8 and page.count("\n## ") == len(applications.names())
    for name in applications.names():
        assert f"python -m applications.{name} " in page, name
    for picture in re.findall(r"\]\((pictures/[^)]+)\)", page):
        assert (tmp_path / "gallery" / picture).stat().st_size > 0
    assert "(../experiments.md#styles-that-can-be-undone)" in page
    assert {*re.findall(r"experiments\.md#([\w-]+)", page)} <= applications.measured_headings()
