"""Files: atomic writes, locks, digests, and lenet5c's own formats: tensor files and records.

A tensor file is a safetensors file with a model or a checkpoint; a record is a JSON object, such as
the configuration of a run. Both start with their format and the SHA-256 of all their bytes, with
zeros instead of the digest: a file in which a single bit has changed is rejected.
"""

import errno
import hashlib
import io
import json
import os
import re
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lenet5c._files import safetensors
from lenet5c.errors import RunError

# The only metadata key: the format and the digest follow it at the beginning of the file.
KEY = "lenet5c"
_RESTORE = "restore it, or start a run with other settings in another folder"
_AGAIN = "delete it and resume the run to write it again"
#: Version, name in messages, and remedies for another file and for a damaged file, by kind.
FORMATS = {
    "model": (
        3,
        "a lenet5c model file",
        "use a file written by lenet5c",
        f"restore it, or {_AGAIN}",
    ),
    "checkpoint": (
        2,
        "a lenet5c checkpoint file",
        "use a file written by lenet5c",
        "restore it, or start a run in another folder",
    ),
    "config": (1, "the configuration of a run of lenet5c train", _RESTORE, _RESTORE),
    "tuning": (1, "the record of a search of lenet5c tune", _RESTORE, _RESTORE),
    "summary": (1, "the summary of a run of lenet5c train", _AGAIN, _AGAIN),
}
#: Maximum bytes of a tensor file, its header, and a record; JSON needs 22 times as much memory.
MAX_TENSORS, MAX_HEADER, MAX_RECORD = 2**32, 2**23, 2**20
_ZEROS = "0" * 64
_BEGINNING = 256  # bytes that contain the format and the digest
# Compiled on first use, not at import.
_TENSORS = (
    rb'(?s).{8}\{"__metadata__":\{"lenet5c":"\{\\"format\\": \\"lenet5c (\w+) (\d+)\\", '
    rb'\\"digest\\": \\"([0-9a-f]{64})\\"'
)
_RECORD = rb'\{\n  "format": "lenet5c (\w+) (\d+)",\n  "digest": "([0-9a-f]{64})"'
_TEMPORARY = r"\.(.+)\.[0-9a-f]{16}\.tmp"
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def name_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add `path` to OSErrors of reads and writes, which do not name a file."""
    try:
        yield
    except OSError as error:
        number, reason = error.errno or errno.EIO, error.strerror or str(error)
        raise OSError(number, reason, os.fspath(path)) from None


def open_regular(path: str | os.PathLike[str], most: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or reading a device.

    Parameters
    ----------
    path : str or path-like
    most : int, optional
        Maximum size in bytes.

    Raises
    ------
    OSError
        If the file cannot be opened, is not a regular file, or is larger than `most`.
    """
    name = os.fspath(path)
    file = _open(name, os.O_RDONLY, "rb")
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        why = f"it has {size:,} bytes, more than the limit of {most:,}"
        raise OSError(errno.EFBIG, why, name)
    return file


