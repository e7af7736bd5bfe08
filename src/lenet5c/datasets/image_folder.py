"""A folder of images with one folder for each class, as a data set."""

from pathlib import Path
from unicodedata import normalize

import numpy as np

from lenet5c._files import digest
from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.folder_files import folder_files
from lenet5c.datasets.pictures import read_pictures, reason
from lenet5c.datasets.preparation import Preparation
from lenet5c.datasets.source import Source
from lenet5c.datasets.whole import is_grey, with_channels

#: Height and width of images that differ in size, or are larger than `KEPT`: what the net takes.
SIZE = (32, 32)
#: The largest side of images that keep their size, if it is the same for all.
KEPT = 128
TEST_SHARE = 1 / 6
#: Bytes of all images together.
MEMORY = 2 << 30
SHOWN = 3


def image_folder(
    path, *, channels=None, size=None, test_share=TEST_SHARE, seed=0, skip_bad=False, memory=MEMORY
):
    """Read a folder of images, with one folder for each class.

    The classes are either all in parts, ``path/train/CLASS``, ``path/test/CLASS`` and perhaps ``path/val/CLASS``, or
    directly in the folder, ``path/CLASS``. Without ``test`` some training images of each class are set aside for it.
    Folders inside that of a class belong to the class. Classes and images are sorted by name, with '2' before '10'.

    Parameters
    ----------
    path : str or path-like
    channels : {1, 3}, optional
        By default 1 if no image has colours, otherwise 3.
    size : tuple of int, optional
        Height and width to bring images to, by `lenet5c.datasets.whole.to_image`. By default images keep their size
        if all have the same, and no side is over 128 pixels; otherwise they are brought to 32 by 32.
    test_share : float, optional
        Of the images of each class, for the test, where there is no folder for it.
    seed : int, optional
        Of which images these are. It follows from the seed and the name of each image, so that hardly any changes
        sides when others are added.
    skip_bad : bool, optional
        Leave out files that cannot be read, instead of raising an error.
    memory : int, optional
        Bytes that the images may take all together.

    Returns
    -------
    Source
        With the folder's `validation`, if there is one, the reading 'whole', and `notes` on what was passed over.

    Raises
    ------
    FileNotFoundError
    DatasetError
        The folder is laid out in another way, a class has no images or is not among those of train, files cannot be
        read, or the images take too much memory.
    MissingExtraError
        Pillow is not installed.

    Examples
    --------
    >>> from lenet5c.datasets import image_folder
    >>> source = image_folder("photos")  # doctest: +SKIP
    >>> source.train.class_names, source.train.images.shape  # doctest: +SKIP
    (('cat', 'dog'), (2000, 3, 64, 64))
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels!r}")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share!r}")
    root = Path(path)
    files = folder_files(root)
    listed = [
        (part, label, file)
        for part, classes in files.parts.items()
        for label, paths in enumerate(classes)
        for file in paths
    ]
    images = _Images(channels, size, memory, len(listed), root)
    used, bad = [], []
    for entry, picture in zip(
        listed, read_pictures([file for *_, file in listed], images.prepared), strict=True
    ):
        if isinstance(picture, Exception):
            bad.append((entry[2], reason(picture, entry[2])))
        else:
            images.add(*picture)
            used.append(entry)
    notes = list(files.notes)
    if bad:
        notes.append(_bad_files(root, bad, skip_bad))
    _check_left(root, files, used)
    array = images.array()
    parts = np.array([entry[0] for entry in used])
    labels = np.array([entry[1] for entry in used], dtype=np.int32)
    if "test" not in files.parts:
        chosen = set_aside(
            [file.relative_to(root) for _, _, file in used],
            labels,
            parts == "train",
            test_share,
            seed,
        )
        if not len(chosen):
            raise DatasetError(
                f"{root} has no folder test, and too few images to set some aside: no class has two; add images"
            )
        parts[chosen] = "test"
        notes.append(
            f"no folder for test: {len(chosen):,} of {len(parts):,} images are set aside for it"
        )
    made = {
        part: Dataset(
            array[parts == part],
            labels[parts == part],
            len(files.class_names),
            root.resolve().name,
            files.class_names,
        )
        for part in ("train", "validation", "test")
        if (parts == part).any()
    }
    return Source(made["train"], made["test"], made.get("validation"), "whole", tuple(notes))


def set_aside(names, labels, free, share, seed):
    """Positions of those images that are held out, in order: of each class the share, at least one if it has three.

    If no class has three, one is held out of each that has two. Each class keeps at least one image.
    """
    order = [
        digest(f"{seed}/{normalize('NFC', name.as_posix())}".encode("utf-8", "surrogatepass"))
        for name in names
    ]
    classes = [np.flatnonzero((labels == label) & free) for label in range(int(labels.max()) + 1)]
    least = 3 if any(len(members) >= 3 for members in classes) else 2
    chosen = []
    for members in classes:
        count = (
            min(max(int(share * len(members) + 0.5), 1), len(members) - 1)
            if len(members) >= least
            else 0
        )
        chosen += sorted(members.tolist(), key=order.__getitem__)[:count]
    return np.array(sorted(chosen), dtype=np.int64)


class _Images:
    """Takes pictures as they come, and keeps no more of each than will be needed."""

    def __init__(self, channels, size, memory, expected, root):
        self.channels, self.asked, self.memory, self.expected, self.root = (
            channels,
            size,
            memory,
            expected,
            root,
        )
        self.size = size
        self.kept = []
        self.shape = None  # of all so far, while they keep it
        self.coloured = channels == 3

    def prepared(self, picture):
        """(image, size of the picture): all that takes time, for any thread."""
        height, width = picture.shape[:2]
        if self.channels is None and is_grey(picture):
            planes = with_channels(picture if picture.ndim == 2 else picture[..., 0], 1)
        else:
            planes = with_channels(picture, self.channels or 3)
        size = self.asked or (SIZE if max(height, width) > KEPT else (height, width))
        # A copy, as an image that is a part of a large picture would hold on to it.
        return np.array(_fitted(planes, size)), (height, width)

    def add(self, image, size):
        """Take an image made of a picture of that size."""
        self.coloured |= len(image) == 3
        if self.size is None:
            if max(size) <= KEPT and size == (self.shape or size):
                self.shape = size
            else:
                self.size = SIZE
                self.kept = [_fitted(kept, SIZE) for kept in self.kept]
        self.kept.append(_fitted(image, self.size or size))
        self._check_memory()

    def array(self):
        height, width = self.size or self.shape
        whole = np.empty((len(self.kept), 3 if self.coloured else 1, height, width), dtype=np.uint8)
        for i in range(len(whole)):
            whole[i] = self.kept[i]  # one channel goes into all three
            self.kept[i] = None  # else all would be there twice
        return whole

    def _check_memory(self):
        height, width = self.size or self.shape
        needed = self.expected * (3 if self.coloured else 1) * height * width
        if needed > self.memory:
            raise DatasetError(
                f"{self.root}: {self.expected:,} images of {height} by {width} pixels take {needed / 2**30:.1f} GB, "
                f"more than {self.memory / 2**30:.1f} GB; use fewer or smaller images"
            )


def _fitted(planes, size):
    return Preparation(size=size, fit="resize").fit_images(planes[np.newaxis])[0]


def _bad_files(root, bad, skip_bad):
    shown = "; ".join(f"{file.relative_to(root)} {why}" for file, why in bad[:SHOWN])
    more = f"; and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    files = f"{len(bad):,} file{'s' if len(bad) > 1 else ''}"
    if skip_bad:
        return f"{files} that cannot be read, left out: {shown}{more}"
    raise DatasetError(
        f"{root}: {files} cannot be read ({shown}{more}); repair or delete them, or leave them out with --skip-bad"
    )


def _check_left(root, files, used):
    for part, classes in files.parts.items():
        left = {label for found, label, _ in used if found == part}
        lost = [
            files.class_names[label]
            for label, paths in enumerate(classes)
            if paths and label not in left
        ]
        if lost and (part == "train" or not left):
            raise DatasetError(
                f"{root}: no image of {lost[0]!r} in {part} can be read; add some, or delete the folder"
            )
