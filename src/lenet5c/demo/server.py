"""The page's server: this machine alone, a fixed list of paths, and nothing taken on trust."""

import io
import json
import secrets
import socket
import socketserver
import struct
import sys
import threading
import time
import traceback
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

from lenet5c.errors import UserError

MAX_BODY = 1 << 20
MAX_CONNECTIONS = 64
# Seconds: that a connection may wait for a request, and that a request may take from its first byte to its last.
IDLE, REQUEST = 60, 10

PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
    "/api.js": ("api.js", "text/javascript; charset=utf-8"),
    "/pad.js": ("pad.js", "text/javascript; charset=utf-8"),
    "/show.js": ("show.js", "text/javascript; charset=utf-8"),
    "/sliders.js": ("sliders.js", "text/javascript; charset=utf-8"),
    "/teach.js": ("teach.js", "text/javascript; charset=utf-8"),
}
# What a POST may ask for: methods of `Session`.
CALLS = {
    "/model": "model",
    "/state": "state",
    "/answer": "answer",
    "/digit": "test_digit",
    "/samples/save": "save_sample",
    "/samples/delete": "delete_sample",
    "/tuning/start": "tune",
    "/tuning/stop": "stop",
    "/tuning/revert": "revert",
    "/tuning/keep": "keep",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class PortError(UserError):
    """The page cannot be served at this port."""


class Refused(Exception):
    """A request that is not served: its status, and why."""

    def __init__(self, status, why, **headers):
        super().__init__(why)
        self.status, self.why, self.headers = HTTPStatus(status), why, headers


def make_server(session, port=0):
    """A server of the demo's page at 127.0.0.1, bound but not yet serving.

    Raises
    ------
    PortError
        The port is taken, or not for everybody.
    """
    return DemoServer(session, port)


class DemoServer(ThreadingHTTPServer):
    """Serves one `Session` to the browsers of this machine."""

    daemon_threads = True
    block_on_close = False
    # On Windows this would let another program take over the port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, session, port):
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        folder = resources.files("lenet5c.demo").joinpath("page")
        self.page = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGE.items()
        }
        html, kind = self.page["/"]
        self.page["/"] = html.replace(b"{{token}}", self.token.encode()), kind
        super().__init__(("127.0.0.1", port), Handler)
        port = self.server_address[1]
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"} | (
            {"127.0.0.1", "localhost"} if port == 80 else set()
        )
        self.origins = {f"http://{host}" for host in self.hosts}
        self.address = f"http://127.0.0.1:{port}/"

    def server_bind(self):
        try:
            # HTTPServer's would ask the network for this machine's name.
            socketserver.TCPServer.server_bind(self)
        except OSError as error:
            remedy = "give --port another number, or leave it out for a free one"
            why = error.strerror or error
            raise PortError(
                f"--port is {self.server_address[1]}, which cannot be had: {why}; {remedy}"
            ) from None
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request, client_address):
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self.room.release()
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request, client_address):
        # A browser that goes away is no error of ours.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.clock = TimedSocket(self.connection)
        self.rfile = io.BufferedReader(self.clock)

    def handle_one_request(self):
        try:
            self.clock.allow(IDLE)
            if not self.rfile.peek(1):
                self.close_connection = True
                return
            self.clock.allow(REQUEST)
            super().handle_one_request()
        except OSError:  # too slow, or gone
            self.close_connection = True

    def do_GET(self):
        self.served(self.file)

    do_HEAD = do_GET

    def do_POST(self):
        self.served(self.call)

    def served(self, action):
        try:
            if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
                raise Refused(421, f"this page is at {self.server.address} alone")
            action(self.path.partition("?")[0])
        except Refused as error:
            self.refuse(error.status, error.why, error.headers)

    def file(self, path):
        if path in CALLS:
            raise Refused(405, "this path wants a POST", Allow="POST")
        if path not in self.server.page:
            raise Refused(404, "there is no such page")
        content, kind = self.server.page[path]
        self.reply(HTTPStatus.OK, content, kind)

    def call(self, path):
        """Do what a POST asks for."""
        if path not in CALLS:
            if path in self.server.page:
                raise Refused(405, "this path wants a GET", Allow="GET, HEAD")
            raise Refused(404, "there is no such path")
        self.check_sender()
        request = self.body()
        try:
            result = getattr(self.server.session, CALLS[path])(request)
        except UserError as error:
            self.reply(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                json.dumps({"error": str(error)}).encode(),
                "application/json",
            )
            return
        except Exception:
            traceback.print_exc()
            content = b'{"error": "the demo failed; its terminal says more"}'
            self.reply(HTTPStatus.INTERNAL_SERVER_ERROR, content, "application/json")
            return
        if isinstance(result, tuple):
            facts, content = result
            facts = json.dumps(facts).encode()
            # The bytes begin at a multiple of four, where the page can look at them as float32.
            facts += b" " * (-len(facts) % 4)
            self.reply(
                HTTPStatus.OK,
                struct.pack("<I", len(facts)) + facts + content,
                "application/octet-stream",
            )
        else:
            self.reply(HTTPStatus.OK, json.dumps(result).encode(), "application/json")

    def check_sender(self):
        """Refuse what does not come from the page: other sites may send requests here, too."""
        if self.headers.get_all("Origin", []) not in [[origin] for origin in self.server.origins]:
            raise Refused(403, "the request comes from another page")
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Refused(403, "the request comes from another page")
        token = self.headers.get("X-Lenet5c-Token", "")
        if not compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise Refused(403, "the page is of an earlier demo; load it again")
        if (
            self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            != "application/json"
        ):
            raise Refused(415, "the request should be JSON")

    def body(self):
        """The JSON object that was sent."""
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refused(411, "the request should say how long it is")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not (
            lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20
        ):
            raise Refused(411, "the request should say how long it is")
        if (length := int(lengths[0])) > MAX_BODY:
            raise Refused(413, f"the request has more than {MAX_BODY:,} bytes")
        content = self.rfile.read(length)
        if len(content) < length:
            raise ConnectionError("the browser has gone")
        self.consumed = True
        try:
            value = json.loads(content.decode("utf-8"), parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise Refused(400, "the request is not JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "the request should be a JSON object")
        return value

    def parse_request(self):
        self.consumed = False
        return super().parse_request()

    def refuse(self, status, why, headers=None):
        # A body that was not read would be taken for the next request.
        self.close_connection = self.close_connection or not self.consumed
        self.reply(status, json.dumps({"error": why}).encode(), "application/json", headers)
        if self.command == "POST" and not self.consumed:
            self.drain()

    def send_error(self, code, message=None, explain=None):
        """What the base class has to say of a request, in our form."""
        self.close_connection = True
        self.reply(
            HTTPStatus(code),
            json.dumps({"error": HTTPStatus(code).phrase}).encode(),
            "application/json",
        )

    def reply(self, status, content, kind, headers=None):
        lines = {**HEADERS, **(headers or {}), "Content-Type": kind, "Content-Length": len(content)}
        if self.close_connection:
            lines["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("latin-1")
        self.connection.settimeout(REQUEST)
        # In one piece: a second one could wait for the first one's receipt.
        self.wfile.write(head if self.command == "HEAD" else head + content)

    def drain(self):
        """Read on for a moment: a client that is cut off while it sends does not see the answer."""
        self.clock.allow(1)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(64):
                if not self.rfile.read1(1 << 16):
                    break
        except OSError:
            pass

    def log_message(self, format, *arguments):
        pass


class TimedSocket(io.RawIOBase):
    """What a socket receives, until the time is up: a client cannot hold a thread by sending slowly."""

    def __init__(self, connection):
        self.connection = connection
        self.until = 0.0

    def allow(self, seconds):
        self.until = time.monotonic() + seconds

    def readable(self):
        return True

    def readinto(self, buffer):
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request takes too long")
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


def _no_number(text):
    raise ValueError(f"{text} is no number of JSON's")
