"""Responses of a server to a download, and files of an earlier one."""

import io
import urllib.error
from collections.abc import Iterator
from email.message import Message
from random import Random
from typing import Any
from urllib.parse import urljoin

from lenet5c._files import digest
from lenet5c.datasets import download
from lenet5c.datasets.registry import RemoteFile
from torture.fuzz.support import MutateBytes, clear, make_folder, mutate_part, pack, unpack

MAX_LENGTH = 1024
CONTENT = b"the content of a file"
FILES = [
    RemoteFile("file", ("https://example.org/file",), digest(CONTENT), len(CONTENT)),
    RemoteFile("file", ("https://example.org/file",), digest(CONTENT), 100, exact=False),
]
RETRY = download.RetryPolicy(attempts=2, pause=0.0)
DICTIONARY = [
    *(b"Content-Range: bytes 4-20/21\n", b"Content-Length: 21\n", b"ETag: W/\n", b"206\n"),
    *(b"Content-Encoding: gzip\n", b"Last-Modified: x\n", b"200\n", b"416\n", b"302\n", CONTENT),
]

place = make_folder()
answers: list[bytes] = []


class Answer(io.BytesIO):
    """A response, from a status line, header lines, an empty line and the body."""

    def __init__(self, url: str, data: bytes) -> None:
        head, _, body = data.partition(b"\n\n")
        status, *lines = head.decode("latin-1").split("\n")
        self.status = int(status) if status.isascii() and status.isdigit() else 200
        self.headers = Message()
        for line in lines:
            name, _, value = line.partition(": ")
            self.headers[name] = value.replace("\r", "")
        super().__init__(body)
        if self.status in (301, 302, 303, 307, 308):  # as urllib and `_SafeRedirects` do
            download._check_url(urljoin(url, self.headers.get("Location", "")))
        if self.status >= 300:
            reason = lines[0] if lines else ""
            raise urllib.error.HTTPError(url, self.status, reason, self.headers, io.BytesIO(body))


def answer(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Return the next response of the input, without a network."""
    download._check_url(url)
    if not answers:
        raise urllib.error.URLError("no more answers")
    return Answer(url, answers.pop(0))


download._open = answer


def read(data: bytes) -> None:
    """Fetch a file, from parts for the file, existing content, its mark, and responses."""
    clear(place)
    which, left, mark, *rest = [*unpack(data, 6), b"", b"", b""]
    answers[:] = [part for part in rest if part]
    file = FILES[which[:1] == b"1"]
    if left:
        (place / ".file.part").write_bytes(left)
    if mark:
        (place / ".file.part.json").write_bytes(mark)
        (place / ".file.checked").write_bytes(mark)
    path = download.fetch(file, place, retry=RETRY)
    assert path.read_bytes() == CONTENT, "a file of another content"


def seeds() -> Iterator[bytes]:
    """Yield complete, broken, resumed, redirected and wrong responses."""
    whole = b"200\nContent-Length: 21\n\n" + CONTENT
    mark = b'{"url": "https://example.org/file", "validator": "\\"x\\""}'
    for which in (b"0", b"1"):
        yield pack([which, b"", b"", whole])
        yield pack([which, b"", b"", b'200\nETag: "x"\n\n' + CONTENT[:4], whole])
        rest = b"206\nContent-Range: bytes 4-20/21\n\n" + CONTENT[4:]
        yield pack([which, CONTENT[:4], mark, rest])
        yield pack([which, b"xxxx", mark, rest, whole])
        yield pack([which, CONTENT, b"", b"416\nno", whole])
        yield pack([which, b"", b"", b"302\nLocation: http://example.org/", b"503\nbusy"])
        yield pack([which, b"", b"", b"200\nContent-Encoding: gzip\n\n" + CONTENT * 9])
    yield pack([b"0", b"", b"[" * 3000, whole])


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change one of the parts."""
    return mutate_part(data, random, 6, mutate_bytes)
