"""Malicious HTTP clients of a demo, which must continue to serve others.

A real `lenet5c demo` gets bad connections from this machine: idle, slow, half-closed, reset,
garbage, oversized, pipelined, of the wrong host, token or type, and mutated valid ones. It begins
with as many simultaneous connections as open files are allowed, at most 10,000. Meanwhile a watcher
loads the page and sends a request, on a new connection each time. The demo must respond in time
(`--answer-within`, a second by default), use at most 300 MB, print no traceback, and release
threads and files.
"""

import http.client
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np

FLOOD, HELD = 10_000, 200
# Connections a second. What overflows the system's queue of a listener, 4,096, is tried again by
# the client's system after a second, whatever the server does.
RATE = 5000
ANSWERING = 1.0  # seconds, unless the campaign says otherwise
HANGING = 60.0  # seconds after which what does not come never will
MEMORY = 300  # MB
CALLS = (
    "start state weights test_image save_sample delete_sample read_samples read_picture "
    "stop_tuning revert_model keep_model"
)
# Values of a request's fields, as JSON.
VALUES = [
    *(
        "null",
        "true",
        "-1",
        "3",
        "1.5",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "9" * 400,
        "9" * 5000,
    ),
    *('""', '"\\ud800"', '"\\u0000"', "[]", "{}", "[[]]", '"AAAA"', json.dumps("A" * 1046 + "==")),
    *("[" * 900, "[" * 100_000, '{"a":' * 5000, f"[{','.join(['[0,0,1]'] * 2001)}]"),
    f"[[{','.join(['0.5'] * 60_000)}]]",
]
FIELDS = ("image", "label", "wrong", "epochs", "x" * 3000)


def run(campaign):
    """Flood a demo, then send it one bad connection after another."""
    with campaign.folder() as folder:
        with Demo(folder) as demo:
            demo.ask()
            before = demo.use()
            watcher = Watcher(demo, campaign.answer_within or ANSWERING)
            if campaign.only is None:
                flood(campaign, demo)
                report(campaign, watcher, "the flood")
            attack_until_the_end(campaign, demo, watcher)
            report(campaign, watcher, "single connections")
            watcher.stop()
            check_use(campaign, demo, before)
        if said := demo.errors.read_text(errors="replace"):
            campaign.fail(-1, f"the demo's terminal says {said[-1000:]!r}")


def attack_until_the_end(campaign, demo, watcher):
    """Make one bad connection after another."""
    held = deque(maxlen=HELD)
    for number, rng in campaign.tries():
        if fault := attack(campaign, demo, rng, held) or watcher.fault():
            campaign.fail(number, fault)
        if demo.process.poll() is not None:
            break
    for client in held:
        client.close()


def flood(campaign, demo):
    """Open thousands of bad connections at once, and hold them for a while."""
    rng = np.random.default_rng([campaign.seed, 1 << 32])
    most = max(100, min(FLOOD, raise_file_limit() - 200, int(200 * campaign.left)))
    contents = [make_content(demo, rng)[1] for _ in range(200)]
    clients, until = [], time.monotonic() + min(5.0, campaign.left / 2)
    began = time.perf_counter()
    for number in range(most):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        client = make_client(rng)
        client.setblocking(False)
        client.connect_ex(demo.address)
        clients.append(client)
    seconds = time.perf_counter() - began
    step = 0
    while step == 0 or time.monotonic() < until:
        for number, client in enumerate(clients):
            content = contents[number % len(contents)]
            with suppress(OSError):
                # Half of them at once, the others byte by byte.
                client.send(content if step == number % 2 == 0 else content[step : step + 1])
        step += 1
    campaign.attempts += most
    campaign.count("connections at once", most)
    print(f"http: {most:,} connections begun within {seconds:.1f} s", flush=True)
    for client in clients:
        client.close()


