"""Registry of the data sets that can be downloaded.

The URLs and checksums are in ``named_sets.json``. A file is identified by its SHA-256, independent
of its address. Digests and sizes are those published by TensorFlow Datasets
(``url_checksums/fashion_mnist.txt``, ``url_checksums/emnist.txt``,
``datasets/kmnist/checksums.tsv``), and for QMNIST, without sizes, torchvision's prototypes
(``prototype/datasets/_builtin/mnist.py``); its limits are larger than MNIST's files, which have
images of the same kind and number. The class names of EMNIST follow its files
``emnist-*-mapping.txt``: lowercase letters that look like uppercase ones share a class with them.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, eq=False, repr=False)
class RemoteFile:
    """A published file; all `urls` have the same content and are listed in order of preference."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int  #: bytes; an upper bound if not `exact`
    exact: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class NamedSet:
    """A named data set."""

    name: str
    title: str
    license: str
    homepage: str
    folder: str  #: in the cache; shared by the sets of one archive
    files: tuple[RemoteFile, ...]
    #: Training images, training labels, test images, test labels: names of `files`, or of members
    #: #: of the archive if that is the only file.
    members: tuple[str, str, str, str]
    counts: tuple[int, int]  #: number of training and test images
    class_names: tuple[str, ...]
    first_label: int = 0  #: number of the first class in the files
    transposed: bool = False  #: images are stored transposed in the files
    reading: str = "ink"  #: 'whole' also for KMNIST, whose characters fill the image

    @property
    def archive(self) -> bool:
        """True if `members` are in a zip file."""
        return self.files[0].name.endswith(".zip")

    @property
    def download_size(self) -> int:
        """Maximum number of bytes of all files."""
        return sum(file.size for file in self.files)


def _load() -> dict[str, NamedSet]:
    text = Path(__file__).with_name("named_sets.json").read_text(encoding="utf-8")
    table = json.loads(text)
    files = {
        folder: tuple(RemoteFile(**entry | {"urls": tuple(entry["urls"])}) for entry in entries)
        for folder, entries in table["files"].items()
    }
    sets = {}
    for entry in table["sets"]:
        lists = {name: tuple(entry[name]) for name in ("members", "counts", "class_names")}
        sets[entry["name"]] = NamedSet(**entry | lists, files=files[entry["folder"]])
    return sets


#: The sets by name.
NAMED_SETS = _load()
