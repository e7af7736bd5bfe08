"""Zip and tar archives of a data set, read member by member.

Archives are not trusted. An archive is rejected if it contains a link, a device or a path that
leads outside, or if it would unpack to more than `MAX_UNPACKED` bytes, or to more than both `SMALL`
bytes and `MAX_RATIO` times its size. Only contents larger than `IN_MEMORY` are written to disk, to
unnamed temporary files.
"""

import bz2
import errno
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self

from lenet5c._files import name_errors, open_regular
from lenet5c._text import printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.decoding import MAX_FILE
from lenet5c.datasets.file_tree import Folder, check_depth, check_entries, is_litter, natural_key

#: Maximum bytes of all members, and their maximum ratio to the archive's size above SMALL bytes.
MAX_UNPACKED, MAX_RATIO, SMALL = 16 << 30, 100, 64 << 20
#: Maximum bytes of the member list, which takes several times as much memory.
MAX_LIST = 32 << 20
#: Maximum bytes of the extended headers of a tar member.
MAX_HEADER = 1 << 17
#: Maximum bytes of a member that is read into memory.
IN_MEMORY = 1 << 20
_CHUNK = 1 << 20
_END = b"PK\5\6"  # of a zip
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
# Errors raised by zipfile, tarfile and the decoders for damaged or malicious archives.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError),
    *(EOFError, NotImplementedError, RuntimeError, ValueError, ArithmeticError, LookupError),
    struct.error,
)


def open_archive(path: str | os.PathLike[str]) -> "Archive":
    """Open a zip or tar archive, compressed or not, and list its members.

    Raises
    ------
    OSError
        If the file cannot be read.
    DatasetError
        If it is not such an archive, is damaged, or is rejected (see above).
    """
    path = Path(path)
    with name_errors(path):
        file = open_regular(path)
    head = file.read(2)
    file.seek(0)
    archive = _Zip(path, file) if head == b"PK" else _Tar(path, file)
    try:
        with _name_damage(path):
            archive.list_members()
    except BaseException:
        archive.close()
        raise
    return archive


class Archive:
    """An open archive; `folder` is the tree of its members."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.folder = Folder()
        self.members: dict[str, tuple[int, Any]] = {}  # (bytes, location) by name
        self._folders = {"": self.folder}
        self._lock = threading.Lock()
        self._total = 0

    def open(self, path: Path) -> BinaryIO:
        """Return the content of the member at `path`, the archive's path followed by its name.

        Raises
        ------
        DatasetError
            If the member is damaged, or too large for a picture.
        """
        name = path.relative_to(self.path).as_posix()
        size, _ = self.members[name]
        if size > MAX_FILE:
            raise DatasetError(f"{path} must have at most {MAX_FILE:,} bytes, got {size:,}")
        with ExitStack() as stack:
            file: Any = stack.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
            self._copy(name, file)
            stack.pop_all()
        file.seek(0)
        return file

    def extract(self, folder: Path) -> None:
        """Extract all members into an empty folder."""
        for name in self.members:
            target = folder / name
            with name_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file:
                    self._copy(name, file)

    def list_members(self) -> None:
        """Fill in `folder` and `members`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _copy(self, name: str, file: IO[bytes]) -> None:
        size, place = self.members[name]
        with _name_damage(self.path / name), self._lock, closing(self._stream(place)) as stream:
            rest = size
            while rest and (block := stream.read(min(rest, _CHUNK))):
                file.write(block)
                rest -= len(block)
            if rest or stream.read(1):  # reading past the last byte verifies the checksum
                raise EOFError("its size differs from the one recorded in the archive")

    def _stream(self, place: Any) -> Any:
        raise NotImplementedError

    def _add(self, name: str, size: int, place: Any, is_folder: bool) -> None:
        """Add a member after checking its name."""
        parts = self._split(name)
        if any(map(is_litter, parts)) or not parts:
            return
        check_depth(self.path, len(parts) - (not is_folder))
        self._total += size
        check_unpacked(self.path, self._total, os.fstat(self.file.fileno()).st_size)
        folder = self.folder
        for end in range(1, len(parts) + is_folder):
            path = "/".join(parts[:end])
            if path not in self._folders:
                self._folders[path] = Folder(path)
                folder.folders.append(self._folders[path])
                check_entries(self.path, len(self.members) + len(self._folders))
            folder = self._folders[path]
        if is_folder:
            return
        path = "/".join(parts)
        if path in self.members:
            raise DatasetError(
                f"{self.path} must contain each name only once, got {printable(path)} twice"
            )
        self.members[path] = (size, place)
        check_entries(self.path, len(self.members) + len(self._folders))
        folder.add(parts[-1])

    def _split(self, name: str) -> list[str]:
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if plain.startswith("/") or ".." in parts or re.match("[A-Za-z]:", plain) or "\0" in plain:
            raise self._refuse(name, "which leads outside of it")
        return parts

    def _refuse(self, name: str, why: str) -> DatasetError:
        return DatasetError(
            f"{self.path} must hold plain files and folders, got {printable(name)!r}, {why}; "
            "create the archive again"
        )

    def _sort(self) -> None:
        for folder in self._folders.values():
            folder.folders.sort(key=lambda inner: natural_key(inner.name))
            folder.images.sort(key=natural_key)
            folder.unread.sort(key=natural_key)
        clash = self._folders.keys() & self.members.keys()
        if clash:
            raise DatasetError(
                f"{self.path} must contain each name only once, got {min(clash)} twice"
            )


