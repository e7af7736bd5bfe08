"""Connections of untrusted HTTP clients, all read and written by one thread.

An open connection needs a socket but no thread, so there may be thousands. If the maximum is
reached, the connection that has been idle longest is closed in favor of the new one, so no client
can block others.
"""

import errno
import queue
import selectors
import socket
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

MAX_CONNECTIONS = 4000
# Maximum bytes of a head, a body, a picture, and all received data that has not been answered.
MAX_HEAD, MAX_BODY, MAX_PICTURE, MAX_HELD = 1 << 16, 1 << 20, 1 << 25, 1 << 27
SLOWEST = 200_000  # minimum bytes per second of a large body
# Timeouts in seconds: of an idle connection, of receiving a request or sending an answer, and of
# closing a connection after an answer.
IDLE, REQUEST, LINGER = 60.0, 10.0, 1.0
SWEEP = 0.25  # seconds between checks of deadlines
# Maximum number of requests computed in parallel. More would keep the thread that serves all
# connections waiting for the GIL.
WORKERS = 4
ACCEPTS = 400  # connections accepted at once before others are served
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def find_room() -> int:
    """Return the maximum number of connections, after raising the limit of open files."""
    if resource is None:
        return 500  # select supports 512 sockets
    spare = 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < MAX_CONNECTIONS + spare:
        most = MAX_CONNECTIONS + spare
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(10, min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - spare))


class Request(Protocol):
    """A request whose head has arrived."""

    length: int  # of its body
    interim: bytes  # to send before the body arrives
    slow: bool  # `respond` may take long
    close_connection: bool

    def respond(self, body: bytes) -> bytes:
        """Return the complete answer."""


