"""What ``--data`` means: a known name, or a folder."""

from dataclasses import dataclass
from pathlib import Path

from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.idx import idx_folder
from lenet5c.datasets.mnist import mnist

NAMES = ("mnist",)
READINGS = ("ink", "whole")


@dataclass(frozen=True, eq=False)
class Source:
    """The images of a run.

    Attributes
    ----------
    train, test : Dataset
    validation : Dataset or None
        Where the data brings its own.
    reading : {'ink', 'whole'}
        How a picture is made into an image such as these: the ink alone, cropped and centred on black as MNIST's digits
        are, or the whole picture as it is.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None = None
    reading: str = "ink"


def source_name(data):
    """A known name as it is, a folder as its full path: what a run's config.json holds.

    Raises
    ------
    DatasetError
        It is neither.
    """
    if data in NAMES:
        return data
    path = Path(data)
    if not data or not path.is_dir():
        raise DatasetError(f"--data is {data!r}; it should be {' or '.join(NAMES)}, or a folder with four IDX files")
    return str(path.resolve())


def open_source(data):
    """Read the images of a `source_name`. Returns a `Source`."""
    if data == "mnist":
        return Source(*mnist())
    return Source(*idx_folder(data))
