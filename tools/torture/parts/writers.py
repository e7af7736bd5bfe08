"""Let several runs write to one folder, and plant links among their files.

Two or three runs get the same `--out` at about the same time: new ones with different seeds, or
resumed ones, one of which may be killed. One must succeed with its normal files; the others must
print one line and exit with code 2. Also, symbolic links to files of another folder are planted at
the names of files and temporary files, or the folder is replaced by a link during a run: no file
outside the folder may change.
"""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

from torture.campaign import Campaign
from torture.processes import Server, serve_processes
from torture.runs import EVENTS, HAS_TENSORBOARD, complaint, differences, snapshot, write_small_data

SEEDS = 3
PRECIOUS = b"what somebody else needs\n"
RUN_NAMES = ("config.json", "metrics.jsonl", "metrics.csv", "checkpoint.safetensors")
RUN_NAMES += ("model.safetensors", "summary.json", EVENTS)
LOCKS = (".lock", ".lenet5c.lock", "lock")
EVALUATION = ("evaluation.json", "evaluation.html", "confusion.png", "errors.png")


def run(campaign: Campaign) -> None:
    """Make attempts until the time is over."""
    if sys.platform == "win32":
        campaign.count("skipped: links need rights")
        return
    with campaign.folder() as folder, serve_processes() as server:
        runs = Runs(server, folder)
        kinds = (new_runs, mixed_runs, resumed_runs, planted_run, planted_output, exchanged_folder)
        for number, rng in campaign.tries():
            kind = kinds[rng.choice(len(kinds), p=(0.25, 0.15, 0.25, 0.2, 0.1, 0.05))]
            try:
                campaign.count(f"{kind.__name__}: {kind(runs, rng)}".replace("_", " "))
            except (AssertionError, TimeoutError) as error:
                where = f"{kind.__name__}: ".replace("_", " ")
                campaign.fail(number, where + str(error).replace(str(folder), ""))
            for name in ("out", "moved", "victim"):
                path = folder / name
                path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)