class _Zip(Archive):
    def list_members(self) -> None:
        _check_list(self.path, self.file)
        self.zip = zipfile.ZipFile(self.file)
        for member in self.zip.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise self._refuse(member.filename, "a link or device")
            if member.flag_bits & 1:
                raise self._refuse(member.filename, "which is encrypted")
            # For other methods, zipfile decompresses blocks of unlimited size.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refuse(member.filename, "which is not compressed by Deflate")
            self._add(member.filename, member.file_size, member, member.is_dir())
        self._sort()

    def _stream(self, place: Any) -> Any:
        return self.zip.open(place)


class _Tar(Archive):
    def __init__(self, path: Path, file: BinaryIO) -> None:
        super().__init__(path, file)
        self.content = file

    def list_members(self) -> None:
        self.content = _unpack(self.path, self.file)
        size = self.content.seek(0, os.SEEK_END)
        self.content.seek(0)
        reader: Any = _HeaderReader(self.content)
        tar: Any
        with tarfile.open(fileobj=reader, mode="r:") as tar:
            for i, member in enumerate(tar):
                check_entries(self.path, i)
                tar.members.clear()
                if not (member.isdir() or (member.isreg() and not member.issparse())):
                    raise self._refuse(member.name, "a link or device")
                if not 0 <= member.size <= size - member.offset_data:
                    raise EOFError("it is truncated")
                place = member.offset_data, member.size
                self._add(member.name, 0 if member.isdir() else member.size, place, member.isdir())
        self._sort()

    def close(self) -> None:
        super().close()
        self.content.close()

    def _stream(self, place: Any) -> Any:
        return _Slice(self.content, *place)


class _HeaderReader:
    """A tar file for tarfile, which rejects oversized headers."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self.file.read(size)


class _Slice:
    """A range of bytes of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.rest = file, size
        file.seek(start)

    def read(self, size: int) -> bytes:
        block = self.file.read(min(size, self.rest))
        self.rest -= len(block)
        return block

    def close(self) -> None:
        pass


def check_unpacked(path: Path, unpacked: int, packed: int) -> None:
    """Raise an error if `packed` bytes unpack to too many bytes."""
    if unpacked > min(MAX_UNPACKED, max(SMALL, MAX_RATIO * packed)):
        raise DatasetError(
            f"{path} must unpack to at most {MAX_UNPACKED:,} bytes, and to at most {SMALL:,} "
            f"bytes or "
            f"{MAX_RATIO} times its size, got more; if you trust it, unpack it yourself and use "
            "the folder"
        )


def _check_list(path: Path, file: BinaryIO) -> None:
    """Reject a zip file whose member list would take too much memory, before reading it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    end = tail.rfind(_END)
    file.seek(0)
    if end < 0 or len(tail) < end + 22:
        raise EOFError("it is truncated")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    if length == 0xFFFFFFFF and end >= 76 and tail[end - 76 : end - 72] == b"PK\6\6":
        (length,) = struct.unpack_from("<Q", tail, end - 76 + 40)
    if length > MAX_LIST:
        raise DatasetError(
            f"{path} must have a member list of at most {MAX_LIST:,} bytes, got {length:,}; unpack "
            "it and use the folder"
        )


def _unpack(path: Path, file: BinaryIO) -> BinaryIO:
    """Return the file of a tar, decompressed into a temporary file if necessary."""
    head = file.read(6)
    file.seek(0)
    opener: Any = next(
        (opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), None
    )
    if opener is None:
        return file
    unpacked = 0
    with ExitStack() as stack:
        # No one else has a name for it.
        content: Any = stack.enter_context(tempfile.TemporaryFile())
        with opener(file) as stream:
            while block := stream.read(_CHUNK):
                unpacked += len(block)
                check_unpacked(path, unpacked, file.tell())  # before the disk is full
                with name_errors(tempfile.gettempdir()):
                    content.write(block)
        stack.pop_all()
    content.seek(0)
    return content


@contextmanager
def _name_damage(path: Path) -> Iterator[None]:
    """Convert errors of libraries about a damaged archive or member to a DatasetError."""
    try:
        yield
    except DatasetError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk; a negative offset is an error of the archive
        why = printable(str(error))[:200] or type(error).__name__
        raise DatasetError(
            f"{printable(path)} is damaged, or not a zip or tar file: {why}; create or download it "
            "again"
        ) from None
