"""The page's server: this machine alone, a fixed list of paths, and no request trusted."""

import io
import json
import re
import secrets
import socket
import socketserver
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Container
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from typing import Any

from lenet5c.demo.session import Session
from lenet5c.errors import UserError

MAX_BODY = 1 << 20
MAX_CONNECTIONS = 64
# Seconds that a connection may wait for a request, and that a request may take to arrive.
IDLE, REQUEST = 60, 10

#: Methods of `Session` that a POST may call.
CALLS = {
    *("/model", "/state", "/answer", "/test_digit", "/save_sample", "/delete_sample"),
    *("/start_tuning", "/stop_tuning", "/revert_model", "/keep_model"),
}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: Content of each file of the page, by path.
PAGE = {
    f"/{file.name}": file.read_bytes()
    for file in resources.files("lenet5c.demo").joinpath("page").iterdir()
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
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


class RefusedError(Exception):
    """A request that is not served; its arguments are the status and the reason."""


class DemoServer(socketserver.ThreadingTCPServer):
    """A server of one `Session` at 127.0.0.1, bound but not yet serving.

    Raises
    ------
    PortError
        If the port is taken, or not open to everybody.
    """

    daemon_threads = True
    block_on_close = False
    # On Windows this would let another program take over the port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(32)
        self.room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            why = f"--port must be free, got {port}: {error.strerror or error}"
            raise PortError(f"{why}; give another number, or leave it out") from None
        port = self.server_address[1]
        self.address = f"http://127.0.0.1:{port}/"
        ports = (f":{port}", "") if port == 80 else (f":{port}",)
        self.hosts = [host + end for host in ("127.0.0.1", "localhost") for end in ports]

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection if there is room for one more."""
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, but for a browser that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    server: DemoServer
    rfile: io.BufferedReader
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Serve a request that arrives in time: a client cannot hold a thread by sending slowly."""
        self.arrived = False
        self.connection.settimeout(IDLE)
        clock = threading.Timer(REQUEST, self._cut_off)
        clock.daemon = True
        try:
            if self.rfile.peek(1):
                clock.start()
                super().handle_one_request()
            else:
                self.close_connection = True
        except OSError:  # too slow, or gone
            self.close_connection = True
        finally:
            clock.cancel()

    def _cut_off(self) -> None:
        """Close the connection of a request that is still arriving."""
        if not self.arrived:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Send a file of the page."""
        self._serve(PAGE, self._send_file)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Call a method of the session."""
        self._serve(CALLS, self._call)

    def _serve(self, paths: Container[str], action: Callable[[str], None]) -> None:
        path = self.path.partition("?")[0]
        path = "/index.html" if path == "/" else path
        try:
            if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
                raise RefusedError(421, f"this page is at {self.server.address} alone")
            if path not in paths:
                known = path in PAGE or path in CALLS
                raise RefusedError(*(405, "wrong method") if known else (404, "no such page"))
            action(path)
        except RefusedError as error:
            # A body that was not read would be taken for the next request.
            self.close_connection = self.close_connection or not self.arrived
            status, reason = error.args
            self._reply(status, {"error": reason})
            if self.command == "POST" and not self.arrived:
                # A client that is cut off while it sends does not see the answer.
                self.connection.settimeout(1)
                self.connection.shutdown(socket.SHUT_WR)
                while self.rfile.read1(1 << 16):
                    pass

    def _send_file(self, path: str) -> None:
        content = PAGE[path].replace(b"{{token}}", self.server.token.encode())
        self._reply(200, content, f"{KINDS[path.rpartition('.')[2]]}; charset=utf-8")

    def _call(self, path: str) -> None:
        self._check_sender()
        method, request, status = getattr(self.server.session, path[1:]), self._read_body(), 200
        try:
            result = method(request)
        except UserError as error:
            status, result = 422, {"error": str(error)}
        except Exception:
            traceback.print_exc()
            status, result = 500, {"error": "the demo failed; its terminal says more"}
        if isinstance(result, dict):
            self._reply(status, result)
        else:
            facts = json.dumps(result[0]).encode()
            # The bytes begin at a multiple of four, where the page can view them as float32.
            facts += b" " * (-len(facts) % 4)
            content = struct.pack("<I", len(facts)) + facts + result[1]
            self._reply(status, content, "application/octet-stream")

    def _check_sender(self) -> None:
        """Refuse what does not come from the page: other sites may send requests here, too."""
        get = self.headers.get
        origins = [f"http://{host}" for host in self.server.hosts]
        others = [*self.headers.get_all("Origin", ["none"]), get("Sec-Fetch-Site", "same-origin")]
        if others not in [[origin, "same-origin"] for origin in origins]:
            raise RefusedError(403, "the request comes from another page")
        token = get("X-Lenet5c-Token", "").encode("utf-8", "replace")
        if not secrets.compare_digest(token, self.server.token.encode()):
            raise RefusedError(403, "the page is of an earlier demo; load it again")
        if get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "Content-Type must be application/json")

    def _read_body(self) -> dict[str, Any]:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers["Transfer-Encoding"] is not None or not (
            len(lengths) == 1 and re.fullmatch("[0-9]{1,19}", lengths[0])
        ):
            raise RefusedError(411, "Content-Length must be one integer")
        if (length := int(lengths[0])) > MAX_BODY:
            raise RefusedError(413, f"the request must have at most {MAX_BODY:,} bytes")
        content = self.rfile.read(length)
        if len(content) < length:
            raise ConnectionError("the browser has gone")
        self.arrived = True
        try:
            # NaN and infinities are no JSON; `int` refuses them.
            value = json.loads(content.decode(), parse_constant=int)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise RefusedError(400, "the request must be a JSON object")
        return value

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send what the base class has to say of a request, in our form."""
        self.close_connection = True
        self._reply(code, {"error": HTTPStatus(code).phrase})

    def _reply(
        self, status: int, content: bytes | dict[str, Any], kind: str = "application/json"
    ) -> None:
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        lines = HEADERS | {"Content-Type": kind, "Content-Length": str(len(content))}
        if status == 405:
            lines["Allow"] = "GET, HEAD" if self.command == "POST" else "POST"
        if self.close_connection:
            lines["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n"
        self.connection.settimeout(REQUEST)
        # In one piece: a second one could wait for the first one's receipt.
        self.wfile.write(head.encode("latin-1") + (b"" if self.command == "HEAD" else content))

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