class Runs:
    """Small runs of a few seeds, with their final and intermediate files."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.out = server, folder, folder / "out"
        self.data = write_small_data(folder / "data")
        self.started = 0
        self.undisturbed: list[Path] = []
        self.begun: list[Path] = []
        for seed in range(SEEDS):
            began = time.monotonic()
            child = self.start(seed)
            assert child.wait() == 0, child.output()
            self.seconds = time.monotonic() - began
            self.undisturbed.append(self.out.rename(folder / f"undisturbed-{seed}"))
            self.begun.append(self.stop_early(seed))

    def stop_early(self, seed: int) -> Path:
        """Return the folder of a run that was killed after its first epoch or later."""
        while True:
            child = self.start(seed)
            while not (self.out / "metrics.csv").exists() and child.poll() is None:
                time.sleep(0.001)
            child.kill()
            if child.wait() != 0:
                return self.out.rename(self.folder / f"begun-{seed}")
            shutil.rmtree(self.out)

    def start(self, seed: int, *options: str):
        """Start a run of this seed."""
        self.started += 1
        words = ["train", "--out", self.out, "--data", self.data, "--train-size", "600"]
        words += ["--epochs", "4", "--no-report", "--seed", seed, "--threads", self.started % 2 + 1]
        words += ["--tensorboard"] if HAS_TENSORBOARD else []
        return self.server.start([*words, *options], self.folder / f"log-{self.started % 8}")

    def compete(self, rng: np.random.Generator, contestants: list[tuple]) -> str:
        """Start several (seed, options...) at short intervals, kill one at most; check files."""
        children = []
        together = rng.random() < 0.5
        for contestant in contestants:
            if together:
                children.append(self.start(*contestant))
                children[-1].kill(number=signal.SIGSTOP)
                continue
            if children and rng.random() < 0.5:  # as on a machine that is busy
                time.sleep(rng.uniform(0, self.seconds / 3))
                children[-1].kill(number=signal.SIGSTOP)
            children.append(self.start(*contestant))
            late = rng.random() < 0.3
            time.sleep(rng.uniform(0, self.seconds) if late else rng.exponential(0.004))
        for child in children:
            child.kill(number=signal.SIGCONT)
        killed = None
        if rng.random() < 0.3:
            killed = children[rng.integers(len(children))]
            time.sleep(rng.uniform(0, self.seconds / 2))
            killed.kill()
        winners = []
        for contestant, child in zip(contestants, children, strict=True):
            code, output = child.wait(), child.output()
            if child is killed and code < 0:
                continue
            if code == 0 and "results in" in output:
                winners.append(contestant[0])
            elif code == 0:  # the run was finished already
                assert "--resume" in contestant, f"exit code 0 without training: {output[-300:]}"
            else:
                assert code == 2, f"exit code {code}: {output[-500:]}"
                assert (wrong := complaint(output)) is None, wrong
        assert len(winners) <= 1, f"{len(winners)} have trained to the end"
        assert winners or (killed and killed.poll() != 0), "none has trained to the end"
        if (self.out / "config.json").exists():
            seed = json.loads((self.out / "config.json").read_text())["seed"]
            assert winners in ([], [seed]), f"config.json has seed {seed}, the winner {winners}"
            options = () if winners else ("--resume",)
        else:
            seed, options = contestants[0][0], ()
        if not winners:
            child = self.start(seed, *options)
            assert child.wait() == 0, child.output()
        found = differences(self.out, self.undisturbed[seed])
        assert not found, ", ".join(found)
        return f"{len(contestants)} at once{', one killed' if killed else ''}"


def new_runs(runs: Runs, rng: np.random.Generator) -> str:
    """Start two or three new runs with different seeds."""
    seeds = rng.permutation(SEEDS)[: rng.integers(2, 4)]
    return runs.compete(rng, [(int(seed),) for seed in seeds])


def mixed_runs(runs: Runs, rng: np.random.Generator) -> str:
    """Start a new run, and others that resume it."""
    seed = int(rng.integers(SEEDS))
    return runs.compete(rng, [(seed,), *[(seed, "--resume")] * int(rng.integers(1, 3))])


def resumed_runs(runs: Runs, rng: np.random.Generator) -> str:
    """Start two or three processes that resume a killed run."""
    seed = int(rng.integers(SEEDS))
    shutil.copytree(runs.begun[seed], runs.out)
    return runs.compete(rng, [(seed, "--resume")] * int(rng.integers(2, 4)))


def plant(folder: Path, victim: Path, names: tuple[str, ...], rng: np.random.Generator) -> str:
    """Put a link to an existing or missing file of another folder in a folder; return its name."""
    name = str(rng.choice(names))
    name = f".{name}.tmp" if name not in LOCKS and rng.random() < 0.6 else name
    victim.mkdir()
    (victim / "precious").write_bytes(PRECIOUS)
    folder.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim / ("precious" if rng.random() < 0.6 else "new"))
    return name


def check_victim(victim: Path, name: str) -> None:
    """Check that the other folder is unchanged."""
    assert snapshot(victim) == {"precious": PRECIOUS}, f"what {name} links to was changed"


def planted_run(runs: Runs, rng: np.random.Generator) -> str:
    """Plant a link in the folder of a new or a killed run."""
    seed, victim = int(rng.integers(SEEDS)), runs.folder / "victim"
    resumed = rng.random() < 0.5
    if resumed:
        shutil.copytree(runs.begun[seed], runs.out)
    name = plant(runs.out, victim, RUN_NAMES + LOCKS, rng)
    child = runs.start(seed, *(["--resume"] if resumed else []))
    code, output = child.wait(), child.output()
    check_victim(victim, name)
    if code == 0:
        found = set(differences(runs.out, runs.undisturbed[seed])) - {f"{name} is left over"}
        assert not found, f"{name}: {', '.join(found)}"
        return "a link did not matter"
    assert code in (1, 2), f"exit code {code} with {name}: {output[-500:]}"
    assert (wrong := complaint(output)) is None, wrong
    return "a link was refused"


def planted_output(runs: Runs, rng: np.random.Generator) -> str:
    """Plant a link where `evaluate` or `export` writes."""
    victim = runs.folder / "victim"
    if rng.random() < 0.5:
        name = plant(runs.out, victim, EVALUATION, rng)
        words = ["evaluate", "best", "--data", runs.data, "--out", runs.out, "--threads", "1"]
    else:
        name = plant(runs.out, victim, ("net.safetensors", "net.py"), rng)
        words = ["export", "best", "--to", "torch", "--out", runs.out / "net.safetensors"]
    child = runs.server.start(words, runs.folder / "log")
    code, output = child.wait(), child.output()
    check_victim(victim, name)
    assert code in (0, 1, 2), f"exit code {code} with {name}: {output[-500:]}"
    assert code == 0 or (wrong := complaint(output)) is None, wrong
    return "a link was refused" if code else "a link did not matter"


def exchanged_folder(runs: Runs, rng: np.random.Generator) -> str:
    """Exchange the folder of a run for a link to another one while it trains."""
    victim, moved = runs.folder / "victim", runs.folder / "moved"
    victim.mkdir()
    (victim / "precious").write_bytes(PRECIOUS)
    child = runs.start(0)
    while not (runs.out / "config.json").exists():
        time.sleep(0.001)
    time.sleep(rng.uniform(0, runs.seconds))
    if child.poll() is not None:
        return "too late"
    runs.out.rename(moved)
    runs.out.symlink_to(victim)
    code, output = child.wait(), child.output()
    # Files of the run's own names may come into it, as into any folder that a path leads to.
    there = snapshot(victim)
    assert there.pop("precious") == PRECIOUS, "a file of the other folder was changed"
    foreign = [name for name in there if name not in RUN_NAMES]
    assert not foreign, f"{foreign} are in the other folder"
    assert code in (0, 1, 2), f"exit code {code}: {output[-500:]}"
    assert code == 0 or (wrong := complaint(output)) is None, wrong
    return "a run failed" if code else "a run went on"