def attack(campaign, demo, rng, held):
    """Make one bad connection, and let one of the open ones send another byte."""
    kind, content = make_content(demo, rng)
    ending = ("close", "reset", "half-close", "read", "hold")[int(rng.integers(5))]
    campaign.count(f"connections: {kind}")
    with suppress(OSError):
        if held:
            held[int(rng.integers(len(held)))].send(rng.bytes(1))
    client = make_client(rng)
    client.settimeout(2)
    with suppress(OSError):
        client.connect(demo.address)
        client.sendall(content)
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif ending == "half-close":
            client.shutdown(socket.SHUT_WR)
        elif ending == "read":
            client.settimeout(0.05)
            if re.match(rb"HTTP/1.1 5(?!01|05)", client.recv(1 << 16)):
                return f"the demo fails at {kind}: {content[:500]!r}"
    if ending == "hold":
        client.setblocking(False)
        if len(held) == HELD:
            held[0].close()
        held.append(client)
    else:
        client.close()
    return None


def make_content(demo, rng):
    """Return a kind of bad request, and its bytes."""
    page = f"GET / HTTP/1.1\r\nHost: {demo.host}\r\n\r\n".encode()
    call = CALLS.split()[int(rng.integers(len(CALLS.split())))]
    fields = {
        FIELDS[int(i)]: VALUES[int(j)]
        for i, j in rng.integers(0, (len(FIELDS), len(VALUES)), (3, 2))
    }
    body = ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()
    valid = demo.post("test_image", b"{}")
    hostile = demo.post(call, body)
    kinds = {
        "idle": lambda: b"",
        "part of a head": lambda: valid[: int(rng.integers(1, valid.index(b"\r\n\r\n")))],
        "part of a body": lambda: valid[: -int(rng.integers(1, 50))],
        "garbage": lambda: rng.bytes(int(rng.integers(1, 5000))),
        "TLS": lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.bytes(500),
        "long line": lambda: b"GET /" + b"a" * int(rng.integers(1, 200_000)) + page[5:],
        "many headers": lambda: page[:-2] + b"X: y\r\n" * int(rng.integers(1, 20_000)) + b"\r\n",
        "long headers": lambda: page[:-2] + b"X: " + b"y" * int(rng.integers(1, 200_000)),
        "long body": lambda: demo.post(call, b" " * 5000, length=10 ** int(rng.integers(3, 30))),
        "large body": lambda: demo.post(call, body.ljust(int(rng.integers(1, 1 << 21)))),
        "pipelined pages": lambda: page * int(rng.integers(2, 200)),
        "pipelined calls": lambda: hostile * int(rng.integers(2, 10)),
        "another host": lambda: valid.replace(demo.host.encode(), b"evil.example"),
        "another token": lambda: valid.replace(demo.token.encode(), b"\xff" * 9),
        "another type": lambda: valid.replace(b"application/json", b"text/plain"),
        "another method": lambda: valid.replace(b"POST", (b"PUT", b"GET")[int(rng.integers(2))]),
        "hostile values": lambda: hostile,
        "mutated": lambda: mutate(hostile, rng),
        "mutated page": lambda: mutate(page, rng),
    }
    kind = list(kinds)[int(rng.integers(len(kinds)))]
    return kind, kinds[kind]()


