"""Zip files of downloads: their members are IDX files that must belong together."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from random import Random

from lenet5c.datasets.named import _read
from lenet5c.datasets.registry import NamedSet, RemoteFile
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder
from torture.fuzz.targets import idx

MAX_LENGTH = 4096
DICTIONARY = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"]
MEMBERS = ("a", "b", "c", "d")

place = make_folder()
file = MemoryFile(place / "set.zip")
named = NamedSet(
    *("set", "a set", "", "", ""),
    (RemoteFile("set.zip", ("https://example.org/set.zip",), "0" * 64, 1 << 20),),
    MEMBERS,
    (4, 4),
    ("x", "y"),
    1,
    True,
)


def read(data: bytes) -> None:
    """Read a data set from an archive."""
    file.write(data)
    _read(named, place)


def make_zip(members: dict[str, bytes], method: int) -> bytes:
    """Return a zip file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, method)
    return content.getvalue()


def seeds() -> Iterator[bytes]:
    """Yield archives with all compression methods, and one without a member."""
    images, labels = idx.make_idx(8, (4, 3, 3)), idx.make_idx(8, (4,), b"\1\2\1\2")
    zipped = [gzip.compress(each, mtime=0) for each in (images, labels, images, labels)]
    members = dict(zip(MEMBERS, zipped, strict=True))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield make_zip(members, method)
    yield make_zip({"a": zipped[0]}, zipfile.ZIP_STORED)
    longer = gzip.compress(idx.make_idx(12, (4, 2), bytes(32)), mtime=0)
    yield make_zip(members | {"b": longer}, zipfile.ZIP_STORED)


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change a member, and zip all again, or the bytes of the archive."""
    if random.random() < 0.5:
        return mutate_bytes(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist()[:6] if info.file_size < MAX_LENGTH]
            members = {info.filename: archive.read(info) for info in infos}
            name = random.choice(list(members))
        members[name] = idx.mutate(members[name], random, mutate_bytes)
        return make_zip(members, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    except Exception:  # no longer an archive
        return mutate_bytes(data)
