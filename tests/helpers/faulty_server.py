"""A web server on this machine, with a path for each fault."""

import os
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import urlsplit


class FaultyServer(ThreadingHTTPServer):
    """Server of `content` at http://127.0.0.1:PORT/FAULT/NAME.

    `asked` are the (fault, range header) so far.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = {}
        self.asked = []
        self.ended = threading.Event()

    def url(self, fault, name):
        return f"http://127.0.0.1:{self.server_port}/{fault}/{name}"

    def handle_error(self, request, address):
        pass  # clients that break off


@contextmanager
def running_server():
    server = FaultyServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        # A proxy that this machine may need knows nothing of this server.
        with mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1"}):
            yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, fault, name = urlsplit(self.path).path.split("/", 2)
        content = self.server.content[name]
        range_header = self.headers.get("Range")
        self.server.asked.append((fault, range_header))
        getattr(self, f"do_{fault}", lambda *a: self.send_error(int(fault)))(content, range_header)

    def do_good(self, content, range_header, etag='"v1"'):
        start = 0
        if range_header and self.headers.get("If-Range", etag) == etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", range_header)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("ETag", etag)
        self.body(content[start:])

    def do_norange(self, content, range_header):
        self.send_response(200)
        self.body(content)

    def do_wrong(self, content, range_header):
        self.do_good(bytes(len(content)), range_header)

    def do_half(self, content, range_header):
        """Send half of the requested bytes, then close the connection."""
        start = int(range_header[6:-1]) if range_header else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"half"')
        self.body(content[start:], stop=(len(content) - start + 1) // 2)

    def do_reset(self, content, range_header):
        self.send_response(200)
        self.body(content, stop=10)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def do_otherpart(self, content, range_header):
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 1-{len(content) - 1}/{len(content)}")
        self.body(content[1:])

    def do_huge(self, content, range_header):
        self.send_response(200)
        self.body(content, declared=10**15)

    def do_endless(self, content, range_header):
        """Send an endless response without a length."""
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        while not self.server.ended.is_set():
            self.wfile.write(bytes(1 << 16))

    def do_silent(self, content, range_header):
        self.server.ended.wait(20)

    def do_drip(self, content, range_header):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for i in range(len(content)):
            if self.server.ended.is_set():
                break
            self.wfile.write(content[i : i + 1])
            self.wfile.flush()
            time.sleep(0.01)

    def do_loop(self, content, range_header):
        self.redirect(self.path)

    def do_moved(self, content, range_header):
        self.redirect(self.path.replace("/moved/", "/good/"))

    def do_unsafe(self, content, range_header):
        self.redirect("http://localhost:1/anything")

    def do_file(self, content, range_header):
        self.redirect("file:///etc/passwd")

    def do_malformed(self, content, range_header):
        self.redirect("https://[1/anything")

    def do_gzipped(self, content, range_header):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.body(content)

    def redirect(self, url):
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self, content, stop=None, declared=None):
        self.send_header("Content-Length", str(declared or len(content)))
        self.end_headers()
        self.wfile.write(content[:stop])
        self.wfile.flush()
        if stop is not None or declared is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass
