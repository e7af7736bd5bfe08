"""Downloads over HTTPS, from several mirrors, resumable and verified by SHA-256."""

import http.client
import json
import os
import re
import socket
import ssl
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lenet5c import _files
from lenet5c._files import digest
from lenet5c._text import printable
from lenet5c.datasets.dataset import DatasetError
from lenet5c.datasets.registry import RemoteFile

CHUNK = 1 << 16
MAX_REQUESTS = 100  # to one address, even if each makes progress
AGENT = "lenet5c (https downloads of data sets)"

Progress = Callable[[int, int | None], object]


class DownloadError(DatasetError):
    """Raised when a download fails; the message has the URL, checksum and destination."""


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts in seconds, and the number of attempts."""

    timeout: float = 30.0  #: without receiving data
    window: float = 60.0  #: in which at least `least` bytes must arrive
    least: int = 64 << 10
    attempts: int = 3  #: after a timeout, a broken connection or a server error
    pause: float = 1.0  #: before another attempt, doubled each time


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    retry: RetryPolicy = RetryPolicy(),
) -> Path:
    """Download a file into a folder, unless it exists.

    An incomplete download is kept as ``.NAME.part`` and resumed by the next call, possibly from
    another address. The file gets its name only after its SHA-256 has been verified. `progress` is
    called with the number of bytes received and the total (None if unknown). Raises a DownloadError
    if the file cannot be downloaded from any address.
    """
    target = Path(folder) / file.name
    download = _Download(file, target, progress, retry)
    if is_complete(file, target):
        with suppress(OSError):  # left by a download that was killed at the end
            download.origin_file.unlink(missing_ok=True)
        return target
    failures = []
    for url in file.urls:
        try:
            download.complete_from(url)
        except _Failure as failure:
            failures.append(f"{urlsplit(url).hostname}: {failure}")
            continue
        os.replace(download.path, target)
        download.origin_file.unlink(missing_ok=True)
        _files.sync_folder(target.parent)
        _write_mark(target, file.sha256)
        return target
    raise DownloadError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}); "
        f"try again later, or {describe_manual_download(file, folder)}"
    )


def describe_manual_download(file: RemoteFile, folder: Path) -> str:
    """Return instructions to download a file manually, as the end of a sentence."""
    size = f"{file.size:,} bytes, " if file.exact else ""
    return f"save {file.urls[0]} as {Path(folder) / file.name} ({size}SHA-256 {file.sha256})"


def is_complete(file: RemoteFile, path: Path) -> bool:
    """Return True if `path` is the file; raise a DownloadError if it is another file.

    The SHA-256 is computed again only if the file has changed.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if _read_json(_mark_path(path)) == _make_mark(status, file.sha256):
        return True
    fits = path.is_file() and (status.st_size == file.size or not file.exact)
    if not fits or digest(path) != file.sha256:
        raise DownloadError(
            f"{path} must have the SHA-256 {file.sha256}, got a different one; delete it"
        )
    _write_mark(path, file.sha256)
    return True


class _Failure(Exception):
    """Raised when an address fails permanently."""


class _MayPass(_Failure):
    """Raised when an address fails temporarily."""


