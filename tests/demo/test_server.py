"""The server of the demo: valid and invalid requests."""

import json
import re
import socket
import struct
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from processes import HANGING

from lenet5c.demo import connections
from lenet5c.demo import server as module
from lenet5c.demo.session import Session
from lenet5c.export.html import hash_inline


def test_the_page(client):
    status, headers, content = client.request("GET", "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    _, head, nothing = client.request("HEAD", "/")
    assert head["Content-Length"] == str(len(content)) and nothing == b""
    assert client.page_token == client.server.token and len(client.server.token) >= 32
    # Its own script and style are allowed by their hashes, and nothing else.
    policy = headers["Content-Security-Policy"]
    text = content.decode()
    for kind, tag in (("script", '<script type="module">'), ("style", "<style>")):
        (inline,) = re.findall(rf"{re.escape(tag)}(.*?)</{kind}>", text, re.DOTALL)
        assert f"{kind}-src '{hash_inline(inline[1:-1])}'" in policy
    assert "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy


def test_every_answer_has_the_security_headers(client):
    replies = [
        client.request("GET", "/"),
        client.request("GET", "/nothing"),
        client.request("GET", "/", headers={"Host": "evil.example"}),
        client.request("PUT", "/"),
        client.request("POST", "/state", b"{}"),
    ]
    assert [status for status, _, _ in replies] == [200, 404, 421, 501, 403]
    for _, headers, _ in replies:
        policy = headers["Content-Security-Policy"]
        assert (
            policy.startswith("default-src 'none';")
            and "unsafe" not in policy
            and "http" not in policy
        )
        for directive in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
            assert directive in policy
        assert (
            headers["X-Content-Type-Options"] == "nosniff"
            and headers["Cache-Control"] == "no-store"
        )
        assert headers["Referrer-Policy"] == "no-referrer" and "Server" not in headers


def test_the_server_listens_on_this_machine_alone(client):
    assert client.server.listener.getsockname()[0] == "127.0.0.1"
    assert client.server.address == f"http://127.0.0.1:{client.port}/"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "",
        None,
        "[::1]:{port}",
        "evil@127.0.0.1:{port}",
    ],
)
def test_another_host_is_refused(client, host):
    # A site whose name leads to 127.0.0.1 must not read this page.
    host = host and host.format(port=client.port)
    assert client.request("GET", "/", headers={"Host": host})[0] == 421
    assert client.post("/state", Host=host)[0] == 421


def test_localhost_is_this_machine(client):
    host = f"localhost:{client.port}"
    assert client.request("GET", "/", headers={"Host": host})[0] == 200
    assert client.post("/state", Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:1"},
        {"X-Lenet5c-Token": None},
        {"X-Lenet5c-Token": "guess"},
        {"X-Lenet5c-Token": "\xff"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_request_of_another_page_is_refused(client, headers):
    for path in (*module.CALLS, module.PICTURE):
        assert client.post(path, {"image": "AAAA", "label": 1}, **headers)[0] == 403
    assert not client.server.session.samples.path.exists()


def test_only_json_is_taken(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert client.post("/state", Content_Type=kind)[0] == 415
        assert client.read(b"{}", Content_Type=kind or "application/json")[0] == 415


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/%2e%2e/server.py",
        "/page/index.html",
        "//etc/passwd",
        "/style.css/../..",
        "/..\\server.py",
        "/style.css%00",
        "http://evil.example/",
        "*",
        "/Style.css",
    ],
)
def test_only_listed_paths_are_served(client, path):
    status, _, content = client.request("GET", path)
    assert status == 404 and json.loads(content) == {"error": "no such page"}
    assert client.post(path)[0] == 404


def test_methods(client):
    assert client.request("GET", "/state")[0] == 405 and client.post("/")[0] == 405
    assert client.request("GET", "/?from=mail")[0] == 200


@pytest.mark.parametrize(
    "body, status",
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b'{"label": NaN}', 400),
        (b'{"label": [Infinity]}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b'{"label": 1e999}', 422),
        (b'{"label": ' + b"9" * 400 + b"}", 422),
        (b'{"label": ' + b"9" * 5000 + b"}", 400),
    ],
)
def test_junk(client, body, status):
    assert client.post("/save_sample", body)[0] == status
    assert client.call("/state")["model"] == 0


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"image": None},
        {"label": 1},
        {"label": 1, "image": {}},
        {"label": 1, "image": "A" * 1047},
        {"label": 1, "image": "é" * 1048},
        {"label": -1},
        {"label": 10, "image": ""},
        {"label": 1.5},
        {"label": "1"},
        {"label": True},
        {"label": 10**30},
    ],
)
def test_what_makes_no_sense_is_one_line(client, request_):
    (line,) = client.error("/save_sample", **request_).splitlines()
    assert 10 < len(line) < 200


