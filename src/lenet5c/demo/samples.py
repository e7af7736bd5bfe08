"""The samples that a user has drawn: a folder for each class, a PNG file for each sample."""

import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lenet5c import _files
from lenet5c.datasets import Dataset
from lenet5c.demo import png
from lenet5c.errors import UserError

MOST = 10_000  # samples in all
OURS = re.compile(r"\d{8}-\d{6}-\d{6}\.png")
# What some system does not take as the name of a folder.
UNFIT = re.compile(
    r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$|^$', re.IGNORECASE
)


class SampleError(UserError):
    """A sample cannot be saved or deleted."""


class SampleFolder:
    """Drawn samples in a folder.

    Parameters
    ----------
    path : Path
        Made when the first sample is saved.
    class_names : sequence of str
    image_shape : tuple of int
        (C, h, w) of the model's data.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from lenet5c.demo.samples import SampleFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     samples = SampleFolder(Path(folder), ["0", "1"], (1, 28, 28))
    ...     path = samples.save(np.zeros((1, 28, 28), np.uint8), 1)
    ...     path.parent.name, samples.counts(), len(samples.read()[0])
    ('1', [0, 1], 1)
    """

    def __init__(self, path, class_names, image_shape):
        self.path = Path(path)
        self.class_names = tuple(class_names)
        self.image_shape = tuple(image_shape)
        self.folders = [self.path / name for name in folder_names(self.class_names)]
        self.lock = threading.Lock()
        if self.path.exists() and not self.path.is_dir():
            raise SampleError(f"--samples is {str(self.path)!r}, which is no folder; name another")

    def save(self, picture, label):
        """Write an image (C, h, w) as a sample of a class; returns its path."""
        folder = self.folders[label]
        with self.lock:
            if sum(self.counts()) >= MOST:
                raise SampleError(f"{self.path} holds {MOST:,} samples; move some of them away")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / _name_after(self._newest())
                # Channels of a drawing are alike.
                _files.write_bytes(path, png.encoded(picture[0]))
            except OSError as error:
                raise SampleError(
                    f"{folder}: {error.strerror or error}; start the demo with another --samples"
                ) from None
        return path

    def counts(self):
        """How many samples each class has."""
        return [len(saved_files(folder)) for folder in self.folders]

    def delete_last(self):
        """Delete the newest sample that a demo has saved here; returns its path."""
        with self.lock:
            newest = self._newest()
            if newest is None:
                raise SampleError("there is no sample to delete")
            try:
                newest.unlink(missing_ok=True)
            except OSError as error:
                raise SampleError(f"{newest}: {error.strerror or error}") from None
        return newest

    def read(self):
        """(Dataset of all samples, or None; the names of files that cannot be used)."""
        images, labels, unusable = [], [], []
        for label, folder in enumerate(self.folders):
            for path in saved_files(folder)[:MOST]:
                try:
                    if path.stat().st_size > png.LARGEST:
                        raise ValueError("is too large")
                    image = png.decoded(path.read_bytes(), self.image_shape[1:])
                except (OSError, ValueError):
                    unusable.append(str(path))
                    continue
                images.append(np.broadcast_to(image, self.image_shape))
                labels.append(label)
        if not images:
            return None, unusable
        return Dataset(
            np.stack(images), np.array(labels), len(self.folders), "samples", self.class_names
        ), unusable

    def _newest(self):
        ours = [
            path
            for folder in self.folders
            for path in saved_files(folder)
            if OURS.fullmatch(path.name)
        ]
        return max(ours, key=lambda path: path.name, default=None)


def folder_names(class_names):
    """Names of folders that every system takes, and keeps apart."""
    folded = [name.casefold() for name in class_names]
    return [
        f"class-{number}"
        if UNFIT.search(name) or len(name.encode()) > 100 or folded.count(name.casefold()) > 1
        else name
        for number, name in enumerate(class_names)
    ]


def saved_files(folder):
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() == ".png" and not path.name.startswith(".")
        )
    except OSError:
        return []


def _name_after(newest):
    """The time, as a name; later than that of the newest sample, even where the clock was put back."""
    now = datetime.now(UTC)
    name = f"{now:%Y%m%d-%H%M%S-%f}.png"
    if newest is None or name > newest.name:
        return name
    day, time, fraction = newest.stem.split("-")
    number = int(day + time + fraction) + 1
    digits = f"{number:020d}"
    return f"{digits[:8]}-{digits[8:14]}-{digits[14:]}.png"
