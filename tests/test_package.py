"""The package as a whole: what importing it costs, and which version it says it is."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import inverseflow

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# Top-level modules that only the extras bring.
EXTRAS = (
    "cyclopts",
    "huggingface_hub",
    "lightning",
    "matplotlib",
    "PIL",
    "pyarrow",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "tensorboard",
    "yaml",
)

WITHOUT_EXTRAS = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {EXTRAS!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def run(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_importing_the_package_loads_none_of_the_extras() -> None:
    loaded = run("import sys, inverseflow; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert set(loaded).isdisjoint(EXTRAS)


def test_torch_and_numpy_suffice_to_import_and_to_use_a_flow() -> None:
    use_a_flow = """
import torch, inverseflow
flow = inverseflow.InverseFlow((1, 8, 8), levels=17, scales=2, steps=1)
images = torch.randint(0, 17, (4, 1, 8, 8), dtype=torch.uint8)
flow.initialize(images)
assert flow.bits_per_dim(images).shape == (4,)
"""
    run(WITHOUT_EXTRAS + use_a_flow)


def test_the_version_is_the_one_in_pyproject() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', PYPROJECT.read_text(), re.MULTILINE)
    assert inverseflow.__version__ == version == metadata.version("inverseflow")


def test_every_public_name_can_be_imported() -> None:
    assert inverseflow.__all__
    assert [name for name in inverseflow.__all__ if not hasattr(inverseflow, name)] == []


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = (PYPROJECT.parent / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {inverseflow.__version__}\n" in citation
