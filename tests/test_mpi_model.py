"""The model of a step on several machines, and the simulated network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mpi_model import Model, Step, each, merge, predict, step_of
from mpi_programs import find_mpiexec
from processes import HANGING
from simulated_network import Link, joined, probe

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
# Seconds: a batch of shards, a tile, the sums of a tile, a second thread; a call, round trips, and
# the seconds of a byte.
TRUE = {"step": 4e-5, "tile": 3e-4, "sum": 2e-5, "thread": 1e-5}
TRUE_EXCHANGE = {"call": 9e-5, "trips": 1.5, "byte": 1e-10}
LINKS = [[10000.0, 0.0], [1000.0, 0.5]]
BATCHES = [64, 256, 1024, 2048]


def make_record(links, batches):
    """Return measurements that are exactly those of a model."""
    cases = []
    for ranks, threads, link in [(1, 1, None), (1, 2, None), (2, 1, None)] + [
        (2, 1, link) for link in links
    ]:
        rows = []
        for batch in batches:
            parts = max(1, batch // 1024)
            row = {"batch": batch, "bytes": [batch * 3500 // parts] * parts} if ranks > 1 else {}
            row["batch"] = batch
            case = {"ranks": ranks, "threads": threads, "link": link, "tcp": {}}
            step = step_of(case, row)
            busy = sum(a * b for a, b in zip(step.computing(), TRUE.values(), strict=True))
            row |= {"busy": [busy, busy], "wall": [busy, busy]}
            if link:
                factors = zip(step.exchange(), TRUE_EXCHANGE.values(), strict=True)
                between = step.fixed() + sum(a * b for a, b in factors)
                row |= {"exchange": [between, between], "wall": [busy + between] * 2}
            rows.append(row)
        cases.append(case | {"batches": rows})
    return {
        "machine": "a machine",
        "date": "2026-11-30",
        "turns": 1,
        "fitted_links": LINKS,
        "fitted_batches": BATCHES,
        "cases": cases,
    }


@pytest.fixture
def record():
    return make_record([*LINKS, [2500.0, 0.2]], [*BATCHES, 128, 512])


def test_the_fit_finds_the_coefficients_and_predicts_the_rest(record):
    model = Model(record["cases"], LINKS, BATCHES)
    for name, value in (TRUE | TRUE_EXCHANGE).items():
        assert getattr(model, name) == pytest.approx(value, rel=1e-6)
    for case, row in each(record["cases"]):
        assert model.seconds(step_of(case, row)) == pytest.approx(row["wall"][0], rel=1e-6)


def test_quantities_of_a_step():
    alone = Step(256, 1, 1)
    assert alone.computing() == [1, 16, 16, 0]
    assert Step(256, 1, 3).computing() == [1, 6, 16 / 3, 1]  # of 16 shards a thread takes 6
    assert Step(64, 8, 1, Link(0, 1000), 8000).computing() == [1, 1, 4, 0]  # 4 shards
    apart = Step(2048, 4, 2, Link(1, 1000), 4e6)
    assert apart.computing() == [2, 2 * 2 * 4, 64, 2]
    assert apart.received == 3e6 and apart.exchange() == [2, 2 * 1e-3 * 3, 3e6]
    assert apart.fixed() == pytest.approx((3e6 - 2 * 32768) / 125e6)


def test_a_slow_network_does_not_pay(record):
    model = Model(record["cases"], LINKS, BATCHES)
    one = predict(model, 1024, 1, 1, 1)
    assert predict(model, 1024, 2, 1, 1) > one > predict(model, 1024, 2, 1, 100)


def test_the_command_reads_measurements_and_draws(record, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "m.json").write_text(json.dumps(record))
    printed = run_model(tmp_path, "--read", "m.json", "--picture", "m.png")
    assert "2 machines, 2.5 Gbit/s, 0.2 ms" in printed
    assert "Error of the step, not fitted: median 0 %, largest 0 %" in printed
    assert (tmp_path / "m.png").stat().st_size > 10_000


def test_of_several_measurements_the_least_count(record):
    other = make_record(LINKS, [64, 256])
    other["cases"][0]["batches"][1]["busy"] = [1e-3, 2e-3]
    other["cases"][3]["batches"][0]["wall"] = [9.0, 9.0]
    before = record["cases"][3]["batches"][0]["wall"]
    merged = merge([record, other])
    assert merged["turns"] == 2 and len(merged["cases"]) == 6
    assert merged["cases"][0]["batches"][1]["busy"][0] == 1e-3
    assert merged["cases"][3]["batches"][0]["wall"] == before
    with pytest.raises(SystemExit, match="the machines differ"):
        merge([record, other | {"machine": "another"}])


def run_model(folder, *arguments):
    """Run the benchmark in a folder; return what it prints."""
    command = [sys.executable, str(BENCHMARKS / "mpi_model.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs_namespaces():
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))):
        pytest.skip("network namespaces need Linux, root, ip and tc")
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("there are no TUN devices")


@pytest.mark.parametrize("link", [Link(0, 1000), Link(20, 1000)], ids=str)
def test_a_link_has_its_delay(link):
    needs_namespaces()
    with joined(link) as machines:
        before = machines.bytes_sent()
        trips, _ = probe(machines)
        assert machines.bytes_sent() - before > 32 << 20
    assert min(trips) >= 2 * link.seconds
    assert not [name for name in machines.names if Path("/run/netns", name).exists()]


def test_measurements_over_a_link(tmp_path):
    needs_namespaces()
    if find_mpiexec() is None:
        pytest.skip("there is no mpiexec that runs mpi4py")
    few = ["--turns", "1", "--batches", "32", "64", "128", "256", "--check-batches", "48"]
    links = ["--links", "10000:0", "1000:0.5", "--check-links", "2500:0.2"]
    run_model(tmp_path, *few, *links, "--json", "m.json")
    record = json.loads((tmp_path / "m.json").read_text())
    assert len(record["cases"]) == 6
    assert all(len(case["batches"]) == 5 for case in record["cases"])
    assert all(row["bytes"] for case in record["cases"][2:] for row in case["batches"])
