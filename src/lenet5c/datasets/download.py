"""Fetch a file over HTTPS: from several places, resumed where it broke off, and kept only if its SHA-256 is right."""

import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lenet5c._files import digest
from lenet5c.datasets.dataset import DatasetError

CHUNK = 1 << 16
MOST_REQUESTS = 100  # to one address, however much each brings
AGENT = "lenet5c (https downloads of data sets)"


class DownloadError(DatasetError):
    """A file could not be fetched; the message has its address, its checksum, and where to put it by hand."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds.

    Attributes
    ----------
    timeout : float
        Without a byte.
    window : float
        After each, at least `least` bytes must have come.
    least : int
    attempts : int
        At one address, where another may help: after a timeout, a broken connection or an error of the server.
    pause : float
        Before another attempt; twice as long before each further one.
    """

    timeout: float = 30.0
    window: float = 60.0
    least: int = 64 << 10
    attempts: int = 3
    pause: float = 1.0


def fetch(file, folder, *, progress=None, patience=Patience()):
    """Bring a file into a folder, unless it is there.

    What has come of it is kept beside it as ``.NAME.part`` and continued by the next call, also from another address.
    Nothing has the file's name before its SHA-256 is right.

    Parameters
    ----------
    file : lenet5c.datasets.registry.RemoteFile
    folder : Path
        It exists.
    progress : callable, optional
        Called with the number of bytes that are there and of all (None if not known).
    patience : Patience, optional

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    DownloadError
        No address has it.
    """
    target = Path(folder) / file.name
    if is_complete(file, target):
        return target
    part = _Part(target.with_name(f".{target.name}.part"))
    failures = []
    for url in file.urls:
        try:
            _fetch_from(url, file, part, progress or (lambda done, total: None), patience)
        except _Failure as failure:
            failures.append(f"{urlsplit(url).hostname}: {failure}")
            continue
        os.replace(part.path, target)
        part.forget()
        _write_mark(target, file.sha256)
        return target
    raise DownloadError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}); try again later, or {by_hand(file, folder)}"
    )


def by_hand(file, folder):
    """How to fetch a file without this program, as the end of a sentence."""
    size = f"{file.size:,} bytes, " if file.exact else ""
    return f"save {file.urls[0]} as {Path(folder) / file.name} ({size}SHA-256 {file.sha256})"