class Connection:
    """A client: the received part of its request and the remaining part of the answer."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.received = bytearray()
        self.request: Request | None = None
        self.held = 0  # bytes received and not answered
        self.to_send = memoryview(b"")
        self.busy = False  # a worker is computing its answer
        self.closing = False  # everything is sent; further input is dropped
        self.ready = False  # has received more than one request
        self.deadline = time.monotonic() + IDLE


class Connections:
    """Clients of a listening socket; `begin` handles the head of each request.

    Parameters
    ----------
    listener : socket.socket
    begin : callable
        Function of the head of a request including the empty line at its end (truncated if it is
        too long) that returns a `Request`.
    """

    def __init__(self, listener: socket.socket, begin: Callable[[bytes], Request]) -> None:
        self.listener, self.begin = listener, begin
        listener.setblocking(False)
        self.room = find_room()
        self.held = 0  # bytes of all connections
        # All open connections, the longest idle first.
        self.open: OrderedDict[Connection, None] = OrderedDict()
        self.ready: deque[Connection] = deque()
        self.tasks: queue.SimpleQueue[tuple[Connection, Request, bytes] | None]
        self.tasks, self.answers = queue.SimpleQueue(), deque[tuple[Connection, bytes]]()
        self.ended = threading.Event()
        self.serving = threading.Lock()
        self.awake, self.waker = socket.socketpair()
        self.awake.setblocking(False)
        self.waker.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.selector.register(self.awake, selectors.EVENT_READ)

    def serve(self, stop: Callable[[], object] = lambda: False) -> None:
        """Serve until `close` or until `stop`, called at least every `SWEEP` seconds, is true."""
        for _ in range(WORKERS):
            threading.Thread(target=self._work, daemon=True).start()
        swept = time.monotonic()
        with self.serving:
            while not (self.ended.is_set() or stop()):
                for key, _ in self.selector.select(0 if self.ready else SWEEP):
                    if key.fileobj is self.listener:
                        self._accept()
                    elif key.fileobj is self.awake:
                        self._send_answers()
                    elif key.data in self.open:  # not closed meanwhile
                        self._guard(self._go_on, key.data)
                for _ in range(len(self.ready)):  # one request of each
                    connection = self.ready.popleft()
                    connection.ready = False
                    if connection in self.open:
                        self._guard(self._advance, connection)
                if (now := time.monotonic()) > swept + SWEEP:
                    swept = now
                    for connection in [each for each in self.open if each.deadline < now]:
                        if not connection.busy:
                            self._close(connection)

    def close(self) -> None:
        """Stop `serve`, wait for it to end, and close all connections."""
        self.ended.set()
        self._wake()
        with self.serving:
            for connection in list(self.open):
                self._close(connection)
            for _ in range(WORKERS):
                self.tasks.put(None)
            self.selector.close()
            for each in (self.listener, self.awake, self.waker):
                each.close()

    def _accept(self) -> None:
        """Accept new connections, closing the longest idle ones if necessary."""
        for _ in range(ACCEPTS):
            try:
                client, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Other errors: the client has already disconnected.
                if error.errno in NO_ROOM and not self._evict():
                    time.sleep(0.01)
                    return
                continue
            connection = Connection(client)
            self.open[connection] = None
            self._guard(self._begin, connection)

    def _begin(self, connection: Connection) -> None:
        """Add a new connection and answer a request that has already arrived."""
        if len(self.open) > self.room:
            self._evict()
        connection.client.setblocking(False)
        # Send small answers without delay.
        connection.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(connection.client, selectors.EVENT_READ, connection)
        self._go_on(connection)

    def _evict(self, kind: Callable[[Connection], object] = lambda connection: True) -> bool:
        """Close the longest idle connection; return False if all are busy."""
        for connection in self.open:
            if not connection.busy and kind(connection):
                self._close(connection)
                return True
        return False

    def _guard(self, action: Callable[[Connection], None], connection: Connection) -> None:
        """Process a connection; close it if its client has disconnected."""
        try:
            action(connection)
        except OSError:
            self._close(connection)
        except Exception:
            traceback.print_exc()
            self._close(connection)

    def _go_on(self, connection: Connection) -> None:
        """Send or receive without blocking."""
        if connection.to_send:
            self._send(connection)
            return
        if connection.ready:  # read no more until pending requests are answered
            return
        try:
            content = connection.client.recv(1 << 16)
        except BlockingIOError:
            return
        if not content:
            self._close(connection)
        elif not connection.closing:
            if not connection.received and connection.request is None:
                connection.deadline = time.monotonic() + REQUEST
            connection.received += content
            self._hold(connection, len(content))
            while self.held > MAX_HELD and self._evict(lambda each: each.held):
                pass
            if connection in self.open:
                self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Answer a request that has arrived."""
        received, request = connection.received, connection.request
        if request is None:
            end = received.find(b"\r\n\r\n") + 4
            if end < 4 and len(received) <= MAX_HEAD:
                return
            end = end if 4 <= end <= MAX_HEAD else len(received)
            connection.request = request = self.begin(bytes(received[:end]))
            del received[:end]
            self._hold(connection, -end)
            connection.deadline += request.length / SLOWEST
            if request.interim:
                connection.client.send(request.interim)
        if len(received) < request.length:
            return
        body = bytes(received[: request.length])
        del received[: request.length]
        if request.slow:
            connection.busy = True
            self.selector.unregister(connection.client)
            self.tasks.put((connection, request, body))
        else:
            self._answer(connection, request.respond(body))

    def _hold(self, connection: Connection, count: int) -> None:
        """Update the number of bytes held for a connection."""
        connection.held += count
        self.held += count

    def _work(self) -> None:
        """Compute answers in a separate thread."""
        while task := self.tasks.get():
            connection, request, body = task
            try:
                answer = request.respond(body)
            except Exception:
                traceback.print_exc()
                request.close_connection, answer = True, b""
            self.answers.append((connection, answer))
            self._wake()
            del task, connection, request, body, answer  # not kept until the next task

    def _wake(self) -> None:
        """Wake up `serve`."""
        with suppress(OSError):  # already woken, or ended
            self.waker.send(b"\0")

    def _send_answers(self) -> None:
        """Send the answers computed by workers."""
        self.awake.recv(1 << 12)
        while self.answers:
            connection, answer = self.answers.popleft()
            self._guard(partial(self._answer, answer=answer), connection)

    def _answer(self, connection: Connection, answer: bytes) -> None:
        """Start sending an answer."""
        if connection.busy:
            connection.busy = False
            self.selector.register(connection.client, selectors.EVENT_READ, connection)
        self._hold(connection, len(connection.received) - connection.held)
        connection.to_send = memoryview(answer)
        connection.deadline = time.monotonic() + REQUEST
        self.open.move_to_end(connection)
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Send as much of an answer as the client accepts."""
        with suppress(BlockingIOError):
            sent = connection.client.send(connection.to_send)
            connection.to_send = connection.to_send[sent:]
        event = selectors.EVENT_WRITE if connection.to_send else selectors.EVENT_READ
        self.selector.modify(connection.client, event, connection)
        if not connection.to_send:
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Wait for the next request, or for the client to close the connection."""
        now = time.monotonic()
        if connection.request and connection.request.close_connection:
            # Closing at once could discard an answer before a client that is still sending has
            # read it.
            connection.closing = True
            connection.deadline = now + LINGER
            connection.received.clear()
            self._hold(connection, -connection.held)
            connection.client.shutdown(socket.SHUT_WR)
        elif connection.received:
            connection.deadline = now + REQUEST
            connection.ready = True
            self.ready.append(connection)
        else:
            connection.deadline = now + IDLE
        connection.request = None

    def _close(self, connection: Connection) -> None:
        if connection in self.open:
            del self.open[connection]
            self._hold(connection, -connection.held)
            with suppress(KeyError, ValueError):  # a worker is computing its answer
                self.selector.unregister(connection.client)
            connection.client.close()
