"""Named data sets and folders of images, split into training, validation and test examples."""

from inverseflow.data.augmentation import Augmentation, horizontal_flip
from inverseflow.data.condition import Condition, LabelCondition
from inverseflow.data.decoding import Crop, FileImages
from inverseflow.data.examples import Batch, Examples, Splits, TensorExamples
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.registry import DATA_SETS, load_images

__all__ = [
    "DATA_SETS",
    "Augmentation",
    "Batch",
    "Condition",
    "Crop",
    "Examples",
    "FileImages",
    "ImageSplits",
    "Images",
    "LabelCondition",
    "Splits",
    "TensorExamples",
    "TensorImages",
    "horizontal_flip",
    "load_images",
]
