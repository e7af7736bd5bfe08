"""Folders and archives of images with one folder for each class."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, list_some, printable
from lenet5c.datasets._checks import check_number, check_path, check_size
from lenet5c.datasets.conversion import is_gray, to_channels
from lenet5c.datasets.dataset import DatasetError, Source
from lenet5c.datasets.folder_files import FolderFiles, list_folder
from lenet5c.datasets.orientation import set_upright
from lenet5c.datasets.pictures import describe_fault, measure_sizes, measure_whites, read_pictures
from lenet5c.datasets.records import ALL, TEST_SHARE, Found, ReadOptions, Records, divide
from lenet5c.datasets.resampling import fit_size, letterbox

#: Common size of small images of different sizes, the input size of LeNet-5.
SIZE = (32, 32)
#: Maximum side of small images.
SMALL = 48
#: Maximum side of images in memory; smaller if they would take too much memory.
SIDES = (128, 96, 64, 48, 32)
#: Maximum side to which images are resized.
MAX_SIDE = 1024
#: Maximum bytes of all images.
MEMORY = 2 << 30


def image_folder(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    test_fraction: float = TEST_SHARE,
    seed: int = 0,
    skip_bad: bool = False,
    follow_links: bool = False,
    memory: int = MEMORY,
) -> Source:
    """Read a folder of images, with one folder for each class.

    The classes are in parts, ``path/train/CLASS``, ``path/test/CLASS`` and optionally
    ``path/val/CLASS``, or directly in the folder, ``path/CLASS``, optionally with the parts inside,
    ``path/CLASS/train``. Parts are recognized by various names, such as ``Training Data``, and may
    be nested in another folder. If there is no test part, some training images of each class are
    held out for it. Folders inside a class folder belong to the class. Classes and images are
    sorted by name, with '2' before '10'.

    Parameters
    ----------
    path : str or path-like
        The folder, or a zip or tar archive of it, which is read without extracting it to disk.
    channels : {1, 3}, optional
        Number of channels. Default: 1 if no image has colors, otherwise 3.
    size : tuple of int, optional
        Height and width to which images are resized. Default: see `common_size`. The aspect ratio
        is preserved, with bars in the color of the image border.
    test_fraction : float, optional
        Fraction of the images of each class to hold out for testing if there is no test folder.
    seed : int, optional
        Random seed of that split. It depends on the seed and the name of each image, so that hardly
        any image moves to another part when images are added.
    skip_bad : bool, optional
        Skip files that cannot be read instead of raising an error.
    follow_links : bool, optional
        Follow links to files and folders anywhere; by default, only links to files in the folder.
    memory : int, optional
        Maximum number of bytes of all images.

    Returns
    -------
    Source
        The data, with a validation set if the folder has one, and `notes` on skipped files.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the folder has another layout, a class has no images or no training images, files cannot
        be read, or the images take too much memory.
    MissingExtraError
        If Pillow is not installed.

    Examples
    --------
    >>> from lenet5c.datasets import image_folder
    >>> source = image_folder("photos")  # doctest: +SKIP
    >>> source.train.class_names, source.train.images.shape  # doctest: +SKIP
    (('cat', 'dog'), (2000, 3, 64, 64))
    """
    root = check_path("path", path)
    if not 0 < check_number("test_fraction", test_fraction) < 1:
        raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction!r}")
    options = ReadOptions(skip_bad=skip_bad, follow_links=follow_links)
    found = read_image_folder(root, options, channels=channels, size=size, memory=memory)
    return divide(found, test_fraction=test_fraction, seed=seed)


def read_image_folder(
    root: Path,
    options: ReadOptions,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    memory: int = MEMORY,
    files: FolderFiles | None = None,
) -> Found:
    """Implement `image_folder` for `files` that are already listed."""
    if channels is not None and (not isinstance(channels, int) or channels not in (1, 3)):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    if size is not None:
        size = check_size(size, MAX_SIDE)
    check_number("memory", memory)
    with files or list_folder(root, options.follow_links) as files:
        if files.errors:
            raise DatasetError(files.errors[0])
        entries = files.entries()
        used = []
        bad = [(path, f"cannot be opened ({why})") for path, why in files.locked]
        paths = [file for *_, file in entries]
        white = measure_whites(paths, files.open)
        size = size or common_size(Counter(measure_sizes(paths, files.open)), memory)
        images = ImageStack(channels, size, memory, len(entries), root)
        pictures = read_pictures(paths, images.prepare, files.open, white)
        for entry, picture in zip(entries, pictures, strict=True):
            if isinstance(picture, Exception):
                bad.append((entry[2], describe_fault(picture, entry[2])))
            else:
                images.add(picture)
                used.append(entry)
    notes = [*files.warnings, *files.notes]
    if bad:
        notes.append(_report_bad(root, bad, options.skip_bad))
    _check_rest(root, files, used)
    array = images.stack()
    parts = {}
    for part in files.parts:
        chosen = [i for i, entry in enumerate(used) if entry[0] == part]
        if chosen:
            parts[part] = Records(
                # A slice is a view: the entries of a part follow each other.
                array[chosen[0] : chosen[-1] + 1],
                None if part in files.flat else np.array([used[i][1] for i in chosen], np.int32),
                tuple(used[i][2].relative_to(root).as_posix() for i in chosen),
                None if files.archive else root,
            )
    found = Found(
        parts,
        root.resolve().name,
        "whole",
        tuple(notes),
        files.class_names or None,
        tuple(files.faults),
        white,
    )
    return set_upright(found, options.transpose, False)


def common_size(sizes: Mapping[tuple[int, int], int], memory: int = MEMORY) -> tuple[int, int]:
    """Return the height and width to which images of different sizes are resized.

    Images of one size are not resized. Images of different sizes of at most 48 pixels per side
    become 32 by 32, larger ones get the mean height and width. If a side is longer than 128 pixels,
    the size is reduced to 128 with the same aspect ratio, or further if that many color images
    would take more than half of the memory.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        Number of images of each height and width.
    memory : int, optional
        Maximum number of bytes of all images.

    Examples
    --------
    >>> from lenet5c.datasets.image_folder import common_size
    >>> common_size({(48, 64): 200}), common_size({(20, 30): 5, (28, 28): 5})
    ((48, 64), (32, 32))
    >>> common_size({(3000, 4000): 100, (4000, 3000): 20})
    (101, 123)
    """
    number = sum(sizes.values())
    if number == 0 or (len(sizes) > 1 and max(map(max, sizes)) <= SMALL):
        return SIZE
    fitting = (side for side in SIDES if 2 * 3 * side * side * number <= memory)
    most = next(fitting, SIDES[-1])
    bounded = [
        (size if max(size) <= most else fit_size(size, (most, most)), count)
        for size, count in sizes.items()
    ]
    height, width = (
        max(1 if len(sizes) == 1 else SIZE[axis], round(total / number))
        for axis in (0, 1)
        for total in [sum(size[axis] * count for size, count in bounded)]
    )
    return height, width


class ImageStack:
    """Collects pictures one by one, keeping only the data needed later."""

    def __init__(
        self, channels: int | None, size: tuple[int, int], memory: int, expected: int, root: Path
    ) -> None:
        self.channels, self.size, self.memory = channels, size, memory
        self.expected, self.root = expected, root
        self.kept: list[NDArray[np.uint8]] = []
        self.colored = channels == 3

    def prepare(self, picture: NDArray[np.uint8], _: object = None) -> NDArray[np.uint8]:
        """Return the image of a picture; thread-safe."""
        if self.channels is None and is_gray(picture):
            planes = to_channels(picture if picture.ndim == 2 else picture[..., 0], 1)
        else:
            planes = to_channels(picture, self.channels or 3)
        # Copied, because a view would keep a large picture in memory.
        return np.array(letterbox(planes, self.size))

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add an image made from a picture."""
        self.colored |= len(image) == 3
        self.kept.append(image)
        self._check_memory()

    def stack(self) -> NDArray[np.uint8]:
        """Return all images, with three channels if any has colors."""
        stacked = np.empty((len(self.kept), 3 if self.colored else 1, *self.size), np.uint8)
        for i in reversed(range(len(stacked))):
            # Broadcasts one channel to three. Popped to avoid holding all images twice.
            stacked[i] = self.kept.pop()
        return stacked

    def _check_memory(self) -> None:
        height, width = self.size
        needed = self.expected * (3 if self.colored else 1) * height * width
        if needed > self.memory:
            raise DatasetError(
                f"{self.root}: {self.expected:,} images of {height} by {width} pixels take "
                f"{needed / 2**30:.1f} GB, more than {self.memory / 2**30:.1f} GB; "
                "use fewer or smaller images"
            )


def _report_bad(root: Path, bad: list[tuple[Path, str]], skip_bad: bool) -> str:
    shown = list_some((f"{printable(file.relative_to(root))} {why}" for file, why in bad), 3, "; ")
    files = count(len(bad), "file")
    if skip_bad:
        return f"{files} that cannot be read, skipped: {shown}"
    raise DatasetError(
        f"{root}: {files} cannot be read ({shown}); "
        "repair or delete them, or skip them with --skip-bad"
    )


def _check_rest(root: Path, files: FolderFiles, used: list[tuple[str, int, Path]]) -> None:
    for part, classes in files.parts.items():
        names = ("all",) if part in files.flat else files.class_names
        left = {label for found, label, _ in used if found == part}
        lost = [
            name
            for label, (name, paths) in enumerate(zip(names, classes, strict=True))
            if paths and label not in left
        ]
        if lost and (part in ("train", ALL) or not left):
            of_part = "" if part == ALL else f" in {part}"
            raise DatasetError(
                f"{root}: no image of {lost[0]!r}{of_part} can be read; "
                "add images, or delete the folder"
            )
