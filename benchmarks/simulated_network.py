"""Simulate two machines for MPI over TCP: network namespaces joined by a link.

    python benchmarks/simulated_network.py [--delay 0.5] [--rate 1000]

Prints the round-trip time and throughput of a TCP connection over a link with the given delay and
rate. `mpi_model.py` trains over such links. Requires Linux, root, `ip` and `tc`. The rate is
enforced at both ends by the kernel's token bucket filter (tbf). Without a delay, the link is a pair
of virtual Ethernet devices (veth). With a delay, the ends are TUN devices, and a relay process
forwards each packet after the delay, because not every kernel supports `tc netem`.
"""

import argparse
import ctypes
import fcntl
import json
import os
import select
import shlex
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

DEVICE = "link0"
ADDRESSES = "10.213.7.1", "10.213.7.2"
MTU = 9000
# Minimum burst size of the token bucket in bytes, and in seconds at the full rate. With a smaller
# burst, late timers reduce the rate.
BURST, BURST_SECONDS = 32 << 10, 50e-6
HEADER = 200
PORT = 5201
# Constants from linux/if_tun.h and sys/prctl.h.
TUNSETIFF, IFF_TUN, IFF_NO_PI, PR_SET_TIMERSLACK = 0x400454CA, 0x0001, 0x1000, 29
TRIPS, SENT = 200, 32 << 20


@dataclass(frozen=True)
class Link:
    """A network link with a one-way delay in milliseconds and a rate in Mbit/s."""

    delay: float
    rate: float

    @property
    def seconds(self):
        return self.delay / 1e3

    @property
    def bytes_per_second(self):
        return self.rate * 1e6 / 8

    @property
    def burst(self):
        return max(BURST, int(BURST_SECONDS * self.bytes_per_second))

    def __str__(self):
        rate = f"{self.rate / 1e3:g} Gbit/s" if self.rate >= 1000 else f"{self.rate:g} Mbit/s"
        return f"{rate}, {self.delay:g} ms" if self.delay else rate


@dataclass
class Machines:
    """The two namespaces of a link, in which processes can be started."""

    names: tuple
    folder: Path
    environment: dict = field(default_factory=dict)

    def inside(self, number, *command):
        """Return a command that runs in a namespace."""
        return ["ip", "netns", "exec", self.names[number], *map(str, command)]

    def mpiexec(self, mpiexec, *command):
        """Return an MPICH command that starts one process per namespace, connected by the link."""
        launcher = self.folder / "launch"
        start = " ".join(map(shlex.quote, self.inside(1, "sh", "-c")))
        launcher.write_text(
            # Called like ssh: options, the host, the words of a command.
            f'#!/bin/sh\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\nshift\nexec {start} "$*"\n'
        )
        launcher.chmod(0o755)
        # Without these, UCX would use shared memory instead of the link.
        only = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": DEVICE, "FI_TCP_IFACE": DEVICE}
        words = [f"{name}={value}" for name, value in (self.environment | only).items()]
        return self.inside(
            *(0, "env", *words, mpiexec),
            *("-launcher", "ssh", "-launcher-exec", launcher, "-iface", DEVICE),
            *("-hosts", ",".join(ADDRESSES), "-ppn", 1, "-n", 2, *command),
        )

    def bytes_sent(self):
        """Return the number of bytes that the first machine has sent over the link."""
        shown = run(*self.inside(0, "ip", "-s", "-j", "link", "show", DEVICE))
        return json.loads(shown)[0]["stats64"]["tx"]["bytes"]


