"""Let each file operation of a command fail or be the last; then continue, and compare all files.

A shim for LD_PRELOAD counts the operations of a command in its folder: training with event file, a
resumed training, the pictures and report of a run, `evaluate --out`, `export`, the contact sheet of
`data inspect`, the demo's samples and kept model, a download; and those in the folders of data and
of a model that are read. Then each operation is visited with each fault that fits: a kill before or
after it or in the middle of a write, an error, a short read or write, an interrupted call, a disk
that is full or read-only from then on. After it every file must be old, new or whole, an error must
be one line with the name of a file, and the command once more without faults must end with the same
bytes as undisturbed. When all are visited, the part ends before its time.
"""

import errno
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from lenet5c._files import digest, read_tensors
from lenet5c.errors import RunError
from torture.campaign import Campaign
from torture.processes import Server, serve_processes
from torture.runs import (
    EVENTS,
    HAS_TENSORBOARD,
    REPORT,
    complaint,
    differences,
    same,
    snapshot,
    write_small_data,
)
from torture.shim import compile_shim

KILLS = ("kill-before", "kill-after")
LASTING = ("full", "readonly")
HARMLESS = ("short", "EINTR")  # after which all goes on as if nothing had been
SPACE = ("ENOSPC", "EIO")
#: Operation -> faults that it can have.
FAULTS = {
    "open": ("kill-before", "EIO", "EMFILE", "EACCES", "EINTR"),
    "open-write": (*KILLS, *SPACE, *LASTING, "EROFS", "EACCES", "EMFILE", "EINTR"),
    "read": ("kill-before", "EIO", "EINTR", "short"),
    "write": (*KILLS, "torn", *SPACE, "EDQUOT", *LASTING, "EINTR", "short"),
    "fsync": (*KILLS, *SPACE, "EINTR"),
    "ftruncate": (*KILLS, "EIO", "readonly", "EINTR"),
    "close": ("kill-after", *SPACE),
    "rename": (*KILLS, *SPACE, *LASTING, "EROFS", "EACCES"),
    "link": (*KILLS, *SPACE, "EROFS"),
    "unlink": (*KILLS, "EIO", "EROFS", "EACCES"),
    "mkdir": (*KILLS, *SPACE, *LASTING, "EROFS", "EACCES"),
    "flock": ("kill-before", "EIO", "ENOLCK", "EINTR"),
}
SAME_AS = {
    **dict.fromkeys(("pread", "pread64", "readv"), "read"),
    **dict.fromkeys(("pwrite", "pwrite64", "writev"), "write"),
    **dict.fromkeys(("renameat",), "rename"),
    **dict.fromkeys(("linkat", "symlink"), "link"),
    **dict.fromkeys(("unlinkat", "rmdir"), "unlink"),
    **dict.fromkeys(("ftruncate64", "truncate"), "ftruncate"),
    **dict.fromkeys(("fdatasync", "fchmod"), "fsync"),
    **dict.fromkeys(("mkdirat",), "mkdir"),
}


