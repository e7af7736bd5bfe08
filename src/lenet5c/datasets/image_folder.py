"""A folder or archive of images with one folder for each class, as a data set."""

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

#: Height and width of small images that differ in size: the input of LeNet-5.
SIZE = (32, 32)
#: The largest side of images that are small.
SMALL = 48
#: Maximum side of images in memory; smaller if they would take too much memory.
SIDES = (128, 96, 64, 48, 32)
#: The largest side that images are resized to.
MAX_SIDE = 1024
#: Bytes of all images together.
MEMORY = 2 << 30


def image_folder(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    test_share: float = TEST_SHARE,
    seed: int = 0,
    skip_bad: bool = False,
    follow_links: bool = False,
    memory: int = MEMORY,
) -> Source:
    """Read a folder of images, with one folder for each class.

    The classes are either all in parts, ``path/train/CLASS``, ``path/test/CLASS`` and perhaps
    ``path/val/CLASS``, or directly in the folder, ``path/CLASS``, perhaps with the parts in them,
    ``path/CLASS/train``. Parts are known by what their names mean: ``Training Data`` is one for
    training. One folder may hold all else. Without a part for the test some training images of each
    class are set aside for it. Folders inside that of a class belong to the class. Classes and
    images are sorted by name, with '2' before '10'.

    Parameters
    ----------
    path : str or path-like
        The folder, or a zip or tar of it, which is read without unpacking it to disk.
    channels : {1, 3}, optional
        Default: 1 if no image has colors, otherwise 3.
    size : tuple of int, optional
        Height and width that images are resized to; by default those of `common_size`. Proportions
        are kept, with bars of the color of the image's border.
    test_share : float, optional
        Share of the images of each class for the test, where there is no folder for it.
    seed : int, optional
        Random seed of that choice. It follows from the seed and the name of each image, so that
        hardly any image changes sides when others are added.
    skip_bad : bool, optional
        Leave out files that cannot be read, instead of raising an error.
    follow_links : bool, optional
        Follow links to files and folders anywhere; by default to files in the folder alone.
    memory : int, optional
        Bytes that the images may take all together.

    Returns
    -------
    Source
        With the folder's `validation`, if there is one, the reading 'whole', and `notes` on
        skipped files.

    Raises
    ------
    FileNotFoundError
    DatasetError
        If the folder is laid out in another way, a class has no images or is not among those of
        train, files cannot be read, or the images take too much memory.
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
    if not 0 < check_number("test_share", test_share) < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share!r}")
    options = ReadOptions(skip_bad=skip_bad, follow_links=follow_links)
    found = read_image_folder(root, options, channels=channels, size=size, memory=memory)
    return divide(found, test_share=test_share, seed=seed)


def read_image_folder(
    root: Path,
    options: ReadOptions,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    memory: int = MEMORY,
    files: FolderFiles | None = None,
) -> Found:
    """Read a folder of images, for `image_folder`; `files` are those that are listed already."""
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
    """Return the height and width to which images of several sizes are brought.

    Images of one size keep it. Small ones of several sizes, of at most 48 pixels a side, become 32
    by 32, others of the mean height and width. Where a side is over 128 pixels it is made 128 in
    the same proportions; less where so many images in color would take more than half the memory.

    Parameters
    ----------
    sizes : mapping of (int, int) to int
        How many images there are of each height and width.
    memory : int, optional
        Bytes that the images may take all together.

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
    """Collect pictures one by one, keeping only the data needed later."""

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
        # A copy: an image that is a part of a large picture would hold on to it.
        return np.array(letterbox(planes, self.size))

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take an image made of a picture."""
        self.colored |= len(image) == 3
        self.kept.append(image)
        self._check_memory()

    def stack(self) -> NDArray[np.uint8]:
        """Return all images, gray ones with as many channels as others need."""
        stacked = np.empty((len(self.kept), 3 if self.colored else 1, *self.size), np.uint8)
        for i in reversed(range(len(stacked))):
            # One channel goes into all three. Popped, else all would be in memory twice.
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
        return f"{files} that cannot be read, left out: {shown}"
    raise DatasetError(
        f"{root}: {files} cannot be read ({shown}); "
        "repair or delete them, or leave them out with --skip-bad"
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
