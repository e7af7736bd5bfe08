"""Drawn samples, stored as PNG files in a folder for each class."""

import io
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._optional import require
from lenet5c._text import reason
from lenet5c.datasets import Dataset
from lenet5c.datasets.pictures import read_pictures
from lenet5c.errors import UserError

MAXIMUM = 10_000  # maximum number of samples
OURS = re.compile(r"\d{8}-\d{6}-\d{6}\.png")
# Names that are not valid folder names on some system.
UNFIT = re.compile(
    r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$|^$', re.IGNORECASE
)


class SampleError(UserError):
    """Raised when a sample cannot be saved or deleted."""


class SampleFolder:
    """Drawn samples in a folder, which is created for the first one; requires Pillow.

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

    def __init__(
        self, path: Path, class_names: Sequence[str], image_shape: tuple[int, int, int]
    ) -> None:
        self.path = Path(path)
        self.class_names = tuple(class_names)
        self.image_shape = image_shape
        self.folders = [self.path / name for name in name_folders(self.class_names)]
        self.lock = threading.Lock()
        if self.path.exists() and not self.path.is_dir():
            raise SampleError(f"--samples must be a folder, got {str(self.path)!r}")

    def save(self, picture: NDArray[np.uint8], label: int) -> Path:
        """Write an image (C, h, w) as a sample of a class; return its path."""
        image = require("PIL.Image", "images", "saved samples")
        content = io.BytesIO()
        image.fromarray(picture[0]).save(content, "PNG")  # the channels of a drawing are equal
        folder = self.folders[label]
        with self.lock:
            if sum(self.counts()) >= MAXIMUM:
                raise SampleError(
                    f"{self.path} must have fewer than {MAXIMUM:,} samples; move some of them away"
                )
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / self._next_name()
                _files.write_bytes(path, content.getvalue())
            except OSError as error:
                raise SampleError(
                    f"{reason(error)}; free disk space, or start the demo with another --samples"
                ) from None
        return path

    def counts(self) -> list[int]:
        """Return the number of samples of each class."""
        return [len(list_pictures(folder)) for folder in self.folders]

    def delete_last(self) -> Path:
        """Delete the newest sample saved by a demo; return its path."""
        with self.lock:
            newest = self._newest()
            if newest is None:
                raise SampleError("there is no sample to delete; save one first")
            try:
                newest.unlink(missing_ok=True)
            except OSError as error:
                raise SampleError(reason(error)) from None
        return newest

    def read(self) -> tuple[Dataset | None, list[str]]:
        """Return all samples, None if there are none, and the names of invalid files."""
        files = [
            (path, label)
            for label, folder in enumerate(self.folders)
            for path in list_pictures(folder)[:MAXIMUM]
        ]
        images, labels, unusable = [], [], []

        def keep(picture: NDArray[np.uint8], _: object) -> NDArray[np.uint8] | None:
            return picture if picture.shape == self.image_shape[1:] else None

        pictures = read_pictures([path for path, _ in files], keep) if files else []
        for (path, label), picture in zip(files, pictures, strict=True):
            if picture is None or isinstance(picture, Exception):
                unusable.append(str(path))
            else:
                images.append(np.broadcast_to(picture, self.image_shape))
                labels.append(label)
        if not images:
            return None, unusable
        names = self.class_names
        return Dataset(np.stack(images), np.array(labels), len(names), "samples", names), unusable

    def _newest(self) -> Path | None:
        paths = [path for folder in self.folders for path in list_pictures(folder)]
        ours = [path for path in paths if OURS.fullmatch(path.name)]
        return max(ours, key=lambda path: path.name, default=None)

    def _next_name(self) -> str:
        """Return the time as a name, later than the newest even if the clock was set back."""
        name, newest = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.png", self._newest()
        if newest is None or name > newest.name:
            return name
        digits = f"{int(newest.stem.replace('-', '')) + 1:020d}"
        return f"{digits[:8]}-{digits[8:14]}-{digits[14:]}.png"


def name_folders(class_names: Sequence[str]) -> list[str]:
    """Return folder names that are valid and distinct on all systems."""
    folded = [name.casefold() for name in class_names]
    return [
        f"class-{number}"
        if UNFIT.search(name) or len(name.encode()) > 100 or folded.count(name.casefold()) > 1
        else name
        for number, name in enumerate(class_names)
    ]


def list_pictures(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, none if it does not exist."""
    return sorted(folder.glob("[!.]*.[pP][nN][gG]"))