@dataclass
class Scenario:
    """A command, its output folder, and the content before and after.

    Parameters
    ----------
    name : str
    words : list
        The command.
    before : Path or None
        A folder to begin with; None for none.
    out : Path
    watched : Path, optional
        The folder whose operations are counted, if not `out`.
    resumes : bool
        Whether it is a run, to go on with by ``--resume``.
    """

    name: str
    words: list
    before: Path | None
    out: Path
    watched: Path | None = None
    resumes: bool = False
    after: Path | None = None
    operations: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Restore the initial content of the folder."""
        shutil.rmtree(self.out, ignore_errors=True)
        if self.before is not None:
            shutil.copytree(self.before, self.out)

    def again(self) -> list:
        """Return the command that continues after a fault."""
        run = self.resumes and (self.out / "config.json").exists()
        return [*self.words, *(["--resume"] if run and "--resume" not in self.words else [])]

    def cases(self) -> list[tuple["Scenario", int, str]]:
        """Return (self, number of the operation, fault) of all cases."""
        return [
            (self, number, fault)
            for number, operation in enumerate(self.operations, 1)
            for fault in FAULTS[name_of(operation)]
        ]


def run(campaign: Campaign) -> None:
    """Visit operations in random order until all are done, or the time is over."""
    with campaign.folder() as folder:
        library = compile_shim(folder)
        if isinstance(library, str):
            campaign.count(f"skipped: {library}")
            return
        with serve_processes({"LD_PRELOAD": str(library)}) as server, serve_file(folder) as url:
            scenarios = make_scenarios(folder, server, url)
            cases = [case for scenario in scenarios for case in scenario.cases()]
            for scenario in scenarios:
                campaign.count(f"operations: {scenario.name}", len(scenario.operations))
            campaign.count("cases in all", len(cases))
            order = np.random.default_rng(campaign.seed).permutation(len(cases))
            for number, _ in campaign.tries(most=len(cases)):
                scenario, at, fault = cases[order[number]]
                try:
                    campaign.count(visit(server, folder, scenario, at, fault))
                except (AssertionError, TimeoutError) as error:
                    operation = scenario.operations[at - 1].replace(str(folder), "")
                    where = f"{scenario.name}, {fault} at {at} ({operation})"
                    campaign.fail(number, f"{where}: {str(error).replace(str(folder), '')}")


def make_scenarios(folder: Path, server: Server, url: str) -> list[Scenario]:
    """Return the commands, with their operations and results without faults."""
    data, out = write_small_data(folder / "data", 600, 200), folder / "out"
    tensorboard = ["--tensorboard"] if HAS_TENSORBOARD else []
    small = ["--epochs", "2", "--train-size", "300", "--keep", "best", "--validation", "50"]
    train = ["train", "--data", data, "--out", out, "--threads", "1", *small]
    scenarios = [Scenario("train", [*train, *tensorboard, "--no-report"], None, out, resumes=True)]
    record(server, folder, scenarios[0])
    finished = scenarios[0].after
    # In the middle: a run that was killed after the checkpoint of its first epoch.
    place = next(
        number
        for number, operation in enumerate(scenarios[0].operations, 1)
        if operation.startswith("rename") and "checkpoint" in operation
    )
    started(server, folder, scenarios[0], place, "kill-after").wait()
    begun = out.rename(folder / "begun")
    resume = [*train, *tensorboard, "--no-report", "--resume"]
    scenarios.append(Scenario("resume", resume, begun, out, resumes=True))
    if REPORT:
        scenarios.append(Scenario("report", [*train, "--resume"], finished, out, resumes=True))
    other = folder / "older"
    evaluate = ["evaluate", finished, "--data", data, "--out", out, "--threads", "1"]
    server.start(["evaluate", "best", "--data", data, "--out", other], folder / "log").wait()
    scenarios += [Scenario("evaluate", evaluate, None, out)]
    scenarios += [Scenario("evaluate again", evaluate, other, out)]
    for form, name in (("c", "net.c"), ("torch", "net.safetensors"), ("onnx", "net.onnx")):
        words = ["export", finished, "--to", form, "--out", out / name]
        exported = folder / f"exported-{form}"
        exported.mkdir()
        server.start(["export", "best", *words[2:-1], exported / name], folder / "log").wait()
        if any(exported.iterdir()):
            scenarios.append(Scenario(f"export to {form}", words, exported, out))
    empty = folder / "empty"
    empty.mkdir()
    sheet = ["data", "inspect", data, "--contact-sheet", out / "sheet.png"]
    scenarios.append(Scenario("contact sheet", sheet, empty, out))
    here = f"@{__name__}"
    keep = [f"{here}:save_and_keep", out, finished / "model.safetensors"]
    scenarios.append(Scenario("demo", keep, None, out))
    fetch = [f"{here}:download", out, url, digest(folder / "served" / "file.bin")]
    scenarios.append(Scenario("download", fetch, empty, out))
    words = [*train, "--no-report"]
    scenarios.append(Scenario("data", words, None, out, watched=data, resumes=True))
    words = ["evaluate", finished, "--data", data, "--threads", "1"]
    scenarios.append(Scenario("model", words, empty, out, watched=finished))
    for scenario in scenarios[1:]:
        record(server, folder, scenario)
    return [scenario for scenario in scenarios if scenario.operations]


def record(server: Server, folder: Path, scenario: Scenario) -> None:
    """Run a command without faults; record its operations and its folder."""
    scenario.prepare()
    child = started(server, folder, scenario, 0, "")
    if child.wait() != 0:
        raise RuntimeError(f"{scenario.name} fails undisturbed: {child.output()[-2000:]}")
    scenario.operations = tuple((folder / "operations").read_text().splitlines())
    scenario.after = folder / f"after-{scenario.name}".replace(" ", "-")
    scenario.out.rename(scenario.after)


def started(server: Server, folder: Path, scenario: Scenario, at: int, fault: str):
    """Start a command with a fault at one of its operations."""
    (folder / "operations").unlink(missing_ok=True)
    environment = {
        "TORTURE_FOLDER": str(scenario.watched or scenario.out),
        "TORTURE_AT": str(at),
        "TORTURE_FAULT": str(getattr(errno, fault, fault)),
        "TORTURE_LOG": str(folder / "operations"),
    }
    return server.start(scenario.words, folder / "log", environment)


def visit(server: Server, folder: Path, scenario: Scenario, at: int, fault: str) -> str:
    """Let an operation fail; return the outcome, raise AssertionError if it is wrong."""
    scenario.prepare()
    child = started(server, folder, scenario, at, fault)
    code, output = child.wait(), child.output()
    log = folder / "operations"
    reached = len(log.read_text().splitlines()) if log.exists() else 0
    assert reached >= at, f"it was not reached; exit code {code}: {output[-300:]}"
    name = name_of(scenario.operations[at - 1])
    killed = fault in (*KILLS, "torn")
    what = "killed" if killed else "went on" if code == 0 else "failed"
    if killed:
        assert code == -signal.SIGKILL, f"exit code {code}: {output[-300:]}"
    elif fault in HARMLESS:
        assert code == 0, f"exit code {code}: {output[-300:]}"
    elif code == 0:
        check_success(scenario, output, name == "unlink" or fault in LASTING, fault == "readonly")
    else:
        # What cannot be opened or made at the beginning may as well be bad use.
        assert code in (1, 2), f"exit code {code}: {output[-300:]}"
        assert (wrong := complaint(output)) is None, wrong
        line = next(line for line in output.splitlines() if ": error: " in line)
        named = (str(scenario.out), str(scenario.watched or scenario.out))
        assert any(path in line for path in named), f"no name: {line}"
    may_remain = killed or name == "unlink" or fault in LASTING
    check_whole(scenario, may_remain)
    child = server.start(scenario.again(), folder / "log")
    code = child.wait()
    assert code == 0, f"once more: exit code {code}: {child.output()[-500:]}"
    found = differences_in(scenario)
    left = [each for each in found if each.endswith("is left over")]
    assert not set(found) - set(left), f"once more: {', '.join(found)}"
    if left and may_remain and not scenario.resumes:
        return f"{what}, a temporary file is left"
    assert not left, f"once more: {', '.join(left)}"
    return what


def check_success(scenario: Scenario, output: str, may_remain: bool, readonly: bool) -> None:
    """Check that a command whose operation failed has lost nothing, or has warned."""
    assert "Traceback" not in output, output[-800:]
    # Without its mark, a downloaded file is merely checked again; a lock holds nobody up.
    harmless = (
        ".checked is missing",
        *([".lenet5c.lock is left over"] if may_remain else []),
        *([".tmp is left over"] if readonly else []),  # nothing can be removed there
    )
    if found := [each for each in differences_in(scenario) if not each.endswith(harmless)]:
        lines = [line for line in output.splitlines() if ": warning: " in line]
        assert lines, f"exit code 0 without a warning, but {', '.join(found)}"


def check_whole(scenario: Scenario, may_remain: bool) -> None:
    """Check that every file is as before, as after or, in a run, of an intermediate state."""
    before, after = (snapshot(each) if each else {} for each in (scenario.before, scenario.after))
    for name, content in snapshot(scenario.out).items():
        hidden = name.rpartition("/")[2].startswith(".")  # temporary files, and locks
        if (scenario.name == "download" and ".part" in name) or (hidden and may_remain):
            continue
        if name not in before and name not in after:
            raise AssertionError(f"{name} is left over")
        if content != before.get(name) and not (name in after and same(name, content, after[name])):
            expected = after.get(name, b"")
            whole = scenario.resumes and is_of_a_run(scenario.out / name, content, expected)
            assert whole, f"{name} is half written"


def is_of_a_run(path: Path, content: bytes, expected: bytes) -> bool:
    """Return whether the file of a run is a valid intermediate state."""
    if path.name in ("metrics.jsonl", "metrics.csv"):
        return expected.startswith(content) and content[-1:] in (b"", b"\n")
    if path.name == "checkpoint.safetensors":
        with suppress(RunError):
            read_tensors(path, "checkpoint")
            return True
    return path.name == EVENTS  # it grows, and `--resume` cuts off what is half written


def differences_in(scenario: Scenario) -> list[str]:
    """Return the differences from the folder of the command without faults."""
    if scenario.resumes:
        return differences(scenario.out, scenario.after)
    here, there = snapshot(scenario.out), snapshot(scenario.after)
    found = [f"{name} is missing" for name in there.keys() - here.keys()]
    found += [f"{name} is left over" for name in here.keys() - there.keys()]
    pairs = {name: (here[name], there[name]) for name in here.keys() & there.keys()}
    return found + [f"{name} differs" for name, pair in pairs.items() if not same(name, *pair)]


def name_of(operation: str) -> str:
    """Return the key in FAULTS of a line of the shim's log."""
    name = operation.split(" ", 1)[0]
    return SAME_AS.get(name, name)


