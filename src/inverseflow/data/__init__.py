"""Named data sets and folders of images, split into training, validation and test images."""

from inverseflow.data.augmentation import Augmentation, horizontal_flip
from inverseflow.data.decoding import Crop, FileImages
from inverseflow.data.images import Images, ImageSplits, TensorImages
from inverseflow.data.registry import DATA_SETS, load_images

__all__ = [
    "DATA_SETS",
    "Augmentation",
    "Crop",
    "FileImages",
    "ImageSplits",
    "Images",
    "TensorImages",
    "horizontal_flip",
    "load_images",
]
