"""Bytes sent to the server of the demo, in one or two pieces."""

import atexit
import selectors
import socket
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from lenet5c.demo.connections import Connection
from lenet5c.demo.server import CALLS, DemoServer
from lenet5c.errors import UserError
from lenet5c.export.html_model import describe_page
from lenet5c.training import open_model
from torture.fuzz.support import MutateBytes

MAX_LENGTH = 2048
DICTIONARY = [
    *(b"GET ", b"POST ", b"HEAD ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n\r\n", b"Host: "),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Origin: ", b"Sec-Fetch-Site: same-origin\r\n", b"/weights"),
    *(b"Content-Type: application/json\r\n", b"X-Lenet5c-Token: token\r\n", b"127.0.0.1:80"),
]


class Session:
    """Calls with all kinds of responses of a session."""

    page = describe_page(open_model(), "best")

    def read_picture(self, content: bytes, digits: str) -> dict[str, Any]:
        if digits != "one":
            raise UserError("refused")
        return {"text": None}

    def __getattr__(self, name: str) -> Callable[[dict[str, Any]], Any]:
        def call(request: dict[str, Any]) -> Any:
            if "refuse" in request:
                raise UserError("refused")
            return ({"label": 1}, b"1234") if name == "weights" else {"state": "none"}

        return call


class Server(DemoServer):
    """A server that is run step by step, and whose errors are not caught."""

    def _guard(self, action: Callable[[Connection], None], connection: Connection) -> None:
        try:
            action(connection)
        except OSError:
            self._close(connection)

    def exchange(self, pieces: list[bytes]) -> bytes:
        """Return the response to a client that sends these pieces."""
        client, own = socket.socketpair()
        client.setblocking(False)
        own.setblocking(False)
        connection, answer = Connection(own), b""
        self.open[connection] = None
        self.selector.register(own, selectors.EVENT_READ, connection)
        try:
            for piece in pieces:
                client.send(piece)
                self.advance(connection)
                answer += receive(client)
            client.shutdown(socket.SHUT_WR)
            while connection in self.open:
                self.advance(connection)
                answer += receive(client)  # a page is more than a socket holds
            answer += receive(client)
        finally:
            self._close(connection)
            client.close()
        return answer

    def advance(self, connection: Connection) -> None:
        """Process received data like `serve` and its workers."""
        self._guard(self._go_on, connection)
        while self.ready or not self.tasks.empty():
            while self.ready:
                self.ready.popleft().ready = False
                self._guard(self._advance, connection)
            while not self.tasks.empty():
                _, request, body = self.tasks.get()
                self.answers.append((connection, request.respond(body)))
                self._wake()
                self._send_answers()


def receive(client: socket.socket) -> bytes:
    """Return the received data."""
    try:
        return client.recv(1 << 20)
    except (BlockingIOError, ConnectionError):
        return b""


server = Server(Session())
server.token = "token"
atexit.register(server.close)
server.hosts = ["127.0.0.1:80"]


def read(data: bytes) -> None:
    """Send the input; its first byte is the number of bytes before a pause."""
    pause = 1 + 4 * data[0] if data else 1
    answer = server.exchange([piece for piece in (data[1:pause], data[pause:]) if piece])
    assert answer.startswith(b"HTTP/1.1 ") or not answer, f"an answer of {answer[:20]!r}"
    assert b"HTTP/1.1 500" not in answer, "the server has failed"


def make_call(path: str, body: bytes = b"{}", more: str = "") -> bytes:
    """Return a request of the page."""
    lines = [
        *(f"POST {path} HTTP/1.1", "Host: 127.0.0.1:80", "Origin: http://127.0.0.1:80"),
        *("Sec-Fetch-Site: same-origin", "X-Lenet5c-Token: token"),
        *("Content-Type: application/json", f"Content-Length: {len(body)}", more),
    ]
    return "".join(f"{line}\r\n" for line in lines if line).encode() + b"\r\n" + body


def seeds() -> Iterator[bytes]:
    """Yield requests of all kinds, several at once, truncated and invalid."""
    host = b"Host: 127.0.0.1:80\r\n"
    for pause in (b"\0", b"\4", b"\x20", b"\xff"):
        for path in sorted(CALLS)[:3]:
            yield pause + make_call(path, b'{"label": 1}')
        yield pause + make_call("/weights", b'{"refuse": 1}', "Connection: close") * 2
        yield pause + make_call("/weights", b"[1]", "Expect: 100-continue")
        yield pause + make_call("/state", b'{"a": NaN}') + b"GET / HTTP/1.1\r\n" + host + b"\r\n"
        yield pause + b"GET / HTTP/1.1\r\n" + host + b"\r\n"
        yield pause + b"HEAD /?1 HTTP/1.0\r\n" + host + b"Content-Length: 3\r\n\r\nabc"
        yield pause + b"GET /../secret HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
        yield pause + b"PUT / HTTP/9.9\r\n" + host + b"\r\n"
        yield pause + b"GET /\r\n\r\n"
        yield pause + b"\r\n\r\n\r\n"
        yield pause + b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200
        yield pause + make_call("/state")[:-1]
    yield b"\0" + make_call("/state", b"[" * 1500)


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change, repeat or delete a line, and mostly correct the length of the body."""
    head, gap, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    place, action = random.randrange(len(lines)), random.randrange(4)
    if action == 0:
        lines[place] = mutate_bytes(lines[place])
    elif action == 1:
        lines.insert(place, random.choice(lines))
    elif action == 2:
        body = mutate_bytes(body)
    else:
        del lines[place]
    if random.random() < 0.7:
        length = b"Content-Length: %d" % len(body)
        lines = [length if line.startswith(b"Content-Length") else line for line in lines]
    return b"\r\n".join(lines) + gap + body
