"""Reading of text files in blocks of lines."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lenet5c._files import name_errors, open_regular
from lenet5c.datasets.archives import check_unpacked
from lenet5c.datasets.dataset import DatasetError

#: Bytes of a block, and of a line.
BLOCK, MAX_LINE = 1 << 18, 16 << 20


@contextmanager
def open_text(path: Path) -> Iterator[Any]:
    """Open a file, which may be gzipped; errors are DatasetErrors."""
    with name_errors(path), open_regular(path) as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
        try:
            yield stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DatasetError(
                f"{path}: the gzip data is damaged ({error}); download it again"
            ) from None


def read_blocks(stream: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    """Yield the text of a file of `size` bytes as blocks of whole lines, each with a line feed.

    Lines may also end in carriage returns only, as in one of Excel's formats.
    """
    rest, total, returns = b"", 0, False
    while block := stream.read(BLOCK):
        if total == 0:
            _check_text(block, path)
            block = block.removeprefix(b"\xef\xbb\xbf")  # byte order mark of Excel
            returns = b"\r" in block[:-1] and b"\n" not in block
        total += len(block)
        if returns:
            block = block.replace(b"\r", b"\n")
        check_unpacked(path, total, size)
        end = block.rfind(b"\n") + 1
        if end:
            yield (rest + block[:end]).replace(b"\r\n", b"\n")
            rest = block[end:]
        else:
            rest += block
        if len(rest) > MAX_LINE:
            raise DatasetError(
                f"{path} must have lines of at most {MAX_LINE:,} bytes, got a longer one; it is "
                "not a table of images"
            )
    if rest.strip():
        yield rest.replace(b"\r", b"") + b"\n"


def _check_text(block: bytes, path: Path) -> None:
    if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{path} must be text in UTF-8, got UTF-16; save it as CSV UTF-8")
    if b"\0" in block:
        raise DatasetError(f"{path} must be a text table, got binary data; use another file")
