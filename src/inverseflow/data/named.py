"""The named sets of images: digits, MNIST, Fashion-MNIST and CIFAR-10."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from inverseflow.data.decoding import Decoder, decode_all
from inverseflow.data.formats import read_batches, read_idx, read_parquet
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.paths import existing_folder, listed, printable
from inverseflow.data.splitting import split_indices
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

_VARIABLE = "INVERSEFLOW_DATA"  # names the folder whose subfolders are data sets
_VALIDATION = 10_000  # official training images that are held out
_DIGITS = tuple("0123456789")


def load_digits(*, split_seed: int = 0) -> ImageSplits:
    """Load the 1,797 test images of the UCI optical digits, which come with scikit-learn and have 17 gray levels.

    Reference:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, 1998, https://doi.org/10.24432/C50P49.
    """
    with packages_for("the data set 'digits'"):
        from sklearn.datasets import load_digits as load
    bundled = load()
    pixels = torch.from_numpy(bundled.images).to(torch.uint8).unsqueeze(1)  # (1797, 1, 8, 8)
    images = TensorImages(pixels, torch.from_numpy(bundled.target))
    train, validation, test = map(images.select, split_indices(len(images), 180, 360, seed=split_seed))
    return ImageSplits("digits", "digits", 17, images.shape, train, validation, test, classes=_DIGITS)


def _read_mnist(folder: Path, split: str) -> TensorImages:
    stem = "t10k" if split == "test" else split
    images, labels = (
        # Some copies have a dot in the place of the second hyphen. Plain files sort before compressed ones.
        next(iter(sorted(folder.glob(f"{stem}-{kind}?idx{ndim}-ubyte*"))), folder / f"{stem}-{kind}-idx{ndim}-ubyte")
        for kind, ndim in (("images", 3), ("labels", 1))
    )
    return read_idx(images, labels)


def _read_cifar10(folder: Path, split: str) -> TensorImages:
    names = ["test_batch"] if split == "test" else [f"data_batch_{number}" for number in range(1, 6)]
    return read_batches([folder / name for name in names])


@dataclass(frozen=True)
class OfficialSet:
    """A data set with an official test split."""

    name: str
    title: str
    shape: tuple[int, int, int]
    sizes: tuple[int, int]
    """Images for training, validation included, and for test."""
    hub_repository: str
    folders: tuple[str, ...]
    """Subfolders of a data folder in which to look for the files, one or two levels deep."""
    marker: str
    """Name of a file in the original format, as a pattern."""
    read: Callable[[Path, str], TensorImages]
    """Read a split in the original format from a folder."""
    expected: str
    """Name of the original format in messages."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    augmentations: tuple[str, ...] = ()


MNIST = OfficialSet(
    name="mnist",
    title="MNIST",
    shape=(1, 28, 28),
    sizes=(60_000, 10_000),
    hub_repository="ylecun/mnist",
    folders=("mnist", "MNIST/raw", "raw"),
    marker="t10k-images?idx3-ubyte*",
    read=_read_mnist,
    expected="the four IDX files",
    classes=_DIGITS,
)
"""LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, https://yann.lecun.org/exdb/mnist."""

FASHION_MNIST = OfficialSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    shape=(1, 28, 28),
    sizes=(60_000, 10_000),
    hub_repository="zalando-datasets/fashion_mnist",
    folders=("fashion-mnist", "FashionMNIST/raw", "fashion_mnist", "raw"),
    marker="t10k-images?idx3-ubyte*",
    read=_read_mnist,
    expected="the four IDX files",
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    augmentations=("horizontal_flip",),
)
"""Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017, https://arxiv.org/abs/1708.07747. Its files have the names of MNIST's:
keep the two in folders of their own."""

CIFAR10 = OfficialSet(
    name="cifar10",
    title="CIFAR-10",
    shape=(3, 32, 32),
    sizes=(50_000, 10_000),
    hub_repository="uoft-cs/cifar10",
    folders=("cifar10", "cifar10-jpeg", "plain_text", "cifar-10-batches-py"),
    marker="test_batch",
    read=_read_cifar10,
    expected="the folder cifar-10-batches-py",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    augmentations=("horizontal_flip",),
)
"""Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
JPEG copies lost detail, so fewer bits per dimension are measured on them; their title is "CIFAR-10 (JPEG)"."""