def open_to_change(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading and writing, creating it if needed, without following links.

    Raises
    ------
    OSError
        If the file cannot be opened, is a link or not a regular file.
    """
    try:
        return _open(os.fspath(path), os.O_RDWR | os.O_CREAT | _NO_LINK, "r+b")
    except OSError as error:
        if error.errno != errno.ELOOP or not os.path.islink(path):
            raise
        why = "it is a link; remove it"
        raise OSError(errno.ELOOP, why, os.fspath(path)) from None


def _open(name: str, flags: int, mode: str) -> BinaryIO:
    descriptor = os.open(name, flags | _NO_WAIT | _BINARY, 0o666)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return open(descriptor, mode)  # type: ignore[return-value]
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; errors as in `open_regular`."""
    with name_errors(path), open_regular(path, most) as file:
        return _read(file, most)


def _read(file: BinaryIO, most: int) -> bytes:
    # Not `most` at once, because Python would allocate that much memory.
    content = file.read(os.fstat(file.fileno()).st_size + 1)
    while len(content) <= most and (more := file.read(2**20)):  # some systems report no sizes
        content += more
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than the limit of {most:,} bytes")
    return content


def write_bytes(path: str | os.PathLike[str], content: bytes, durable: bool = True) -> None:
    """Write `content` to `path` atomically, see `replace_file`."""
    with replace_file(path, durable) as file:
        file.write(content)


@contextmanager
def replace_file(path: str | os.PathLike[str], durable: bool = True) -> Iterator[BinaryIO]:
    """Replace the file at `path` atomically with the content written in the `with` block.

    The content is written to a temporary file in the same folder, which is then renamed: after a
    crash, either the old or the new file exists; if `durable`, also after a power failure. A link
    at `path` is replaced, not followed. If the block raises an exception, nothing is replaced.

    Raises
    ------
    OSError
        If `path` cannot be written, or is a device or a pipe. The temporary file is removed.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:50]}.{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
    with name_errors(path):
        _check_replaceable(path)
        descriptor = os.open(temporary, flags, 0o666)
    try:
        try:
            yield cast(BinaryIO, _NewFile(path, descriptor))
            if durable:
                with name_errors(path):
                    os.fsync(descriptor)
        finally:
            with suppress(InterruptedError), name_errors(path):  # closed in spite of the error
                os.close(descriptor)
        with name_errors(path):
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        with name_errors(path):
            sync_folder(path.parent)


class _NewFile(io.RawIOBase):
    """A file of `replace_file`, whose errors have the final name."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor, self.written = path, descriptor, 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.written

    def write(self, content: Any) -> int:
        rest = whole = memoryview(content).cast("B")
        with name_errors(self.path):
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        self.written += len(whole)
        return len(whole)


def _check_replaceable(path: Path) -> None:
    """Reject a device or a pipe, such as /dev/null."""
    with suppress(FileNotFoundError):
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise OSError(errno.EINVAL, "it is not a regular file")


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flush the entries of a folder to disk, where the system supports it."""
    if sys.platform == "win32":
        return
    with name_errors(folder):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _BINARY)
        except PermissionError:  # writable, but not readable
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported
                raise
        finally:
            os.close(descriptor)


def remove_temporaries(folder: str | os.PathLike[str], names: Collection[str]) -> None:
    """Remove temporary files of interrupted writes from a folder.

    No other process may be writing these files.
    """
    with os.scandir(folder) as entries:
        left = [
            entry.path
            for entry in entries
            if (found := re.fullmatch(_TEMPORARY, entry.name))
            and found[1] in names
            and entry.is_file(follow_symlinks=False)
        ]
    for path in left:
        with suppress(OSError):
            os.unlink(path)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process; closing the file or ending the process releases it.

    Returns
    -------
    bool or None
        True if locked; False if another process holds the lock, None if the file system has no
        locks.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(descriptor, 2**30, os.SEEK_SET)  # a locked range cannot be read by others
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_record(path: str | os.PathLike[str], kind: str, values: dict[str, Any]) -> str:
    """Write a JSON object as a record of a kind of `FORMATS`; return its digest."""
    text = json.dumps(_mark(kind) | values, indent=2) + "\n"
    content, sha = seal(text.encode())
    write_bytes(path, content)
    return sha


def read_record(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], str]:
    """Return the values of a record, which is not trusted, and its digest.

    Raises
    ------
    FileNotFoundError
    RunError
        If the file is not such a record, is damaged, or was edited.
    """
    with _refuse_unreadable(path, kind):
        content = read_bytes(path, MAX_RECORD)
        sha = _check(path, kind, content)
        values = json.loads(content)
    return {name: values[name] for name in values if name not in ("format", "digest")}, sha


def write_tensors(
    path: str | os.PathLike[str],
    kind: str,
    tensors: dict[str, NDArray[Any]],
    metadata: dict[str, Any],
) -> str:
    """Write arrays and metadata as a safetensors file of a kind of `FORMATS`; return its digest.

    Equal content produces equal bytes.

    Raises
    ------
    RunError
        If the metadata exceed the limit of `read_tensors`.
    """
    content, sha = seal(safetensors.pack(tensors, {KEY: json.dumps(_mark(kind) | metadata)}))
    if (length := int.from_bytes(content[:8], "little")) > MAX_HEADER:
        raise RunError(
            f"{path} must have at most {MAX_HEADER:,} bytes in its header, got {length:,}; train "
            "for fewer epochs"
        )
    write_bytes(path, content)
    return sha


def read_tensors(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the tensors and metadata of an untrusted file of this kind.

    The metadata include the digest of the file.

    Raises
    ------
    FileNotFoundError
    RunError
        If the file is of another kind, or damaged.
    """
    with _refuse_unreadable(path, kind):
        with name_errors(path), open_regular(path, MAX_TENSORS) as file:
            _match(path, kind, file.read(_BEGINNING))  # before allocating memory
            file.seek(0)
            content = _read(file, MAX_TENSORS)
        safetensors.measure_header(content, MAX_HEADER)  # first: it may be most of it
        sha = _check(path, kind, content)
        found, texts = safetensors.unpack(content, MAX_HEADER)
        tensors = {name: tensor.to_array() for name, tensor in found.items()}
        return tensors, json.loads(texts[KEY]) | {"digest": sha}


def read_digest(path: str | os.PathLike[str], kind: str) -> str:
    """Return the digest of a tensor file or record of this kind; errors as in `read_tensors`."""
    with _refuse_unreadable(path, kind):
        return _check(path, kind, read_bytes(path, MAX_TENSORS))


def seal(content: bytes) -> tuple[bytes, str]:
    """Return a tensor file or record with its digest inserted, and the digest."""
    found = re.match(_TENSORS, content) or re.match(_RECORD, content)
    if not found:
        raise ValueError("content must begin with a lenet5c format name and a digest")
    start, end = found.span(3)
    sha = digest(memoryview(content)[:start], _ZEROS, memoryview(content)[end:])
    return b"".join((content[:start], sha.encode(), content[end:])), sha


def _mark(kind: str) -> dict[str, Any]:
    return {"format": f"lenet5c {kind} {FORMATS[kind][0]}", "digest": _ZEROS}


def _match(path: str | os.PathLike[str], kind: str, content: bytes) -> str:
    """Return the digest stored in a file, or raise RunError if it is of another kind."""
    version, name, remedy, _ = FORMATS[kind]
    found = re.match(_TENSORS, content) or re.match(_RECORD, content)
    if not found or found[1] != kind.encode():
        raise RunError(f"{path} must be {name}, got a different or damaged file; {remedy}")
    if found[2] != str(version).encode():
        raise RunError(
            f"{path} must have format version {version}, got {found[2][:20].decode()}; it was "
            "written by another version of lenet5c"
        )
    return found[3].decode()


def _check(path: str | os.PathLike[str], kind: str, content: bytes) -> str:
    """Return the digest of a file of this kind, or raise RunError if it is damaged."""
    sha = _match(path, kind, content)
    if sha != seal(content)[1]:
        raise RunError(
            f"{path} must match its stored digest, got a different one: the file is damaged or was "
            f"edited; {FORMATS[kind][3]}"
        )
    return sha


@contextmanager
def _refuse_unreadable(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """Convert errors of reading an existing file of this kind to a RunError."""
    expected = (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError)
    try:
        yield
    except (FileNotFoundError, RunError):
        raise
    except expected as error:
        # A file without read permission may be intact, so deleting it is not suggested.
        name, remedy = FORMATS[kind][1], FORMATS[kind][2 if isinstance(error, OSError) else 3]
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise RunError(
            f"{path} must be {name}, got a file that cannot be read ({why}); {remedy}"
        ) from None


def digest(*parts: str | bytes | memoryview | Path | NDArray[Any] | Iterator[NDArray[Any]]) -> str:
    """Return the SHA-256 of `parts`, one after another, in hexadecimal digits.

    Text is encoded as UTF-8; an array contributes its bytes in C order, an iterator its arrays, a
    path the content of the file.
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with name_errors(part), open_regular(part) as file:
                hashlib.file_digest(cast(Any, file), lambda: sha)
        elif isinstance(part, (str, bytes, memoryview)):
            sha.update(part.encode() if isinstance(part, str) else part)
        else:
            for array in part if isinstance(part, Iterator) else (part,):
                sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