def test_a_large_body_is_refused_before_it_is_read(client):
    assert client.read(b"", Content_Length=str(module.MAX_PICTURE + 1))[0] == 413
    assert client.post("/state", b"", Content_Length=str(10**11))[0] == 413
    assert client.post("/state", b"x" * (module.MAX_BODY + 1))[0] == 413
    for length in ("-1", "1.5", "ten", "9" * 30, None):
        assert client.post("/state", b"", Content_Length=length)[0] == 411
    assert client.post("/state", b"", Transfer_Encoding="chunked")[0] == 411


def head_of(client, body):
    """Return the head of a request without its final empty line."""
    return (
        f"POST /state HTTP/1.1\r\nHost: {client.host}\r\nOrigin: http://{client.host}\r\n"
        f"Content-Type: application/json\r\nX-Lenet5c-Token: {client.server.token}\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode()


def exchange(client, content, wait=5):
    """Return the response to raw bytes, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", client.port), wait) as raw:
        raw.sendall(content)
        parts = []
        while part := raw.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)


def test_what_is_no_http_gets_an_answer_or_none(client, capfd):
    assert exchange(client, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert exchange(client, b" \r\n\r\n").startswith(b"HTTP/1.1 400")
    assert exchange(client, b"\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert exchange(client, b"GET /\r\n\r\n").startswith(b"HTTP/1.1 421")
    assert exchange(client, b"GET / HTTP/9.9\r\n\r\n").startswith(b"HTTP/1.1 505")
    assert exchange(client, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n").startswith(
        b"HTTP/1.1 414"
    )
    assert exchange(client, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n").startswith(
        b"HTTP/1.1 431"
    )
    two = f"GET / HTTP/1.1\r\nHost: {client.host}\r\nHost: evil\r\n\r\n".encode()
    assert exchange(client, two).startswith(b"HTTP/1.1 421")
    assert client.request("GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_slow_client_is_cut_off(client, monkeypatch):
    monkeypatch.setattr(connections, "IDLE", 2 * HANGING)
    head = f"POST /state HTTP/1.1\r\nHost: {client.host}\r\n"
    with socket.create_connection(("127.0.0.1", client.port), HANGING) as slow:
        with monkeypatch.context() as patch:
            patch.setattr(connections, "REQUEST", 0.8)
            slow.sendall(head.encode())
            wait_until(lambda: any(each.received for each in list(client.server.open)))
        assert client.call("/state")["model"] == 0  # meanwhile
        slow.settimeout(0.02)
        end = time.monotonic() + HANGING
        with pytest.raises(OSError):
            while time.monotonic() < end:  # each byte comes in time, the request does not
                slow.sendall(b"x")
                try:
                    assert slow.recv(1) == b""
                    raise ConnectionError("closed")
                except TimeoutError:
                    continue


@pytest.fixture
def connect(client):
    """connect(content) -> a connection that has sent these bytes."""
    with ExitStack() as stack:

        def make(content=b""):
            raw = socket.create_connection(("127.0.0.1", client.port), HANGING)
            stack.enter_context(raw).sendall(content)
            return raw

        yield make


def wait_until(condition):
    end = time.monotonic() + HANGING
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it does not come to that")


def is_closed(raw):
    """Return whether the server has closed a connection."""
    raw.settimeout(HANGING)
    try:
        return raw.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_the_longest_waiting_connection_makes_room(client, connect, capfd):
    client.server.room = 3
    get = f"GET / HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()
    held = [connect(content) for content in (b"", b"GET /", get[:-2], b"POST /state ")]
    for _ in range(20):
        assert client.request("GET", "/")[0] == 200
        assert client.call("/state")["model"] == 0
    assert is_closed(held[0]) and is_closed(held[1])  # the others have found room
    assert capfd.readouterr().err == ""


def test_the_page_opens_beside_200_silent_connections(client, connect, monkeypatch):
    monkeypatch.setattr(connections, "IDLE", 2 * HANGING)  # none of them makes room
    silent = [connect() for _ in range(200)]
    assert client.request("GET", "/")[0] == 200 and client.call("/state")["model"] == 0
    assert len(silent) == 200


def test_requests_take_a_bounded_amount_of_memory(client, connect, monkeypatch):
    monkeypatch.setattr(connections, "MAX_HELD", 250_000)
    body = json.dumps({"some": "1"}).encode().ljust(100_000)
    held = [connect(head_of(client, body) + b"\r\n" + body[:-9]) for _ in range(5)]
    assert all(map(is_closed, held[:3]))
    for raw in held[3:]:
        raw.sendall(body[-9:])
        assert raw.recv(12) == b"HTTP/1.1 200"
    assert client.server.held == 0


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_connections_beyond_the_limit_of_files(client, capfd):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    get = f"GET / HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(60)]
        # The clients have theirs; the server gets a few.
        least = max(raw.fileno() for raw in held) + 10
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        for raw in held:
            raw.settimeout(HANGING)
            raw.connect(("127.0.0.1", client.port))
        held[-1].sendall(get)
        assert held[-1].recv(12) == b"HTTP/1.1 200"
        assert len(client.server.open) < 20 and is_closed(held[0])
    assert client.request("GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_client_that_does_not_read_its_answers_is_cut_off(client, connect, monkeypatch, capfd):
    monkeypatch.setattr(connections, "REQUEST", 0.5)
    get = f"GET / HTTP/1.1\r\nHost: {client.host}\r\n\r\n".encode()
    with suppress(ConnectionError):
        connect(get * 500)  # 200 MB of answers
    wait_until(lambda: not client.server.open)
    assert client.request("GET", "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_client_may_close_its_side_before_the_answer(client, connect):
    body = json.dumps({"some": "thing"}).encode()
    with connect((head_of(client, body) + b"\r\n" + body) * 3) as raw:
        raw.shutdown(socket.SHUT_WR)
        content = b""
        while part := raw.recv(1 << 16):
            content += part
    assert content.count(b"HTTP/1.1 200 OK") == 3


def test_a_client_may_ask_before_it_sends_a_body(client, connect):
    body = json.dumps({"some": "thing"}).encode()
    with connect(head_of(client, body) + b"Expect: 100-continue\r\n\r\n") as raw:
        assert raw.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.sendall(body)
        assert raw.recv(12) == b"HTTP/1.1 200"


def test_closing_leaves_no_thread_and_no_socket(trained, tmp_path):
    before = set(threading.enumerate())
    server = module.DemoServer(Session(trained, "a model", tmp_path, lambda: None))
    thread = threading.Thread(target=server.serve)
    thread.start()
    held = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(3)]
    server.close()
    thread.join(5)
    assert all(map(is_closed, held))
    for raw in held:
        raw.close()
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_browser_that_goes_away_is_no_error(client, capfd):
    body = json.dumps({"some": "thing"}).encode()
    head = head_of(client, body) + b"\r\n"
    for content in (head, head + body, head + body[:100], (head + body) * 20):
        raw = socket.create_connection(("127.0.0.1", client.port), HANGING)
        raw.setsockopt(
            socket.SOL_SOCKET,
            socket.SO_LINGER,
            struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0),
        )
        raw.sendall(content)
        raw.close()  # with a reset
    assert client.call("/state")["model"] == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError])
def test_a_failure_of_ours_is_told(client, monkeypatch, capfd, kind):
    def broken(request):
        raise kind("a mistake")

    monkeypatch.setattr(client.server.session, "state", broken)
    status, reply = client.post("/state")
    assert status == 500 and "terminal" in json.loads(reply)["error"] and b"mistake" not in reply
    assert client.request("GET", "/")[0] == 200
    assert f"{kind.__name__}: a mistake" in capfd.readouterr().err


def test_answers_to_many_at_once(client):
    faults = []

    def ask():
        try:
            for _ in range(6):
                facts, content = client.bytes_of("/test_image")
                image = client.server.session.data().test.images[facts["test"]]
                assert content == image.tobytes()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_one_connection_serves_many_requests(client):
    body = json.dumps({"some": "thing"}).encode()
    head = head_of(client, body)
    replies = exchange(
        client, (head + b"\r\n" + body) * 3 + head + b"Connection: close\r\n\r\n" + body
    )
    assert replies.count(b"HTTP/1.1 200 OK") == 4


def test_port_in_use_is_one_line(client, trained):
    with pytest.raises(
        module.PortError, match=rf"^--port must be free, got {client.port}: .*; use another port"
    ):
        module.DemoServer(client.server.session, client.port)