def mutate(content, rng):
    """Return bytes with some changed, inserted, deleted or repeated."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(content)))
        way = int(rng.integers(4))
        if way == 0:
            content[at] = int(rng.integers(256))
        elif way == 1:
            content[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif way == 2:
            del content[at : at + int(rng.integers(1, 9))]
            content = content or bytearray(b"\r")
        else:
            content[at:at] = content[at : at + int(rng.integers(1, 99))]
    return bytes(content)


def make_client(rng):
    """Return a socket, bound to a random address of 127.0.0.0/8 if the system supports it."""
    client = socket.socket()
    if sys.platform == "linux":  # so that there are ports enough
        client.bind((f"127.{rng.integers(1, 255)}.{rng.integers(255)}.{rng.integers(1, 255)}", 0))
    return client


def raise_file_limit():
    """Return the maximum number of open files, after raising the limit."""
    try:
        import resource
    except ImportError:
        return 400  # of select
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FLOOD + 500 if hard == resource.RLIM_INFINITY else min(hard, FLOOD + 500)
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def report(campaign, watcher, during):
    """Print the response times of the page; record failures."""
    for name, times in watcher.take().items():
        campaign.count(f"answers of {name} during {during}", len(times))
        middle, most = 1e3 * statistics.median(times), 1e3 * max(times)
        print(f"http: during {during}, {name}: median {middle:.0f} ms, slowest {most:.0f} ms")
    if fault := watcher.fault():
        campaign.fail(-1, f"during {during}: {fault}")


def check_use(campaign, demo, before):
    """Compare the resources of the demo with those before."""
    if not before:
        campaign.count("skipped: memory, threads and files, as there is no /proc")
        return
    until = time.monotonic() + HANGING
    while any((after := demo.use())[name] > before[name] + 2 for name in ("threads", "files")):
        if time.monotonic() > until:
            campaign.fail(-1, f"the demo has {after}, before {before}")
            break
        time.sleep(0.1)
    print(f"http: {after['MB']} MB at most; {after['threads']} threads, {after['files']} files")
    if after["MB"] > MEMORY:
        campaign.fail(-1, f"the demo took {after['MB']} MB")


class Demo:
    """A demo in a separate process, ended with the context."""

    def __init__(self, folder):
        self.folder, self.errors = folder, folder / "errors.txt"

    def __enter__(self):
        """Start it, and load its page."""
        command = [sys.executable, "-m", "lenet5c", "demo", "--no-browser", "--samples", "samples"]
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.address = "127.0.0.1", int(re.search(r":(\d+)/", self.process.stdout.readline())[1])
        self.host = f"127.0.0.1:{self.address[1]}"
        page, _ = self.ask(answer=False)
        self.token = re.search(rb'name="token" content="([\w-]+)"', page)[1].decode()
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        try:
            self.process.communicate(timeout=HANGING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def post(self, call, body, length=None):
        """Return a request such as the page sends."""
        return (
            f"POST /{call} HTTP/1.1\r\nHost: {self.host}\r\nOrigin: http://{self.host}\r\n"
            f"Content-Type: application/json\r\nX-Lenet5c-Token: {self.token}\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
        ).encode() + body

    def ask(self, answer=True):
        """Load the page and request a response; return the page and the seconds of both."""
        times = {}
        client = http.client.HTTPConnection(*self.address, timeout=HANGING)
        try:
            began = time.perf_counter()
            client.request("GET", "/")
            page = client.getresponse().read()
            times["the page"] = time.perf_counter() - began
            if answer:
                began = time.perf_counter()
                client.sock.sendall(self.post("test_image", b"{}"))
                reply = http.client.HTTPResponse(client.sock, method="POST")
                reply.begin()
                assert reply.status == 200 and b'"label"' in reply.read(), reply.status
                times["a test image"] = time.perf_counter() - began
        finally:
            client.close()
        return page, times

    def use(self):
        """Return the peak of its memory, its threads and its files; {} without /proc."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            files = len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        except OSError:
            return {}
        values = dict(re.findall(r"^(VmHWM|Threads):\s+(\d+)", status, re.MULTILINE))
        return {"MB": int(values["VmHWM"]) >> 10, "threads": int(values["Threads"]), "files": files}


class Watcher(threading.Thread):
    """Sends requests to a demo repeatedly and measures the times, limited to `most` seconds."""

    def __init__(self, demo, most):
        super().__init__(daemon=True)
        self.demo, self.most, self.ended = demo, most, threading.Event()
        self.times, self.faults = {}, deque()
        self.start()

    def run(self):
        """Send requests until stopped."""
        while not self.ended.wait(0.02):
            try:
                _, times = self.demo.ask()
            except Exception as error:
                self.faults.append(f"the page does not answer: {type(error).__name__} {error}")
                continue
            for name, seconds in times.items():
                self.times.setdefault(name, []).append(seconds)
                if seconds > self.most:
                    self.faults.append(f"{name} answers after {seconds:.1f} s")

    def take(self):
        """Return the times since the last call."""
        times, self.times = self.times, {}
        return times

    def fault(self):
        """Return a failure since the last call, or None."""
        return self.faults.popleft() if self.faults else None

    def stop(self):
        """End, and wait for the end."""
        self.ended.set()
        self.join()
