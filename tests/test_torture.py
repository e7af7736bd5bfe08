"""The torture campaign: each part runs briefly, and detects errors.

LENET5C_TORTURE_SECONDS is the time of each part, by default 4 seconds. Fuzzing, whose readers want
some seconds each, has four times as long. A weekly job gives an hour to each.
"""

import json
import os
import subprocess
import sys
import types
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from processes import HANGING
from torture import __main__ as command
from torture.campaign import Campaign
from torture.parts import files, kills, soak, writers
from torture.processes import CAN_FORK, serve_processes
from torture.runs import differences, write_small_data
from torture.shim import compile_shim

SECONDS = float(os.environ.get("LENET5C_TORTURE_SECONDS", 4))
#: Times as long as the others.
LONGER = {"fuzz": 4}

linux = pytest.mark.skipif(not CAN_FORK, reason="commands are forked on Linux only")


def run_part(folder, name, *options, seconds=SECONDS):
    """Run a part like a user, but on a machine that may be busy.

    Return the finished process and the figures.
    """
    figures = folder / f"{name}.json"
    words = [Path(command.__file__).parent, name, "--minutes", seconds / 60, "--json", figures]
    words += ["--answer-within", HANGING]
    done = subprocess.run(
        [sys.executable, *map(str, words), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + HANGING,
    )
    return done, json.loads(figures.read_text())[name] if figures.exists() else None


@pytest.mark.parametrize("name", command.PARTS)
def test_part(name, tmp_path):
    seconds = SECONDS * LONGER.get(name, 1)
    done, figures = run_part(tmp_path, name, seconds=seconds)
    # A busy machine may not have begun an attempt of the fuzzer.
    while figures and not (figures["attempts"] or figures["failures"] or is_skipped(figures)):
        assert seconds < HANGING, done.stdout
        seconds *= 4
        done, figures = run_part(tmp_path, name, seconds=seconds)
    assert done.returncode == 0 and figures["failures"] == [], done.stdout
    if figures["attempts"] == 0:
        pytest.skip(next(what for what in figures["counts"] if what.startswith("skipped: ")))


def is_skipped(figures):
    return any(what.startswith("skipped: ") for what in figures["counts"])


def test_attempts_are_those_of_the_seed():
    def draws(**options):
        attempts = Campaign("name", 60, **options).tries()
        return [(number, rng.random()) for number, rng in islice(attempts, 5)]

    every = draws(seed=3)
    assert [number for number, _ in every] == [0, 1, 2, 3, 4]
    assert draws(seed=3, only=3) == every[3:4] and draws(seed=3) == every != draws(seed=4)


def test_one_attempt_alone(tmp_path):
    done, figures = run_part(tmp_path, "soak", "--only", 100, "--seed", 2, seconds=60)
    assert done.returncode == 0, done.stdout
    assert figures["attempts"] == 1 and figures["failures"] == []
    again = run_part(tmp_path, "soak", "--only", 100, "--seed", 2, seconds=60)[1]
    assert {name for name in again["counts"] if "memory" not in name} == {
        name for name in figures["counts"] if "memory" not in name
    }


@pytest.mark.parametrize(
    "part, code",
    [
        (lambda campaign: campaign.fail(0, "it broke") or next(campaign.tries()), 1),
        (lambda campaign: None, 1),
        (lambda campaign: campaign.count("skipped: no compiler"), 0),
        (lambda campaign: list(campaign.tries(most=3)), 0),
    ],
    ids=["a failure", "no attempt", "skipped", "well"],
)
def test_exit_code(monkeypatch, capsys, part, code):
    module = types.SimpleNamespace(run=part, __doc__="Nothing.")
    monkeypatch.setitem(sys.modules, "torture.parts.none", module)
    monkeypatch.setattr(command, "PARTS", ["none"])
    monkeypatch.setattr(sys, "argv", ["torture", "none"])
    assert command.main() == code
    assert capsys.readouterr().out.startswith("none: ")


WRITES = """
import os
from pathlib import Path

from lenet5c._files import write_bytes

def atomic(out):
    Path(out).mkdir(exist_ok=True)
    try:
        write_bytes(Path(out) / "file", b"new" * 100)
    except OSError as error:
        print(f"write: error: {error}")
        return 1

def in_place(out):
    Path(out).mkdir(exist_ok=True)
    try:
        with open(Path(out) / "file", "wb", buffering=0) as file:
            file.write(b"new" * 50)
            file.write(b"new" * 50)
    except OSError as error:
        print(f"write: error: {out}: {error}")
        return 1

def nameless(out):
    Path(out).mkdir(exist_ok=True)
    try:
        write_bytes(Path(out) / "file", b"new" * 100)
    except OSError as error:
        print(f"write: error: {error.strerror}")
        return 1

def silent(out):
    Path(out).mkdir(exist_ok=True)
    try:
        write_bytes(Path(out) / "file", b"new" * 100)
    except OSError:
        pass
"""


@linux
@pytest.mark.parametrize(
    "function, found",
    [
        ("atomic", set()),
        ("in_place", {"is half written"}),
        ("nameless", {"no name"}),
        ("silent", {"exit code 0 without a warning"}),
    ],
)
def test_files_finds(tmp_path, function, found):
    library = compile_shim(tmp_path)
    if isinstance(library, str):
        pytest.skip(library)
    (tmp_path / "own_writes.py").write_text(WRITES)
    (tmp_path / "before").mkdir()
    (tmp_path / "before" / "file").write_bytes(b"old")
    out = tmp_path / "out"
    words = [f"@own_writes:{function}", out]
    scenario = files.Scenario(function, words, tmp_path / "before", out)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    failures = []
    with serve_processes({"LD_PRELOAD": str(library), "PYTHONPATH": path}) as server:
        files.record(server, tmp_path, scenario)
        for _, at, fault in scenario.cases():
            try:
                files.visit(server, tmp_path, scenario, at, fault)
            except AssertionError as error:
                failures.append(f"{fault} at {scenario.operations[at - 1]}: {error}")
    assert all(any(each in failure for failure in failures) for each in found), failures
    assert found or not failures, failures


def test_kills_finds_another_byte(tmp_path):
    campaign = Campaign("kills", 600, seed=0)
    data = write_small_data(tmp_path / "data")
    with serve_processes() as server:
        known = kills.Undisturbed(campaign, server, tmp_path, data, group=0)
        while not campaign.counts["by SIGKILL"]:
            kills.attempt(campaign, server, tmp_path, known, np.random.default_rng())
        assert not campaign.failures
        with open(known.folder / "model.safetensors", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
        with pytest.raises(AssertionError, match=r"^model\.safetensors differs$"):
            kills.attempt(campaign, server, tmp_path, known, np.random.default_rng(0))


def test_differences(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, seconds in ((here, 1.5), (there, 2.5)):
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"seconds": seconds, "test_correct": 9}))
        (folder / "model.safetensors").write_bytes(b"model")
    assert differences(here, there) == []
    (here / ".model.tmp").touch()
    (there / "metrics.csv").touch()
    (here / "summary.json").write_text(json.dumps({"seconds": 1, "test_correct": 8}))
    assert differences(here, there) == [
        "metrics.csv is missing",
        ".model.tmp is left over",
        "summary.json differs",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights")
def test_writers_finds_a_link_that_is_followed(tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim"
    name = writers.plant(out, victim, ("file",), np.random.default_rng(0))
    writers.check_victim(victim, name)
    with open(out / name, "ab") as file:
        file.write(b"more")
    with pytest.raises(AssertionError, match=name):
        writers.check_victim(victim, name)


class Leaking:
    """Functions that leave files open, or whose results vary."""

    def __init__(self, folder):
        self.folder, self.kept = folder, []

    def all(self):
        return [self.descriptors, self.temporary_files, self.bits]

    def descriptors(self, variant):
        self.kept.append(open(os.devnull))  # noqa: SIM115
        return ""

    def temporary_files(self, variant):
        (self.folder / "left").touch()
        return ""

    def bits(self, variant):
        self.kept.append(None)
        return str(len(self.kept))


def test_soak_finds_leaks(tmp_path):
    campaign, pieces = Campaign("soak", 600, seed=0), Leaking(tmp_path)
    campaign.tries = partial(campaign.tries, most=30)  # 18 of them to warm up
    soak.soak(campaign, pieces, tmp_path)
    for file in filter(None, pieces.kept):
        file.close()
    text = "\n".join(campaign.failures)
    assert "temporary files ['left']" in text and "bits, variant 0: other bits" in text
    if Path("/proc/self/fd").exists():
        assert "descriptors" in text.partition("after the warm-up")[0]
    small = soak.Usage(memory=1 << 30, descriptors=5, threads=2)
    large = soak.Usage(memory=(1 << 30) + soak.ALLOWED + 1, descriptors=5, threads=3)
    assert len(small.exceeded(large)) == 2 and small.exceeded(small) == large.exceeded(small) == []
