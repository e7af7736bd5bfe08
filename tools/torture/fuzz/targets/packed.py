"""Zips and tars of images and IDX files, as data to train on."""

import io
import tarfile
import zipfile
from collections.abc import Iterator

from lenet5c.datasets import open_source
from torture.fuzz.support import make_folder
from torture.fuzz.targets import idx, pictures
from torture.fuzz.targets.archives import DICTIONARY as ZIP_WORDS
from torture.fuzz.targets.archives import make_zip

MAX_LENGTH = 8192
DICTIONARY = [*ZIP_WORDS, b"train/", b"test/", b"../", b"ustar", b"\x1f\x8b\x08"]

path = make_folder() / "data.zip"
picture = next(pictures.seeds())


def read(data: bytes) -> None:
    """Read a data set from an archive, whose type is in the first bytes."""
    path.write_bytes(data)
    open_source(str(path))


def make_tar(members: dict[str, bytes], mode: str) -> bytes:
    """Return a tar, compressed or not."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            archive.addfile(info, io.BytesIO(member))
    return content.getvalue()


def seeds() -> Iterator[bytes]:
    """Yield archives of all kinds, and names outside of them."""
    images = {f"{part}/{name}/1.png": picture for part in ("train", "test") for name in "ab"}
    files = {
        f"{part}-{kind}-ubyte": idx.make_idx(8, (4, 3, 3)[: 3 if kind == "images-idx3" else 1])
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    }
    for members in (images, files, {"../a/1.png": picture}, {"a/" * 70 + "1.png": picture}):
        yield make_zip(members, zipfile.ZIP_DEFLATED)
        yield make_tar(members, "w")
    for mode in ("w:gz", "w:bz2", "w:xz"):
        yield make_tar(images, mode)
    yield make_zip({"a/1.png": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