def is_complete(file, path):
    """Whether `path` is the file, by its SHA-256; that is looked at again only if the file on disk has changed.

    Raises
    ------
    DownloadError
        Something else is there.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if _read_json(_mark(path)) == _marked(status, file.sha256):
        return True
    if (
        not Path(path).is_file()
        or (file.exact and status.st_size != file.size)
        or digest(Path(path)) != file.sha256
    ):
        raise DownloadError(
            f"{path} is not the file that it should be (SHA-256 {file.sha256}); delete it"
        )
    _write_mark(path, file.sha256)
    return True


class _Failure(Exception):
    """Why an address does not help."""


class _MayPass(_Failure):
    """Why it does not help now."""


class _Part:
    """What has come of a file, and from where."""

    def __init__(self, path):
        self.path = path
        self.origin_file = path.with_name(path.name + ".json")

    def size(self):
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def validator(self, url):
        """What that address calls the version that this is a part of; None for another address."""
        origin = _read_json(self.origin_file)
        if (
            isinstance(origin, dict)
            and origin.get("url") == url
            and isinstance(origin.get("validator"), str)
        ):
            return origin["validator"]
        return None

    def remember(self, url, headers):
        etag = headers.get("ETag", "")
        # A weak tag does not promise the same bytes.
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self.origin_file.write_text(
            json.dumps({"url": url, "validator": validator}), encoding="utf-8"
        )

    def forget(self):
        self.origin_file.unlink(missing_ok=True)

    def delete(self):
        self.path.unlink(missing_ok=True)
        self.forget()


def _fetch_from(url, file, part, progress, patience):
    """Complete the part from one address, or raise _Failure."""
    pause, attempt = patience.pause, 0
    for request in range(MOST_REQUESTS):
        before = part.size()
        try:
            _transfer(url, file, part, progress, patience)
        except _MayPass:
            # An attempt that brought something further does not count.
            attempt = 1 if part.size() > before else attempt + 1
            if attempt >= patience.attempts or request == MOST_REQUESTS - 1:
                raise
            time.sleep(pause)
            pause *= 2
            continue
        if digest(part.path) == file.sha256:
            return
        part.delete()
        if before == 0:
            raise _Failure("what it sends has another SHA-256")
        # The beginning may have come from elsewhere: once more from there.
    raise _Failure("what it sends has another SHA-256")


def _transfer(url, file, part, progress, patience):
    """One request."""
    have = part.size()
    if have > file.size:
        part.delete()
        have = 0
    if have == file.size and file.exact:
        return
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := part.validator(url):
            headers["If-Range"] = validator
    try:
        with closing(_open(url, headers, patience.timeout)) as response:
            have, total = _accepted(response, have, file, part)
            part.remember(url, response.headers)
            _receive(response, have, total, file, part, progress, patience)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # it has less than what is here
            part.delete()
            raise _MayPass("the file there is shorter than the part that is here") from None
        if 300 <= error.code < 400:
            raise _Failure(f"HTTP {error.code}, with a redirect that leads nowhere") from None
        kind = _MayPass if error.code >= 500 or error.code in (408, 429) else _Failure
        raise kind(f"HTTP {error.code} {_printable(error.reason)}".rstrip()) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _Failure(
                f"its certificate cannot be verified: {error.reason.verify_message}"
            ) from None
        if isinstance(error.reason, socket.gaierror):
            raise _Failure("no such host, or no network") from None
        raise _MayPass(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except TimeoutError:
        raise _MayPass("timed out") from None
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, "filename", None):
            raise  # not the network's: a full disk, a folder that cannot be written
        raise _MayPass(
            str(getattr(error, "strerror", None) or error) or type(error).__name__
        ) from None


def _accepted(response, have, file, part):
    """(bytes that the answer goes on from, bytes of all or None), once its headers fit."""
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.isascii() and length.isdigit() else None
    start = 0
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""), re.ASCII
        )
        if not found or int(found[1]) != have:
            part.delete()
            raise _MayPass("it sends another part than was asked for")
        start = have
    elif response.status != 200:
        raise _Failure(f"HTTP {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Failure("it sends the file in another encoding")
    total = None if length is None else start + length
    if total is not None and (total > file.size or (file.exact and total != file.size)):
        raise _Failure(
            f"it has {total:,} bytes, not {'' if file.exact else 'at most '}{file.size:,}"
        )
    return start, total or (file.size if file.exact else None)


def _receive(response, have, total, file, part, progress, patience):
    with open(part.path, "r+b" if have else "wb") as stream:
        stream.seek(have)
        stream.truncate()
        progress(have, total)
        since, seen = time.monotonic(), have
        while block := response.read1(CHUNK):
            have += len(block)
            if have > file.size:
                stream.close()
                part.delete()
                raise _Failure(f"it sends more than {file.size:,} bytes")
            _write(stream, block)
            progress(have, total)
            if time.monotonic() - since > patience.window:
                if have - seen < patience.least:
                    raise _MayPass("it is too slow")
                since, seen = time.monotonic(), have
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and have < total:
        raise _MayPass(f"it broke off after {have:,} of {total:,} bytes")


def _write(stream, block):
    try:
        stream.write(block)
    except OSError as error:
        # With its name, so that nobody takes it for an error of the network.
        raise OSError(error.errno, error.strerror, stream.name) from None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    max_repeats, max_redirections = 2, 5

    def redirect_request(self, request, file, code, message, headers, url):
        _check_url(url)
        return super().redirect_request(request, file, code, message, headers, url)


def _open(url, headers, timeout):
    _check_url(url)
    opener = urllib.request.build_opener(_SafeRedirects)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)


def _check_url(url):
    """Only HTTPS, but for a server on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise _Failure(f"it leads to {_printable(url)}, which is not HTTPS")


def _printable(text, most=100):
    """What a server says, safe to show."""
    return "".join(char for char in str(text) if char.isprintable())[:most]


def _mark(path):
    return Path(path).with_name(f".{Path(path).name}.checked")


def _marked(status, sha256):
    return {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _write_mark(path, sha256):
    try:
        _mark(path).write_text(json.dumps(_marked(os.stat(path), sha256)), encoding="utf-8")
    except OSError:
        pass  # a cache that cannot be written is checked each time


def _read_json(path):
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
