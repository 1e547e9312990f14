"""The optional packages: which there are, what they are for, and how to say that one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from inverseflow.errors import MissingPackageError


@dataclass(frozen=True)
class Package:
    """A package that not every installation has."""

    name: str  # to install it by
    extra: str  # of inverseflow, which brings it
    purpose: str  # what needs it

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"pip install 'inverseflow[{self.extra}]'"


OPTIONAL = {
    "safetensors": Package("safetensors", "hub", "saving and loading flows"),
    "huggingface_hub": Package("huggingface_hub", "hub", "loading flows from the Hugging Face hub"),
    "cyclopts": Package("cyclopts", "train", "the command line"),
    "onnx": Package("onnx", "export", "exporting to ONNX"),
    "onnxscript": Package("onnxscript", "export", "exporting to ONNX"),
    "yaml": Package("pyyaml", "train", "run folders"),
    "lightning": Package("lightning", "train", "training"),
    "tqdm": Package("tqdm", "train", "progress bars"),
    "tensorboard": Package("tensorboard", "train", "training curves in TensorBoard"),
    "jinja2": Package("jinja2", "train", "pages about runs"),
    "matplotlib": Package("matplotlib", "train", "plots"),
    "PIL": Package("pillow", "train", "reading and writing images"),
    "pyarrow": Package("pyarrow", "train", "CSV and Parquet files"),
    "sklearn": Package("scikit-learn", "train", "estimators, and the data sets digits, two-moons and swiss-roll"),
    "soundfile": Package("soundfile", "audio", "the FLAC baseline of audio"),
    "rdkit": Package("rdkit", "molecules", "the experiment with molecules"),
    "rasterio": Package("rasterio", "geology", "reading and writing GeoTIFF"),
    "diffusers": Package("diffusers", "diffusion", "schedulers of diffusion"),
    "pycocotools": Package("pycocotools", "detection", "average precision"),
    "reedsolo": Package("reedsolo", "steganography", "messages in pictures"),
    "selfies": Package("selfies", "molecules", "the experiment with molecules"),
    "zuko": Package("zuko", "interop", "exchanging transforms and flows with zuko"),
    "nflows": Package("nflows", "interop", "exchanging transforms with nflows"),
    "normflows": Package("normflows", "interop", "exchanging flows with normflows"),
    "FrEIA": Package("FrEIA", "interop", "exchanging modules with FrEIA"),
    "pyro": Package("pyro-ppl", "interop", "flows as distributions in Pyro"),
    "sbi": Package("sbi", "interop", "flows as density estimators in sbi"),
}
"""By the name of the module that is imported."""


@contextmanager
def packages_for(purpose: str) -> Iterator[None]:
    """Raise MissingPackageError if a package imported in the block is missing or lacks what is imported from it.

    `purpose`, a noun, is what needs the package.
    """
    try:
        yield
    except ImportError as error:
        package = missing_package(error)
        if package is None:
            raise
        if find_spec((error.name or "").partition(".")[0]) is None:
            trouble = f"the package {package.name!r}, which is not installed"
        else:
            trouble = f"another version of the package {package.name!r} ({error})"
        raise MissingPackageError(f"{purpose} needs {trouble}: {package.remedy}") from error


def missing_package(error: ImportError) -> Package | None:
    """Return the optional package whose import failed, or None if something else failed."""
    return OPTIONAL.get((error.name or "").partition(".")[0])
