"""HTTP server of the page, for this machine only, with a fixed list of paths."""

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
from urllib.parse import parse_qs

from lenet5c.demo.connections import MAX_BODY, MAX_HEAD, MAX_PICTURE, Connections
from lenet5c.demo.session import Session
from lenet5c.errors import UserError
from lenet5c.export.html import build_page
from lenet5c.export.html_bundle import PAGE

BACKLOG = 4096  # pending connections held by the system
#: Methods of `Session` that can be called by a POST with a JSON object.
CALLS = {
    *("/start", "/state", "/weights", "/test_image", "/save_sample", "/delete_sample"),
    *("/read_samples", "/start_tuning", "/stop_tuning", "/revert_model", "/keep_model"),
}
#: Path that accepts the bytes of a picture.
PICTURE = "/read_picture"
FOLDER = resources.files("lenet5c.demo").joinpath("page")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
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
    """Raised when the page cannot be served at this port."""


class RefusedError(Exception):
    """Raised to reject a request; the arguments are the status and the reason."""


class DemoServer(Connections):
    """A server of one `Session` at 127.0.0.1, bound by the constructor; call `serve` to run it.

    Raises
    ------
    PortError
        If the port is in use or not permitted.
    """

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(32)
        listener = socket.socket()
        try:
            if sys.platform != "win32":  # on Windows, another program could take over the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            why = f"--port must be free, got {port}: {error.strerror or error}"
            raise PortError(f"{why}; use another port, or omit it") from None
        super().__init__(listener, lambda head: Request(self, head))
        self.port = port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"
        ports = (f":{port}", "") if port == 80 else (f":{port}",)
        self.hosts = [host + end for host in ("127.0.0.1", "localhost") for end in ports]
        page, policy = build_page(session.page, "demo.js", (FOLDER, PAGE), connect="'self'")
        self.page = page.replace("{{token}}", self.token, 1).encode()
        self.policy = f"{policy}; frame-ancestors 'none'"


class Request(BaseHTTPRequestHandler):
    """A request whose head is parsed by http.server, without using a socket."""

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
            if not self.parse_request():  # empty request line
                raise RefusedError(400, HTTPStatus.BAD_REQUEST.phrase)
            self._check()
        except RefusedError as error:
            self.refused = error.args[0], error.args[1]
            # An unread body would be parsed as the next request.
            self.close_connection = True
        self.slow = self.command == "POST" and not self.refused
        self.interim = self.wfile.getvalue() if self.slow else b""

    def respond(self, body: bytes) -> bytes:
        """Return the answer to the request with this body."""
        if self.refused:
            return self._reply(self.refused[0], {"error": self.refused[1]})
        if self.slow:
            return self._call(body)
        return self._reply(200, self.server.page, "text/html; charset=utf-8")

    def _check(self) -> None:
        """Reject requests that are not served."""
        self.path, _, self.query = self.path.partition("?")
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            raise RefusedError(421, f"this page is only served at {self.server.address}")
        if self.command not in ("GET", "HEAD", "POST"):
            raise RefusedError(501, "no such method")
        calls = {*CALLS, PICTURE}
        if self.path not in (calls if self.command == "POST" else {"/"}):
            known = self.path == "/" or self.path in calls
            raise RefusedError(*(405, "wrong method") if known else (404, "no such page"))
        if self.command == "POST":
            self._check_sender()
            self.length = self._parse_length()
        elif self.headers["Content-Length"] or self.headers["Transfer-Encoding"]:
            self.close_connection = True  # as for rejected requests

    def _check_sender(self) -> None:
        """Reject requests from other sites."""
        get = self.headers.get
        origins = [f"http://{host}" for host in self.server.hosts]
        others = [*self.headers.get_all("Origin", ["none"]), get("Sec-Fetch-Site", "same-origin")]
        if others not in [[origin, "same-origin"] for origin in origins]:
            raise RefusedError(403, "the request comes from another page")
        token = get("X-Lenet5c-Token", "").encode("utf-8", "replace")
        if not secrets.compare_digest(token, self.server.token.encode()):
            raise RefusedError(403, "the page belongs to an earlier demo; reload it")
        kind = "application/octet-stream" if self.path == PICTURE else "application/json"
        if get("Content-Type", "").partition(";")[0].strip().lower() != kind:
            raise RefusedError(415, f"Content-Type must be {kind}")

    def _parse_length(self) -> int:
        """Return the length of the body."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers["Transfer-Encoding"] is not None or not (
            len(lengths) == 1 and re.fullmatch("[0-9]{1,19}", lengths[0])
        ):
            raise RefusedError(411, "Content-Length must be one integer")
        most = MAX_PICTURE if self.path == PICTURE else MAX_BODY
        if (length := int(lengths[0])) > most:
            raise RefusedError(413, f"the request must have at most {most:,} bytes")
        return length

    def _call(self, body: bytes) -> bytes:
        """Call a method of the session."""
        try:
            if self.path == PICTURE:
                digits = parse_qs(self.query).get("digits", [""])[0]
                result = self.server.session.read_picture(body, digits)
            else:
                result = getattr(self.server.session, self.path[1:])(parse_object(body))
        except UserError as error:
            return self._reply(422, {"error": str(error)})
        except RefusedError as error:
            return self._reply(error.args[0], {"error": error.args[1]})
        except Exception:
            traceback.print_exc()
            return self._reply(500, {"error": "the demo failed; see its terminal for details"})
        if isinstance(result, dict):
            return self._reply(200, result)
        facts = json.dumps(result[0]).encode()
        # Binary data starts at a multiple of four, so that the page can view it as float32.
        facts += b" " * (-len(facts) % 4)
        content = struct.pack("<I", len(facts)) + facts + result[1]
        return self._reply(200, content, "application/octet-stream")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Reject a request that http.server finds invalid."""
        raise RefusedError(code, HTTPStatus(code).phrase)

    def _reply(
        self, status: int, content: bytes | dict[str, Any], kind: str = "application/json"
    ) -> bytes:
        if isinstance(content, dict):
            content = json.dumps(content).encode()
        lines = HEADERS | {"Content-Type": kind, "Content-Length": str(len(content))}
        if kind.startswith("text/html"):
            lines["Content-Security-Policy"] = self.server.policy
        if status == 405:
            lines["Allow"] = "GET, HEAD" if self.command == "POST" else "POST"
        if self.close_connection:
            lines["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n"
        return head.encode("latin-1") + (b"" if self.command == "HEAD" else content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Suppress logging."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body."""
    try:
        # NaN and infinities are not valid JSON; `int` rejects them.
        value = json.loads(body.decode(), parse_constant=int)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RefusedError(400, "the request must be a JSON object")
    return value