class _Download:
    """An incomplete file, the address it came from, and the requests that complete it."""

    def __init__(
        self, file: RemoteFile, target: Path, progress: Progress | None, retry: RetryPolicy
    ) -> None:
        self.file, self.retry = file, retry
        self.progress = progress or (lambda done, total: None)
        self.path = target.with_name(f".{target.name}.part")
        self.origin_file = target.with_name(f".{target.name}.part.json")

    def complete_from(self, url: str) -> None:
        """Complete the file from one address, or raise _Failure."""
        pause, attempt = self.retry.pause, 0
        for request in range(MAX_REQUESTS):
            before = self._size()
            try:
                self._request(url)
            except _MayPass:
                # Attempts that made progress do not count.
                attempt = 1 if self._size() > before else attempt + 1
                if attempt >= self.retry.attempts or request == MAX_REQUESTS - 1:
                    raise
                time.sleep(pause)
                pause *= 2
                continue
            if digest(self.path) == self.file.sha256:
                return
            self._delete()
            if before == 0:
                break
            # The first part may be from another address: start again.
        raise _Failure("the SHA-256 of the file does not match")

    def _size(self) -> int:
        try:
            state = os.lstat(self.path)
        except FileNotFoundError:
            return 0
        if stat.S_ISREG(state.st_mode):
            return state.st_size
        self._delete()  # a link or pipe
        return 0

    def _delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self.origin_file.unlink(missing_ok=True)

    def _request(self, url: str) -> None:
        have = self._size()
        if have > self.file.size:
            self._delete()
            have = 0
        if have == self.file.size and self.file.exact:
            return
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            origin = _read_json(self.origin_file)
            if (
                isinstance(origin, dict)
                and origin.get("url") == url
                and isinstance(validator := origin.get("validator"), str)
            ):
                headers["If-Range"] = validator
        try:
            with closing(_open(url, headers, self.retry.timeout)) as response:
                start, total = self._check_headers(response, have)
                etag = response.headers.get("ETag", "")
                # A weak tag does not guarantee the same bytes.
                strong = etag and not etag.startswith("W/")
                validator = etag if strong else response.headers.get("Last-Modified")
                origin = json.dumps({"url": url, "validator": validator})
                _files.write_bytes(self.origin_file, origin.encode())
                self._receive(response, start, total)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                self._delete()
                raise _MayPass(
                    "the remote file is shorter than the part already downloaded"
                ) from None
            if 300 <= error.code < 400:
                raise _Failure(f"HTTP {error.code}, an invalid redirect") from None
            kind = _MayPass if error.code >= 500 or error.code in (408, 429) else _Failure
            raise kind(f"HTTP {error.code} {printable(error.reason)[:100]}".rstrip()) from None
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, ssl.SSLCertVerificationError):
                text = f"its certificate cannot be verified: {reason.verify_message}"
                raise _Failure(text) from None
            if isinstance(reason, socket.gaierror):
                raise _Failure("host not found, or no network") from None
            raise _MayPass(str(getattr(reason, "strerror", None) or reason)) from None
        except TimeoutError:
            raise _MayPass("timed out") from None
        except ValueError as error:  # raised by urllib for a redirect to an invalid URL
            raise _Failure(f"the redirect is invalid: {printable(error)[:100]}") from None
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "filename", None):
                raise  # not a network error: a full disk, a read-only folder
            text = str(getattr(error, "strerror", None) or error)
            raise _MayPass(text or type(error).__name__) from None

    def _check_headers(self, response: Any, have: int) -> tuple[int, int | None]:
        """Return (offset of the response, total bytes or None), or raise _Failure."""
        file, start = self.file, 0
        length = response.headers.get("Content-Length", "")
        if response.status == 206:
            range_header = response.headers.get("Content-Range", "")
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", range_header, re.ASCII)
            if not found or int(found[1]) != have:
                self._delete()
                raise _MayPass("the server sent a different range than requested")
            start = have
        elif response.status != 200:
            raise _Failure(f"HTTP {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _Failure("the content encoding is not supported")
        if not (length.isascii() and length.isdigit()):
            return start, file.size if file.exact else None
        total = start + int(length)
        if total > file.size or (file.exact and total != file.size):
            most = "" if file.exact else "at most "
            raise _Failure(f"the file has {total:,} bytes, not {most}{file.size:,}")
        return start, total

    def _receive(self, response: Any, have: int, total: int | None) -> None:
        with _files.open_to_change(self.path) as stream:
            os.ftruncate(stream.fileno(), have)
            stream.seek(have)
            self.progress(have, total)
            since, seen = time.monotonic(), have
            while block := response.read1(CHUNK):
                have += len(block)
                if have > self.file.size:
                    stream.close()
                    self._delete()
                    raise _Failure(f"the server sent more than {self.file.size:,} bytes")
                try:
                    stream.write(block)
                except OSError as error:
                    # With the file name, to distinguish it from a network error.
                    raise OSError(error.errno, error.strerror, str(self.path)) from None
                self.progress(have, total)
                if time.monotonic() - since > self.retry.window:
                    if have - seen < self.retry.least:
                        raise _MayPass("the connection is too slow")
                    since, seen = time.monotonic(), have
            stream.flush()
            os.fsync(stream.fileno())
        if total is not None and have < total:
            raise _MayPass(f"the connection was lost after {have:,} of {total:,} bytes")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    max_repeats, max_redirections = 2, 5

    def redirect_request(  # type: ignore[no-untyped-def]
        self, request, file, code, message, headers, url
    ):
        _check_url(url)
        return super().redirect_request(request, file, code, message, headers, url)


def _open(url: str, headers: dict[str, str], timeout: float) -> Any:
    _check_url(url)
    opener = urllib.request.build_opener(_SafeRedirects)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)


def _check_url(url: str) -> None:
    """Redirects, restricted to HTTPS and servers on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise _Failure(f"it redirects to {printable(url)[:100]}, which is not HTTPS")


def _mark_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _make_mark(status: os.stat_result, sha256: str) -> dict[str, Any]:
    return {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _write_mark(path: Path, sha256: str) -> None:
    with suppress(OSError):  # a read-only cache is checked each time
        mark = json.dumps(_make_mark(os.stat(path), sha256))
        _files.write_bytes(_mark_path(path), mark.encode())


def _read_json(path: Path) -> Any:
    try:
        return json.loads(_files.read_bytes(path, _files.MAX_RECORD))
    except (OSError, ValueError, RecursionError):
        return None