def save_and_keep(out: str, model: str) -> int:
    """Save a sample in the demo and keep its tuned model."""
    from lenet5c.commands.cli import EXPECTED, fail_with
    from lenet5c.demo.session import Session
    from lenet5c.training import open_model

    try:
        trained = open_model(model)
        session = Session(trained, "model", Path(out) / "samples", lambda: None)
        session.samples._next_name = lambda: "20260101-000000-000000.png"  # without the time
        if not sum(session.samples.counts()):
            session.samples.save(np.zeros((1, 28, 28), np.uint8), 3)
        session.use(replace(trained))  # as a tuned one
        if not list(Path(out).glob("*.safetensors")):
            session.keep_model({})
    except EXPECTED as error:
        fail_with("demo", error)
        return 1
    return 0


def download(out: str, url: str, sha256: str) -> int:
    """Fetch a file into the cache."""
    from lenet5c.commands.cli import EXPECTED, fail_with
    from lenet5c.datasets.download import RetryPolicy, fetch
    from lenet5c.datasets.registry import RemoteFile

    try:
        file = RemoteFile("file.bin", (url,), sha256, 4000)
        fetch(file, Path(out), retry=RetryPolicy(pause=0.01))
    except EXPECTED as error:
        return fail_with("download", error)
    return 0


@contextmanager
def serve_file(folder: Path) -> Iterator[str]:
    """Serve a file small enough for a single write; yield its address."""
    served = folder / "served"
    served.mkdir()
    (served / "file.bin").write_bytes(np.random.default_rng(0).bytes(4000))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = partial(Handler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file.bin"
        finally:
            server.shutdown()
