"""Data sets by name, tables, images, audio and data in memory, split into training, validation and test examples."""

from inverseflow.data.audio import load_audio
from inverseflow.data.augmentation import Augmentation, horizontal_flip
from inverseflow.data.condition import ColumnCondition, Condition, LabelCondition, condition_from_mapping
from inverseflow.data.decoding import Crop, FileImages
from inverseflow.data.examples import Batch, Examples, Splits, TensorExamples
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.looks import Lattice
from inverseflow.data.memory import as_splits
from inverseflow.data.mulaw import mu_law_decode, mu_law_encode
from inverseflow.data.registry import DATA_SETS, IMAGE_SETS, load_data, load_images
from inverseflow.data.table import load_table
from inverseflow.data.toys import TOYS, Toy, load_toy

__all__ = [
    "DATA_SETS",
    "IMAGE_SETS",
    "TOYS",
    "Augmentation",
    "Batch",
    "ColumnCondition",
    "Condition",
    "Crop",
    "Examples",
    "FileImages",
    "ImageSplits",
    "Images",
    "LabelCondition",
    "Lattice",
    "Splits",
    "TensorExamples",
    "TensorImages",
    "Toy",
    "as_splits",
    "condition_from_mapping",
    "horizontal_flip",
    "load_audio",
    "load_data",
    "load_images",
    "load_table",
    "load_toy",
    "mu_law_decode",
    "mu_law_encode",
]
