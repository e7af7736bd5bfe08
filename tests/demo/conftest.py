"""A demo served in this process, and a client that imitates the page."""

import http.client
import json
import re
import struct
import threading

import pytest
from page_jobs import encode
from processes import HANGING

from lenet5c.datasets import Source
from lenet5c.demo.server import DemoServer
from lenet5c.demo.session import Session
from lenet5c.training import open_model


class Client:
    """Requests to a server; `call` sends requests like those of the page."""

    def __init__(self, server):
        self.server = server
        self.port = server.port
        self.host = f"127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None):
        """Return (status, headers, content); headers that are None are omitted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGING)
        headers = {"Host": self.host, **(headers or {})}
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in headers:
                headers["Content-Length"] = str(len(body))
            for name, value in headers.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path, body=b"{}", **headers):
        """Return (status, response) of a POST with the page's headers, except these (_ for -)."""
        usual = {
            "Origin": f"http://{self.host}",
            "Content-Type": "application/json",
            "X-Lenet5c-Token": self.server.token,
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual |= {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, reply = self.request("POST", path, content, usual)
        return status, reply

    def call(self, path, **request):
        """Return the response of a path as an object."""
        status, reply = self.post(path, request)
        assert status == 200, reply
        return json.loads(reply)

    def error(self, path, **request):
        """Return the error of an invalid request."""
        status, reply = self.post(path, request)
        assert status == 422, (status, reply)
        return json.loads(reply)["error"]

    def bytes_of(self, path, **request):
        """Return the response of a path as facts and the bytes after them."""
        status, reply = self.post(path, request)
        assert status == 200, reply
        (length,) = struct.unpack_from("<I", reply)
        assert length % 4 == 0
        return json.loads(reply[4 : 4 + length]), reply[4 + length :]

    def save(self, image, label):
        """Save an image as a sample."""
        return self.call("/save_sample", image=encode(image), label=label)

    def read(self, content, digits="one", **headers):
        """Return (status, response) of a picture to read."""
        headers = {"Content_Type": "application/octet-stream"} | headers
        status, reply = self.post(f"/read_picture?digits={digits}", content, **headers)
        return status, json.loads(reply)

    @property
    def page_token(self):
        _, _, page = self.request("GET", "/")
        return re.search(rb'name="token" content="([\w-]+)"', page)[1].decode()


@pytest.fixture(scope="session")
def trained():
    return open_model()


@pytest.fixture
def served(tmp_path):
    """served(trained, open_data) -> Client of a new demo."""
    servers = []

    def serve(trained, open_data, samples=None):
        session = Session(trained, "a model", samples or tmp_path / "samples", open_data)
        server = DemoServer(session)
        servers.append(server)
        threading.Thread(target=server.serve, daemon=True).start()
        return Client(server)

    yield serve
    for server in servers:
        server.close()
        server.session.close()


@pytest.fixture
def client(served, trained, mnist_slice):
    """Return the client of a demo of the packaged model, with a slice of MNIST."""
    return served(trained, lambda: Source(*mnist_slice))
