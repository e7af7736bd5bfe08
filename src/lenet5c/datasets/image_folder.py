"""A folder or archive of images with one folder for each class, as a data set."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lenet5c._text import count, list_some, printable
from lenet5c.datasets._checks import check_number, check_path, check_size
from lenet5c.datasets.conversion import is_gray, to_channels
from lenet5c.datasets.dataset import DatasetError, Source
from lenet5c.datasets.folder_files import FolderFiles, list_folder
from lenet5c.datasets.orientation import set_upright
from lenet5c.datasets.pictures import describe_fault, measure_whites, read_pictures
from lenet5c.datasets.records import ALL, TEST_SHARE, Found, ReadOptions, Records, divide
from lenet5c.datasets.resampling import letterbox

#: Height and width of images that differ in size, or are larger than `KEPT`: the net's input.
SIZE = (32, 32)
#: The largest side of images that keep their size, if it is the same for all.
KEPT = 128
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
        Height and width that images are resized to. By default images keep their size if all
        have the same, and no side is over 128 pixels; otherwise they become 32 by 32. Proportions
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
        images = ImageStack(channels, size, memory, len(entries), root)
        used = []
        bad = [(path, f"cannot be opened ({why})") for path, why in files.locked]
        paths = [file for *_, file in entries]
        white = measure_whites(paths, files.open)
        pictures = read_pictures(paths, images.prepare, files.open, white)
        for entry, picture in zip(entries, pictures, strict=True):
            if isinstance(picture, Exception):
                bad.append((entry[2], describe_fault(picture, entry[2])))
            else:
                images.add(*picture)
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


class ImageStack:
    """Takes pictures one by one, and keeps no more of each than will be needed."""

    def __init__(
        self,
        channels: int | None,
        size: tuple[int, int] | None,
        memory: int,
        expected: int,
        root: Path,
    ) -> None:
        self.channels, self.asked, self.memory = channels, size, memory
        self.expected, self.root = expected, root
        self.size = size
        self.kept: list[NDArray[np.uint8]] = []
        self.shape: tuple[int, int] | None = None  # of all so far, while they keep it
        self.colored = channels == 3

    def prepare(
        self, picture: NDArray[np.uint8], _: object = None
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return (image, size of the picture): all that takes time, for any thread."""
        height, width = picture.shape[:2]
        if self.channels is None and is_gray(picture):
            planes = to_channels(picture if picture.ndim == 2 else picture[..., 0], 1)
        else:
            planes = to_channels(picture, self.channels or 3)
        size = self.asked or (SIZE if max(height, width) > KEPT else (height, width))
        # A copy: an image that is a part of a large picture would hold on to it.
        return np.array(letterbox(planes, size)), (height, width)

    def add(self, image: NDArray[np.uint8], size: tuple[int, int]) -> None:
        """Take an image made of a picture of that size."""
        self.colored |= len(image) == 3
        if self.size is None:
            if max(size) <= KEPT and size == (self.shape or size):
                self.shape = size
            else:
                self.size = SIZE
                self.kept = [letterbox(kept, SIZE) for kept in self.kept]
        self.kept.append(letterbox(image, self.size or size))
        self._check_memory()

    def stack(self) -> NDArray[np.uint8]:
        """Return all images, gray ones with as many channels as others need."""
        size = self.size or self.shape or SIZE
        stacked = np.empty((len(self.kept), 3 if self.colored else 1, *size), np.uint8)
        for i in reversed(range(len(stacked))):
            # One channel goes into all three. Popped, else all would be in memory twice.
            stacked[i] = self.kept.pop()
        return stacked

    def _check_memory(self) -> None:
        height, width = self.size or self.shape or SIZE
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
                "add some, or delete the folder"
            )