def run(*command):
    """Run a command and return its output; exit with its error message if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def joined(link):
    """Context manager for two machines connected by a link."""
    with ExitStack() as held:
        names = tuple(f"lenet5c-{os.getpid()}-{number}" for number in range(2))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        for name in names:
            run("ip", "netns", "add", name)
            held.callback(run, "ip", "netns", "del", name)
        machines = Machines(names, folder)
        if link.delay:
            relay = [sys.executable, __file__, "--relay", str(link.seconds), *names]
            child = held.enter_context(
                subprocess.Popen(relay, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            held.callback(child.stdin.close)  # the relay ends when its input is closed
            if child.stdout.readline() != "ready\n":
                sys.exit("the relay of the link has failed")
        else:
            ends = "vnet" + names[0][-8:], "vnet" + names[1][-8:]
            run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for end, name in zip(ends, names, strict=True):
                run("ip", "link", "set", end, "netns", name, "name", DEVICE)
        for number, address in enumerate(ADDRESSES):
            for command in (
                "ip link set lo up",
                f"ip link set {DEVICE} mtu {MTU} txqueuelen 10000 up",
                f"ip addr add {address}/24 dev {DEVICE}",
                f"tc qdisc add dev {DEVICE} root tbf rate {link.rate:g}mbit burst {link.burst} "
                "latency 200ms",
            ):
                run(*machines.inside(number, *command.split()))
        yield machines


def relay(seconds, *names):
    """Forward packets between TUN devices in two namespaces with a delay of `seconds`."""
    ends = []
    for number, name in enumerate(names):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        device = f"tun{number}-{os.getpid()}"
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
        run("ip", "link", "set", device, "netns", name)
        run("ip", "netns", "exec", name, "ip", "link", "set", device, "name", DEVICE)
        ends.append(end)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    with suppress(OSError):  # run with priority over the communicating processes
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print("ready", flush=True)
    waiting = {end: deque() for end in ends}
    other = dict(zip(ends, reversed(ends), strict=True))
    control = sys.stdin.fileno()
    clock = time.perf_counter
    while True:
        due = min((queue[0][0] for queue in waiting.values() if queue), default=None)
        pause = None if due is None else max(0.0, due - clock())
        readable, _, _ = select.select([control, *ends], [], [], pause)
        if control in readable:
            return
        for end in readable:
            with suppress(BlockingIOError):
                while True:
                    packet = os.read(end, MTU + HEADER)
                    waiting[other[end]].append((clock() + seconds, packet))
        for end, queue in waiting.items():
            while queue and queue[0][0] <= clock():
                with suppress(OSError):  # the end is not up yet
                    os.write(end, queue.popleft()[1])


SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("ready", flush=True)
    peer, _ = server.accept()
    with peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(int(sys.argv[3])):
            peer.send(peer.recv(1))
        left = int(sys.argv[4])
        while left:
            left -= len(peer.recv(min(left, 1 << 20)))
        peer.send(b"1")
"""
CLIENT = """
import json, socket, sys, time
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
trips = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    peer.send(b"1"); peer.recv(1)
    trips.append(time.perf_counter() - began)
began = time.perf_counter()
peer.sendall(bytes(int(sys.argv[4]))); peer.recv(1)
print(json.dumps([trips, time.perf_counter() - began]))
"""


def probe(machines):
    """Measure round-trip times in seconds, and the rate of a long transfer in bytes per second."""
    numbers = PORT, TRIPS, SENT
    command = machines.inside(1, sys.executable, "-c", SERVER, ADDRESSES[1], *numbers)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        server.stdout.readline()
        command = machines.inside(0, sys.executable, "-c", CLIENT, ADDRESSES[1], *numbers)
        trips, seconds = json.loads(run(*command))
    return trips, SENT / seconds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--delay", type=float, default=0.5, metavar="MS", help="(default: %(default)s)")
    add("--rate", type=float, default=1000, metavar="MBIT", help="(default: %(default)s)")
    options = parser.parse_args()
    link = Link(options.delay, options.rate)
    with joined(link) as machines:
        trips, rate = probe(machines)
    print(
        f"{link}: round trip least {1e6 * min(trips):.0f} / median "
        f"{1e6 * statistics.median(trips):.0f} µs, {8e-9 * rate:.2f} Gbit/s"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--relay"]:
        relay(float(sys.argv[2]), *sys.argv[3:])
    else:
        main()
