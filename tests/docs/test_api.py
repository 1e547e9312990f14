"""The reference: every public name has a page, and every page is reached from the home page."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from docs.generators import api

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [name for package in api.PACKAGES for name in api.public_names(package)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the reference by name."""
    folder = tmp_path_factory.mktemp("docs")
    api.write(folder)
    return {str(path.relative_to(folder).with_suffix("")): path.read_text() for path in folder.rglob("*.rst")}


def listed(package: str) -> list[str]:
    return [name.name for name in api.public_names(package)]


# What the source says, and what Python sees when it imports.
@pytest.mark.parametrize("package", [name for name in api.PACKAGES if not name.startswith("inverseflow.interop.")])
def test_the_reference_lists_what_a_package_exports(package: str) -> None:
    module = importlib.import_module(package)
    if hasattr(module, "__all__"):
        assert listed(package) == list(module.__all__)
    for name in api.public_names(package):
        if name.kind == "package":
            continue
        thing = getattr(module, name.name)
        assert (name.kind == "class") == (isinstance(thing, type) and name.kind != "value")
        if name.kind in ("class", "function"):
            assert (thing.__module__, thing.__qualname__) == (name.home, name.name)


def test_every_public_package_is_in_the_reference() -> None:
    packages = {
        ".".join(path.parent.relative_to(api.SOURCE).parts)
        for path in (api.SOURCE / "inverseflow").glob("*/__init__.py")
        if "__all__" in path.read_text()
    }
    assert packages <= set(api.PACKAGES)


def test_every_public_name_has_a_page_of_its_own(pages: dict[str, str]) -> None:
    assert len(NAMES) > 300
    for name in NAMES:
        assert name.path in pages[name.page], name.path
    own = [name.page for name in NAMES]
    assert len({page.lower() for page in own}) == len(own), "file systems that ignore case would lose pages"


def test_a_name_that_two_packages_export_is_described_on_one_page(pages: dict[str, str]) -> None:
    described = re.findall(r"^\.\. auto(?:class|function):: (\S+)", "\n".join(pages.values()), re.MULTILINE)
    assert len(set(described)) == len(described)
    assert "same as :py:func:`inverseflow.training.fit`" in pages["api/fit"]


def test_every_public_name_says_what_it_is() -> None:
    assert [name.path for name in NAMES if not name.doc and name.kind != "value"] == []


def test_every_page_is_reached_from_the_home_page(pages: dict[str, str]) -> None:
    texts = pages | {
        str(path.relative_to(DOCS).with_suffix("")): path.read_text()
        for path in DOCS.rglob("*.md")
        if "api" not in path.parts
    }
    generated = {"gallery/layers", "gallery/flows", "gallery/applications"}
    reached, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page in texts:
            reached.add(page)
            folder = page.rpartition("/")[0]
            links = re.findall(r":doc:`[^<`]+</([^>]+)>`", texts[page]) + re.findall(r"^   /(\S+)$", texts[page], re.M)
            waiting += links
            toctrees = "\n".join(re.findall(r"```\{toctree\}\n(.*?)```", texts[page], re.DOTALL))
            waiting += [f"{folder}/{entry}".lstrip("/") for entry in re.findall(r"^([\w/-]+)$", toctrees, re.MULTILINE)]
    assert set(texts) - reached - generated == set()
