"""Model the time of a training step on several machines, fitted to measurements over TCP.

    python benchmarks/mpi_model.py [--turns 60] [--json FILE] [--picture FILE]
    python benchmarks/mpi_model.py --read FILE … [--json FILE] [--picture FILE]

Measures steps of LeNet-5 with Adam for one process with 1 and 2 threads, 2 ranks with shared
memory, and 2 ranks in two network namespaces that communicate by MPI over TCP, for several batch
sizes and links (`simulated_network.py`; requires Linux, root and MPICH). Fits the model to some of
the measurements and predicts the held-out ones, --check-links and --check-batches. --json saves the
measurements. --read uses saved measurements instead of measuring; from several files it takes the
minimum over all turns, which helps on a busy machine. The model gives the seconds of a step on R
machines with P threads each, for a batch of B images:

    tiles     = B / 16, in n batches of at most 1,024 images, of 16 shards each
    computing = n · step + tile · (tiles of the busiest thread) + sum · tiles / P  [+ n · thread]
    received  = (R - 1) / R · what all ranks exchange
    exchange  = n · (call + trips · delay · rounds) + (received - burst) / rate + byte · received

`tile` is the forward and backward pass of a tile, `sum` the work of each machine for every tile of
the batch: the gradients of linear layers. `thread` is added if P > 1. `call` and `byte` are the
processor time of MPI and TCP. Delay, rate and burst (of the token bucket) are properties of the
link. The number of rounds is R - 1, as in the ring algorithm by which MPICH gathers. Computing is
fitted to the processor time of single-threaded processes, without waiting, and exchange to separate
measurements of exchanges. Both use the minimum over all turns and relative errors. `thread` is the
smallest excess of a step on two threads. Steps on two machines are therefore predictions: only
their parts were fitted.
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from datetime import datetime
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
from common import Table, machine, make_parser, positive
from mpi import find_mpiexec
from simulated_network import Link, joined, probe

LANES, SHARDS, SHARD_TILES = 16, 16, 4
WORKER = Path(__file__).with_name("mpi_worker.py")
# The setting used by `lenet5c train`.
WAITING = {"GOMP_SPINCOUNT": "2000"}
# Networks for the predictions: rate in Gbit/s to delay in ms.
NETWORKS = {1: 0.05, 10: 0.02, 100: 0.005}
MACHINES = 1, 2, 4, 8, 16
IMAGES, MANY = 8_000_000, 16


def link(text):
    """Parse RATE:DELAY, in Mbit/s and ms."""
    rate, _, delay = text.partition(":")
    return Link(float(delay or 0), float(rate))


def measure(case, batches, turns):
    """Measure a case, (ranks, threads, link or None).

    Returns a dict with the measurements for each batch size, and of the link by plain TCP.
    """
    ranks, threads, over = case
    command = [sys.executable, WORKER, threads, turns, *batches]
    with nullcontext() if over is None else joined(over) as machines:
        found, before = {}, 0
        if machines:
            trips, rate = probe(machines)
            found, before = {"round_trip": min(trips), "rate": rate}, machines.bytes_sent()
            command = machines.mpiexec(find_mpiexec(), *command)
        elif ranks > 1:
            command = [find_mpiexec(), "-n", ranks, *command]
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            env=os.environ | WAITING,
            start_new_session=True,
        )
        if done.returncode:
            sys.exit(done.stderr.strip() or f"the worker ended with code {done.returncode}")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if machines:
            least = turns * sum(sum(row["bytes"]) * row["steps"] // 2 for row in rows)
            if machines.bytes_sent() - before < least:
                sys.exit(
                    f"only {machines.bytes_sent() - before:,} bytes of {least:,} took the link"
                )
    for row in rows:
        for name in ("wall", "busy", "exchange"):
            if name in row:
                ordered = sorted(row[name])
                row[name] = [round(float(ordered[i]), 9) for i in (0, len(ordered) // 2)]
    return {
        "ranks": ranks,
        "threads": threads,
        "link": None if over is None else [over.rate, over.delay],
        "tcp": found,
        "batches": rows,
    }


class Step:
    """Regressors of the model for a step: batch, machines, threads of each, and their link."""

    def __init__(self, batch, machines, threads, over=None, exchanged=None, shared=1):
        tiles = ceil(batch / LANES)
        self.parts = ceil(tiles / (SHARDS * SHARD_TILES))
        of_part = ceil(tiles / self.parts)
        shards = min(of_part, SHARDS)
        busiest = ceil(ceil(shards / (machines * shared)) / threads)
        self.own = self.parts * busiest * of_part / shards
        self.summed = tiles / (threads * shared)
        self.threads, self.machines, self.over = threads, machines, over
        self.received = (machines - 1) / machines * (exchanged or 0)

    def computing(self):
        """Return the factors of the coefficients step, tile, sum and thread."""
        return [self.parts, self.own, self.summed, self.parts * (self.threads > 1)]

    def fixed(self):
        """Return the seconds of an exchange spent on transmission beyond the burst."""
        burst = self.parts * self.over.burst if self.over.burst < self.received else 0
        return (self.received - burst) / self.over.bytes_per_second

    def exchange(self):
        """Return the factors of the coefficients call, trips and byte."""
        rounds = self.machines - 1
        return [self.parts, self.parts * self.over.seconds * rounds, self.received]


def solve(rows, seconds, offsets=0.0):
    """Return the nonnegative coefficients that minimize the sum of squared relative errors."""
    seconds = np.asarray(seconds, float)
    rows = np.asarray(rows, float) / seconds[:, None]
    wanted = (seconds - offsets) / seconds
    best = None
    for chosen in product((True, False), repeat=rows.shape[1]):
        kept = np.flatnonzero(chosen)
        values = np.zeros(rows.shape[1])
        if len(kept):
            values[kept] = np.linalg.lstsq(rows[:, kept], wanted, rcond=None)[0]
        error = float(np.square(rows @ values - wanted).sum())
        if (values >= 0).all() and (best is None or error < best[0]):
            best = error, values
    return best[1]


class Model:
    """The model, with coefficients fitted to some of the measured cases."""

    def __init__(self, cases, links, batches):
        computing, threaded, exchange = [], [], []
        self.bytes = {}
        for case, row in each(cases):
            step = step_of(case, row)
            self.bytes[row["batch"]] = sum(row.get("bytes", [0])) or self.bytes.get(row["batch"])
            if row["batch"] not in batches or (case["link"] and case["link"] not in links):
                continue
            if case["threads"] > 1:
                threaded.append((step.computing(), row["wall"][0]))
            else:
                computing.append((step.computing()[:-1], row["busy"][0]))
            if case["link"]:
                exchange.append((step.exchange(), row["exchange"][0], step.fixed()))
        self.step, self.tile, self.sum = known = solve(*zip(*computing, strict=True))
        # Other load only slows a step down, so the smallest remainder is due to the threads.
        left = [(seconds - np.dot(row[:-1], known)) / row[-1] for row, seconds in threaded]
        self.thread = max(0.0, min(left))
        self.call, self.trips, self.byte = solve(*zip(*exchange, strict=True))

    def computing(self, step):
        return float(np.dot(step.computing(), (self.step, self.tile, self.sum, self.thread)))

    def exchange(self, step):
        if step.machines == 1:
            return 0.0
        return step.fixed() + float(np.dot(step.exchange(), (self.call, self.trips, self.byte)))

    def seconds(self, step):
        return self.computing(step) + self.exchange(step)

    def exchanged(self, batch):
        """Return the bytes that all ranks exchange in a step, extrapolated if not measured."""
        largest = max(size for size, count in self.bytes.items() if count)
        return self.bytes.get(batch) or self.bytes[largest] * batch / largest


def each(cases):
    for case in cases:
        for row in case["batches"]:
            yield case, row


def step_of(case, row):
    """Return the `Step` of a measurement."""
    if not case["link"]:
        return Step(row["batch"], 1, case["threads"], shared=case["ranks"])
    rate, delay = case["link"]
    return Step(row["batch"], 2, 1, Link(delay, rate), sum(row["bytes"]))


def merge(records):
    """Merge measurements into the first record, taking the minimum over all turns."""
    first, *others = records
    for other in others:
        if other["machine"] != first["machine"]:
            sys.exit(f"the machines differ: {first['machine']}, {other['machine']}")
        first["turns"] += other["turns"]
        found = {(name_of(case), row["batch"]): row for case, row in each(other["cases"])}
        for case, row in each(first["cases"]):
            more = found.get((name_of(case), row["batch"]), row)
            for name in ("wall", "busy", "exchange"):
                if name in row:
                    row[name] = [min(row[name][0], more[name][0]), row[name][1]]
    return first


def name_of(case):
    if case["link"]:
        return f"2 machines, {Link(case['link'][1], case['link'][0])}"
    if case["ranks"] > 1:
        return f"{case['ranks']} ranks, one machine"
    return f"1 process x {case['threads']}"


def compare(model, record):
    """Print measured and predicted steps; return (measured, predicted, fitted, linked) for each."""
    print(
        "Coefficients: step {:.1f} µs, tile {:.1f} µs, sum {:.2f} µs, thread {:.1f} µs; call "
        "{:.1f} µs, trips {:.2f}, byte {:.3f} ns\n".format(
            *(1e6 * value for value in (model.step, model.tile, model.sum, model.thread)),
            *(1e6 * model.call, model.trips, 1e9 * model.byte),
        )
    )
    table = Table(
        {"": 36, "batch": 6, "computing": 9, "model": 7, "exchange": 9, "model ": 7}
        | {"step, ms": 9, " model": 7, "error": 7, "fitted": 6}
    )
    points, parts = [], {}
    for case, row in each(record["cases"]):
        step = step_of(case, row)
        seen = row["batch"] in record["fitted_batches"] and (
            not case["link"] or case["link"] in record["fitted_links"]
        )
        predicted, taken = model.seconds(step), row["wall"][0]
        busy = [row["busy"][0], model.computing(step)] if case["threads"] == 1 else []
        between = [row["exchange"][0], model.exchange(step)] if case["link"] else []
        for name, pair in (
            ("computing", busy),
            ("exchange", between),
            ("step", [taken, predicted]),
        ):
            if pair:
                parts.setdefault((name, seen), []).append(abs(pair[1] / pair[0] - 1))
        cells = [f"{1e3 * value:.2f}" for value in busy] or ["", ""]
        cells += [f"{1e3 * value:.2f}" for value in between] or ["", ""]
        table.row(
            *(name_of(case), row["batch"], *cells, f"{1e3 * taken:.2f}", f"{1e3 * predicted:.2f}"),
            *(f"{100 * (predicted / taken - 1):+.0f} %", "parts" if seen else "no"),
        )
        points.append((taken, predicted, seen, bool(case["link"])))
    print()
    for name, seen in product(("computing", "exchange", "step"), (True, False)):
        errors = parts.get((name, seen), [0.0])
        print(
            f"Error of the {name}, {'parts fitted' if seen else 'not fitted'}: median "
            f"{100 * np.median(errors):.0f} %, largest {100 * max(errors):.0f} % of {len(errors)}"
        )
    print()
    return points


def predict(model, batch, machines, threads, rate):
    return model.seconds(
        Step(batch, machines, threads, Link(NETWORKS[rate], 1e3 * rate), model.exchanged(batch))
    )


def plan(model):
    """Print the networks, batch sizes and numbers of machines for which parallel training pays."""
    print("Speed of R machines, by that of one; the best number of machines in brackets")
    table = Table(
        {"Gbit/s": 6, "threads": 7, "batch": 6} | {f"R = {count}": 7 for count in MACHINES[1:]}
    )
    for rate, threads, batch in product(NETWORKS, (1, 8), (64, 256, 1024)):
        one = predict(model, batch, 1, threads, rate)
        speeds = {count: one / predict(model, batch, count, threads, rate) for count in MACHINES}
        best = max(speeds, key=speeds.get)
        cells = [
            f"[{speed:.2f}]" if count == best else f"{speed:.2f}"
            for count, speed in speeds.items()
            if count > 1
        ]
        table.row(rate, threads, batch, *cells)
    print("\nSmallest batch at which several machines are faster than one, and the best at 1,024")
    table = Table({"Gbit/s": 6, "threads": 7, "from batch": 10, "machines": 8, "speed": 5})
    for rate, threads in product(NETWORKS, (1, 2, 4, 8)):
        found = (
            batch
            for batch in (16, 32, 64, 128, 256, 512, 1024)
            if predict(model, batch, 2, threads, rate) < predict(model, batch, 1, threads, rate)
        )
        one = predict(model, 1024, 1, threads, rate)
        speeds = {count: one / predict(model, 1024, count, threads, rate) for count in MACHINES}
        best = max(speeds, key=speeds.get)
        table.row(rate, threads, next(found, "none"), best, f"{speeds[best]:.2f}")
    print(f"\nSeconds of an epoch of {IMAGES:,} images at batch 1,024")
    table = Table({"Gbit/s": 6, "threads": 7, "1 machine": 9, f"{MANY} machines": 11})
    for rate, threads in product(NETWORKS, (1, 8)):
        steps = ceil(IMAGES / 1024)
        times = [steps * predict(model, 1024, count, threads, rate) for count in (1, MANY)]
        table.row(rate, threads, *(f"{value:.0f}" for value in times))


def draw(model, points, path):
    """Plot predicted against measured steps, and speed against the number of machines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    kinds = [
        (False, True, "one machine", "o", "#8d99ae"),
        (True, True, "two, parts fitted", "s", "#1b2a41"),
        (True, False, "two, not fitted", "D", "#d1495b"),
    ]
    for linked, seen, label, marker, color in kinds:
        chosen = [p for p in points if p[3] == linked and (p[2] == seen or not linked)]
        if chosen:
            left.plot(
                *([1e3 * p[i] for p in chosen] for i in (0, 1)),
                *(marker,),
                color=color,
                label=label,
                markersize=5,
                alpha=0.85,
            )
    ends = [1e3 * min(p[0] for p in points) * 0.8, 1e3 * max(p[0] for p in points) * 1.25]
    left.plot(ends, ends, color="#8d99ae", linewidth=0.8)
    left.set(xscale="log", yscale="log", xlabel="measured step, ms", ylabel="predicted step, ms")
    left.legend(frameon=False, fontsize=8)
    left.set_title("Steps of LeNet-5 with Adam", fontsize=10)
    colors = {1: "#d1495b", 10: "#edae49", 100: "#1b2a41"}
    counts, fastest = range(1, MANY + 1), 1.0
    for rate, threads in product(NETWORKS, (1, 8)):
        one = predict(model, 1024, 1, threads, rate)
        speeds = [one / predict(model, 1024, count, threads, rate) for count in counts]
        fastest = max(fastest, *speeds)
        label = f"{rate} Gbit/s, {threads} thread{'s' * (threads > 1)}"
        style = "-" if threads == 1 else "--"
        right.plot(counts, speeds, style, color=colors[rate], label=label, linewidth=1.5)
    right.axhline(1, color="#8d99ae", linewidth=0.8)
    right.set(xlabel="machines", ylabel="speed, by that of one machine", ylim=(0, 1.45 * fastest))
    right.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    right.set_title("Predicted at batch 1,024", fontsize=10)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main():
    parser = make_parser(__doc__)
    add = parser.add_argument
    fitted = [Link(0, 10000), Link(0.5, 1000)]
    checked = [Link(0, 5000), Link(0.2, 500)]
    add("--turns", type=positive, default=60, metavar="N", help="(default: %(default)s)")
    add("--links", type=link, nargs="+", default=fitted, metavar="MBIT:MS")
    add("--check-links", type=link, nargs="+", default=checked, metavar="MBIT:MS")
    add("--batches", type=positive, nargs="+", default=[64, 256, 1024, 2048], metavar="N")
    add("--check-batches", type=positive, nargs="+", default=[128, 512], metavar="N")
    add("--json", metavar="FILE", help="write the measurements")
    add("--read", nargs="+", metavar="FILE", help="read measurements instead of measuring")
    add("--picture", metavar="FILE", help="plot the model, with matplotlib")
    options = parser.parse_args()
    if options.read:
        record = merge([json.loads(Path(file).read_text()) for file in options.read])
    else:
        alone = [(1, 1, None), (1, 2, None), (2, 1, None)]
        links = [*options.links, *options.check_links]
        cases = alone + [(2, 1, over) for over in links]
        batches = sorted([*options.batches, *options.check_batches])
        record = {
            "machine": machine({}),
            "date": datetime.now().strftime("%Y-%m-%d"),
            "turns": options.turns,
            "fitted_links": [[over.rate, over.delay] for over in options.links],
            "fitted_batches": options.batches,
            "cases": [measure(case, batches, options.turns) for case in cases],
        }
    if options.json:
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
    print(f"{record['machine']}; {record['date']}, least of {record['turns']} turns")
    for case in record["cases"]:
        if case["tcp"]:
            tcp = case["tcp"]
            print(
                f"{name_of(case)}: by TCP alone a round trip of {1e6 * tcp['round_trip']:.0f} µs, "
                f"{8e-9 * tcp['rate']:.2f} Gbit/s"
            )
    model = Model(record["cases"], record["fitted_links"], record["fitted_batches"])
    points = compare(model, record)
    plan(model)
    if options.picture:
        draw(model, points, options.picture)


if __name__ == "__main__":
    main()
