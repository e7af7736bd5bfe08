"""Connections of untrusted HTTP clients, all read and written by one thread.

An open connection costs a socket, not a thread, so that there may be thousands. Where there is no
room, the one that has waited longest is closed in favor of the new one: nobody can hold the places.
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
# Bytes of a head, of a body, of a picture, and of all that has been received and not been answered.
MAX_HEAD, MAX_BODY, MAX_PICTURE, MAX_HELD = 1 << 16, 1 << 20, 1 << 25, 1 << 27
SLOWEST = 200_000  # bytes a second of a large body
# Seconds that a connection may wait for a request, that a request or its answer may take on its
# way, and that a client has to take an answer before its connection is closed.
IDLE, REQUEST, LINGER = 60.0, 10.0, 1.0
SWEEP = 0.25  # seconds between two looks at the deadlines
# Requests that are computed at a time. More would keep the one thread that serves all connections
# from the interpreter's lock.
WORKERS = 4
ACCEPTS = 400  # connections that are taken before others have their turn
NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def find_room() -> int:
    """Return how many connections there may be, after asking for as many files as that takes."""
    if resource is None:
        return 500  # select takes 512 sockets
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
    interim: bytes  # to be sent before the body comes
    slow: bool  # `respond` may take a while
    close_connection: bool

    def respond(self, body: bytes) -> bytes:
        """Return the whole answer."""


class Connection:
    """A client: its request as far as it has arrived, and what is still to be sent."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.received = bytearray()
        self.request: Request | None = None
        self.held = 0  # bytes that were received and not answered
        self.to_send = memoryview(b"")
        self.busy = False  # a worker computes its answer
        self.closing = False  # all is sent; what still comes is dropped
        self.ready = False  # has sent more than one request at once
        self.deadline = time.monotonic() + IDLE


class Connections:
    """Clients of a listening socket; `begin` handles the head of each request.

    Parameters
    ----------
    listener : socket.socket
    begin : callable
        Takes the head of a request with the empty line at its end, or as much of it as was read
        of one that is too long; returns a `Request`.
    """

    def __init__(self, listener: socket.socket, begin: Callable[[bytes], Request]) -> None:
        self.listener, self.begin = listener, begin
        listener.setblocking(False)
        self.room = find_room()
        self.held = 0  # bytes of all connections
        # All that are open, the one that has waited longest first.
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
        """Serve until `stop`, which is called at least each `SWEEP` seconds, or until `close`."""
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
                    elif key.data in self.open:  # not closed since
                        self._guard(self._go_on, key.data)
                for _ in range(len(self.ready)):  # one request of each, then the others' turn
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
        """End `serve`, wait until it has ended, and close all connections."""
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
        """Take new connections, in the place of those that have waited longest if need be."""
        for _ in range(ACCEPTS):
            try:
                client, _ = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Others: the client has gone already.
                if error.errno in NO_ROOM and not self._evict():
                    time.sleep(0.01)
                    return
                continue
            connection = Connection(client)
            self.open[connection] = None
            self._guard(self._begin, connection)

    def _begin(self, connection: Connection) -> None:
        """Make room for a new connection, and answer a request that is there already."""
        if len(self.open) > self.room:
            self._evict()
        connection.client.setblocking(False)
        # A small answer is not held back to be sent with the next one.
        connection.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(connection.client, selectors.EVENT_READ, connection)
        self._go_on(connection)

    def _evict(self, kind: Callable[[Connection], object] = lambda connection: True) -> bool:
        """Close the connection that has waited longest; False if all are at work."""
        for connection in self.open:
            if not connection.busy and kind(connection):
                self._close(connection)
                return True
        return False

    def _guard(self, action: Callable[[Connection], None], connection: Connection) -> None:
        """Act on a connection; close one whose client has gone."""
        try:
            action(connection)
        except OSError:
            self._close(connection)
        except Exception:
            traceback.print_exc()
            self._close(connection)

    def _go_on(self, connection: Connection) -> None:
        """Send or receive what can be without waiting."""
        if connection.to_send:
            self._send(connection)
            return
        if connection.ready:  # no more is read before what is there has been answered
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
        """Count bytes that are held for a connection, or no longer."""
        connection.held += count
        self.held += count

    def _work(self) -> None:
        """Compute answers, in a thread of its own."""
        while task := self.tasks.get():
            connection, request, body = task
            try:
                answer = request.respond(body)
            except Exception:
                traceback.print_exc()
                request.close_connection, answer = True, b""
            self.answers.append((connection, answer))
            self._wake()
            del task, connection, request, body, answer  # they are not kept until the next come

    def _wake(self) -> None:
        """Let `serve` look at what has changed."""
        with suppress(OSError):  # it has been woken often enough, or has ended
            self.waker.send(b"\0")

    def _send_answers(self) -> None:
        """Send what workers have computed."""
        self.awake.recv(1 << 12)
        while self.answers:
            connection, answer = self.answers.popleft()
            self._guard(partial(self._answer, answer=answer), connection)

    def _answer(self, connection: Connection, answer: bytes) -> None:
        """Begin to send an answer."""
        if connection.busy:
            connection.busy = False
            self.selector.register(connection.client, selectors.EVENT_READ, connection)
        self._hold(connection, len(connection.received) - connection.held)
        connection.to_send = memoryview(answer)
        connection.deadline = time.monotonic() + REQUEST
        self.open.move_to_end(connection)
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Send as much of an answer as the client takes."""
        with suppress(BlockingIOError):
            sent = connection.client.send(connection.to_send)
            connection.to_send = connection.to_send[sent:]
        event = selectors.EVENT_WRITE if connection.to_send else selectors.EVENT_READ
        self.selector.modify(connection.client, event, connection)
        if not connection.to_send:
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Wait for the next request, or for the client to close after its last one."""
        now = time.monotonic()
        if connection.request and connection.request.close_connection:
            # Closing at once would take back an answer that a client which still sends has not
            # read.
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
            with suppress(KeyError, ValueError):  # a worker computes its answer
                self.selector.unregister(connection.client)
            connection.client.close()
