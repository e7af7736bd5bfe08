"""Files with a data set, by content: text tables, NumPy arrays, Parquet, MATLAB."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from random import Random

import numpy as np

from lenet5c.datasets.records import ReadOptions, divide
from lenet5c.datasets.source import find
from torture.fuzz.support import MemoryFile, MutateBytes, make_folder

MAX_LENGTH = 8192
DICTIONARY = [
    *(
        b"label",
        b"pixel0",
        b"nan",
        b"1e400",
        b"-1",
        b"256",
        b'"',
        b"\n\n",
        b";",
        b"\t",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\x93NUMPY\1\0",
        b"'descr': '|O'",
        b"'fortran_order': True",
        b"(2, 4, 4)",
        b"PK\3\4",
        b"PAR1",
    ),
]
OPTIONS = (ReadOptions(), ReadOptions(skip_bad=True, label_column="-1", image_shape="4x4"))

file = MemoryFile(make_folder() / "data")


def read(data: bytes) -> None:
    """Read a data set with default or other settings, and divide it."""
    path = file.write(data)
    divide(find(str(path), OPTIONS[len(data) % 2]))


def make_npz(**arrays: np.ndarray) -> bytes:
    """Return an .npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def seeds() -> Iterator[bytes]:
    """Yield small files of each kind."""
    rows = [[label, *([label * 40] * 16)] for label in (0, 1, 0, 1)]
    names = ",".join(["label", *(f"pixel{i}" for i in range(16))])
    for separator in ",;\t ":
        body = "".join(separator.join(map(str, row)) + "\n" for row in rows)
        yield body.encode()
    table = (names + "\n" + body.replace(" ", ",")).encode()
    yield table
    yield table.replace(b"40", b"0.5")
    yield gzip.compress(table, mtime=0)
    images, labels = np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.array([0, 1, 0, 1])
    yield make_npz(x_train=images, y_train=labels, x_test=images, y_test=labels)
    yield make_npz(data=images.reshape(4, 16) / 63, target=np.array(["a", "b", "a", "b"]))
    content = io.BytesIO()
    np.save(content, np.asfortranarray(images))
    yield content.getvalue()
    yield from _make_others(images, labels)


def _make_others(images: np.ndarray, labels: np.ndarray) -> Iterator[bytes]:
    content = io.BytesIO()
    try:
        from scipy.io import savemat

        savemat(content, {"X": np.moveaxis(images, 0, -1), "y": labels})
        yield content.getvalue()
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    for column in (images.tolist(), [image.tobytes() for image in images]):
        content = io.BytesIO()
        parquet.write_table(pyarrow.table({"image": column, "label": labels}), content)
        yield content.getvalue()


def large() -> Iterator[bytes]:
    """Yield tables and arrays that unpack to a thousand times their size."""
    yield gzip.compress(b"0,1," * (50 << 20), 1, mtime=0)
    yield gzip.compress(b"\n" * (200 << 20), 1, mtime=0)
    content = io.BytesIO()
    np.savez_compressed(content, x=np.zeros((300_000, 28, 28), np.uint8))
    yield content.getvalue()


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change an array of an archive, and zip all again, or the bytes of the file."""
    if not data.startswith(b"PK") or random.random() < 0.3:
        return mutate_bytes(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()[:6]}
        name = random.choice(list(members))
        members[name] = mutate_bytes(members[name])
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, member in members.items():
                archive.writestr(zipfile.ZipInfo(name), member)
    except Exception:  # no longer an archive
        return mutate_bytes(data)
    return content.getvalue()
