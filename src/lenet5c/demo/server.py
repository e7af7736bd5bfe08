"""The page's server: this machine alone, a fixed list of paths, and no request trusted."""

import io
import json
import re
import secrets
import socket
import struct
import sys
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from typing import Any

from lenet5c.demo.connections import MAX_BODY, MAX_HEAD, Connections
from lenet5c.demo.session import Session
from lenet5c.errors import UserError

BACKLOG = 4096  # connections that the system holds for us
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


class DemoServer(Connections):
    """A server of one `Session` at 127.0.0.1, bound but not yet serving: `serve` does.

    Raises
    ------
    PortError
        If the port is taken, or not open to everybody.
    """

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(32)
        listener = socket.socket()
        try:
            if sys.platform != "win32":  # there it would let another program take over the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            why = f"--port must be free, got {port}: {error.strerror or error}"
            raise PortError(f"{why}; give another number, or leave it out") from None
        super().__init__(listener, lambda head: Request(self, head))
        self.port = port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        ports = (f":{port}", "") if port == 80 else (f":{port}",)
        self.hosts = [host + end for host in ("127.0.0.1", "localhost") for end in ports]


class Request(BaseHTTPRequestHandler):
    """A request by its head, as http.server parses it; it reads and writes no socket."""

    server: DemoServer  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    def __init__(self, server: DemoServer, head: bytes) -> None:
        self.server = server
        self.length = 0
        self.refused: tuple[int, str] | None = None
        self.rfile, self.wfile = io.BytesIO(head), io.BytesIO()
        self.raw_requestline = self.rfile.readline()
        try:
            if len(head) > MAX_HEAD:
                self.command = ""
                status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                if len(self.raw_requestline) > MAX_HEAD:
                    status = HTTPStatus.REQUEST_URI_TOO_LONG
                raise RefusedError(status, status.phrase)
            if not self.parse_request():  # the line is empty
                raise RefusedError(400, HTTPStatus.BAD_REQUEST.phrase)
            self._check()
        except RefusedError as error:
            self.refused = error.args[0], error.args[1]
            # A body that is not read would be taken for the next request.
            self.close_connection = True
        self.slow = self.command == "POST" and not self.refused
        self.interim = self.wfile.getvalue() if self.slow else b""

    def respond(self, body: bytes) -> bytes:
        """Return the answer to the request with this body."""
        if self.refused:
            return self._reply(self.refused[0], {"error": self.refused[1]})
        if self.slow:
            return self._call(body)
        content = PAGE[self.path].replace(b"{{token}}", self.server.token.encode())
        return self._reply(200, content, f"{KINDS[self.path.rpartition('.')[2]]}; charset=utf-8")

    def _check(self) -> None:
        """Refuse what is not to be served."""
        self.path = self.path.partition("?")[0]
        self.path = "/index.html" if self.path == "/" else self.path
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise RefusedError(421, f"this page is at {self.server.address} alone")
        if self.command not in ("GET", "HEAD", "POST"):
            raise RefusedError(501, "no such method")
        if self.path not in (CALLS if self.command == "POST" else PAGE):
            known = self.path in PAGE or self.path in CALLS
            raise RefusedError(*(405, "wrong method") if known else (404, "no such page"))
        if self.command == "POST":
            self._check_sender()
            self.length = self._parse_length()
        elif self.headers["Content-Length"] or self.headers["Transfer-Encoding"]:
            self.close_connection = True  # as of one that is refused

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

    def _parse_length(self) -> int:
        """Return the length of the body."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers["Transfer-Encoding"] is not None or not (
            len(lengths) == 1 and re.fullmatch("[0-9]{1,19}", lengths[0])
        ):
            raise RefusedError(411, "Content-Length must be one integer")
        if (length := int(lengths[0])) > MAX_BODY:
            raise RefusedError(413, f"the request must have at most {MAX_BODY:,} bytes")
        return length

    def _call(self, body: bytes) -> bytes:
        """Call a method of the session."""
        try:
            # NaN and infinities are no JSON; `int` refuses them.
            value = json.loads(body.decode(), parse_constant=int)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            return self._reply(400, {"error": "the request must be a JSON object"})
        try:
            result = getattr(self.server.session, self.path[1:])(value)
        except UserError as error:
            return self._reply(422, {"error": str(error)})
        except Exception:
            traceback.print_exc()
            return self._reply(500, {"error": "the demo failed; its terminal says more"})
        if isinstance(result, dict):
            return self._reply(200, result)
        facts = json.dumps(result[0]).encode()
        # The bytes begin at a multiple of four, where the page can view them as float32.
        facts += b" " * (-len(facts) % 4)
        content = struct.pack("<I", len(facts)) + facts + result[1]
        return self._reply(200, content, "application/octet-stream")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what http.server finds wrong with a request."""
        raise RefusedError(code, HTTPStatus(code).phrase)

    def _reply(
        self, status: int, content: bytes | dict[str, Any], kind: str = "application/json"
    ) -> bytes:
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        lines = HEADERS | {"Content-Type": kind, "Content-Length": str(len(content))}
        if status == 405:
            lines["Allow"] = "GET, HEAD" if self.command == "POST" else "POST"
        if self.close_connection:
            lines["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n"
        return head.encode("latin-1") + (b"" if self.command == "HEAD" else content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