def load_official(
    spec: OfficialSet, data_dir: str | os.PathLike[str] | None = None, *, split_seed: int = 0, progress: bool = False
) -> ImageSplits:
    """Load a data set from a folder, or else from ``$INVERSEFLOW_DATA``, or else from the Hugging Face hub.

    The title says if images were stored as JPEG, or if their number is not the official one.
    """
    train, test, lossy = _read_folder(spec, _folder(spec) if data_dir is None else existing_folder(data_dir), progress)
    held_out = max(1, len(train) * _VALIDATION // spec.sizes[0])
    remaining, validation = split_indices(len(train), held_out, seed=split_seed)
    notes = ["JPEG"] if lossy else []
    if (len(train), len(test)) != spec.sizes:
        notes.append(f"{len(train)} + {len(test)} images")
    return ImageSplits(
        name=spec.name,
        title=f"{spec.title} ({', '.join(notes)})" if notes else spec.title,
        levels=256,
        event_shape=spec.shape,
        train=train.select(remaining),
        validation=train.select(validation),
        test=test,
        augmentations=spec.augmentations,
        classes=spec.classes,
    )


def binarize(splits: ImageSplits) -> ImageSplits:
    """Draw each pixel once as 0 or 1, with the probability of its gray level, by a fixed seed.

    The same images give the same pixels on every machine. Of MNIST this is not the binarization of Larochelle and
    Murray, so likelihoods are close to published ones but not comparable to the last digit.

    Example:
        >>> binary = binarize(load_digits())
        >>> binary.title, binary.levels, binary.test.tensor().unique()
        ('digits (binarized)', 2, tensor([0, 1], dtype=torch.uint8))
    """

    def drawn(images: Images, seed: int) -> TensorImages:
        pixels = images.tensor()
        noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return TensorImages((noise * (splits.levels - 1) < pixels).to(torch.uint8), images.labels)

    train, validation, test = (
        drawn(images, i) for i, images in enumerate((splits.train, splits.validation, splits.test))
    )
    return replace(splits, title=f"{splits.title} (binarized)", levels=2, train=train, validation=validation, test=test)


def _folder(spec: OfficialSet) -> Path:
    if variable := os.environ.get(_VARIABLE):
        root = existing_folder(variable, f"{_VARIABLE} = ")
        for name in spec.folders:
            if (root / name).is_dir():
                return root / name
    with packages_for("fetching data from the Hugging Face hub"):
        import huggingface_hub
    repository = spec.hub_repository
    try:
        return Path(huggingface_hub.snapshot_download(repository, repo_type="dataset", allow_patterns=["*.parquet"]))
    except Exception as error:  # the client raises the errors of several network libraries
        reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise DataError(
            f"{repository} cannot be fetched from the Hugging Face hub ({reason}): name a folder that holds "
            f"{spec.title} with --data-dir, or set {_VARIABLE} to the folder above"
        ) from error


def _read_folder(spec: OfficialSet, root: Path, progress: bool) -> tuple[TensorImages, TensorImages, bool]:
    """Return the training and the test images, and whether some were stored as JPEG."""
    places = ("", *spec.folders)
    for folder in (root / place / deeper for place in places for deeper in places):
        if any(folder.glob(spec.marker)):
            return spec.read(folder, "train"), spec.read(folder, "test"), False
        if any(file.is_file() for file in _parquet_files(folder, "test")):
            train, train_lossy = _read_parquet(spec, folder, "train", progress)
            test, test_lossy = _read_parquet(spec, folder, "test", progress)
            return train, test, train_lossy or test_lossy
    raise DataError(
        f"{printable(root)} holds no {spec.title}: expected {spec.expected}, or train.parquet and test.parquet; "
        f"found {listed(sorted(Path(path.name) for path in root.iterdir())) or 'nothing'}"
    )


def _parquet_files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}-*.parquet")) or [folder / f"{split}.parquet"]


def _read_parquet(spec: OfficialSet, folder: Path, split: str, progress: bool) -> tuple[TensorImages, bool]:
    encoded, labels = read_parquet(_parquet_files(folder, split))
    pixels = decode_all(encoded, Decoder(spec.shape), progress=progress)
    return TensorImages(pixels, labels), any(image.content().startswith(b"\xff\xd8") for image in encoded)
