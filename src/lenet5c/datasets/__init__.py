"""Data sets of small images: MNIST (included), image folders, files of many formats."""

from __future__ import annotations

from lenet5c.datasets.dataset import Dataset, DatasetError, Source
from lenet5c.datasets.distortion import Distortion, EpochDistortion
from lenet5c.datasets.framing import Framing
from lenet5c.datasets.idx import load_idx
from lenet5c.datasets.idx_folder import idx_folder
from lenet5c.datasets.image_folder import image_folder
from lenet5c.datasets.in_memory import make_dataset
from lenet5c.datasets.mnist import mnist, mnist_label_errors
from lenet5c.datasets.pictures import PictureError, read_picture
from lenet5c.datasets.preparation import Preparation
from lenet5c.datasets.records import ReadOptions
from lenet5c.datasets.resampling import resize
from lenet5c.datasets.source import open_dataset, open_source

__all__ = [
    "Dataset",
    "DatasetError",
    "Distortion",
    "EpochDistortion",
    "Framing",
    "PictureError",
    "Preparation",
    "ReadOptions",
    "Source",
    "idx_folder",
    "image_folder",
    "load_idx",
    "make_dataset",
    "mnist",
    "mnist_label_errors",
    "open_dataset",
    "open_source",
    "read_picture",
    "resize",
]
