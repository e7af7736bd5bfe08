"""TensorBoard files: readable by TensorBoard, and without repeated epochs after a stop."""

import errno
import io
import json
import os
import sys

import pytest
from processes import run_python

from lenet5c import _files
from lenet5c.errors import MissingExtraError
from lenet5c.training.event_file import EventFile


def rows(count):
    return [
        {
            "epoch": n,
            "step": 9 * n,
            "lr": 0.1,
            "train_loss": 1 / n,
            "train_accuracy": 0.5,
            "validation_loss": 2 / n,
            "validation_accuracy": 0.25,
        }
        for n in range(1, count + 1)
    ]


@pytest.fixture
def read():
    """Return a function that reads a folder with TensorBoard: tag -> [(step, value), ...]."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def scalars(folder):
        events = accumulator.EventAccumulator(str(folder), purge_orphaned_data=False)
        events.Reload()
        return {
            tag: [(each.step, each.value) for each in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }

    return scalars


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("tensorboard")
    return tmp_path / "events.out.tfevents.lenet5c"


def test_tags_and_steps(path, read):
    events = EventFile(path)
    events.begin([])
    for row in rows(3):
        events.add(row)
    scalars = read(path.parent)
    assert set(scalars) == {
        "Loss/train",
        "Loss/val",
        "Accuracy/train",
        "Accuracy/val",
        "Learning rate",
    }
    assert scalars["Loss/train"] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert scalars["Accuracy/val"] == [(1, 0.25), (2, 0.25), (3, 0.25)]
    events.add({"epoch": 4, "test_accuracy": 0.75, "train_loss": float("nan"), "lr": 1e300})
    assert read(path.parent)["Accuracy/test"] == [(4, 0.75)]


def test_going_on_keeps_what_was_written(path, read):
    events = EventFile(path)
    events.begin([])
    for row in rows(2):
        events.add(row)
    before = path.read_bytes()
    again = EventFile(path)
    again.begin(rows(2))
    assert path.read_bytes() == before
    again.add(rows(3)[-1])
    assert path.read_bytes().startswith(before)
    assert [step for step, _ in read(path.parent)["Loss/val"]] == [1, 2, 3]


@pytest.mark.parametrize("known", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-30],
        lambda data: data + b"\0" * 40,
        lambda data: data[:60] + b"x" + data[61:],
        lambda data: b"",
        lambda data: data,
    ],
)
def test_a_file_that_does_not_fit_the_history_is_mended(path, read, known, damage):
    events = EventFile(path)
    events.begin([])
    for row in rows(2):
        events.add(row)
    path.write_bytes(damage(path.read_bytes()))
    events = EventFile(path)
    events.begin(rows(known))
    events.add(rows(known + 1)[-1])
    assert [step for step, _ in read(path.parent)["Accuracy/train"]] == list(range(1, known + 2))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_error_while_it_is_read_has_its_name(path, monkeypatch):
    events = EventFile(path)
    events.begin(rows(1))

    def fail(reader):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(events._readers.PyRecordReader_New, "GetNext", fail)
    with pytest.raises(OSError) as raised:
        events.begin(rows(1))
    assert raised.value.filename == str(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_links_are_not_followed_and_pipes_not_waited_for(path):
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    events = EventFile(path)
    for use in (lambda: events.begin(rows(1)), lambda: events.add(rows(1)[0])):
        with pytest.raises(OSError) as caught:
            use()
        assert caught.value.filename == str(path)
    assert victim.read_bytes() == b"precious"
    path.unlink()
    os.mkfifo(path)
    for use in (lambda: events.begin(rows(1)), lambda: events.add(rows(1)[0])):
        with pytest.raises(OSError, match="not a regular file"):
            use()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_said_with_the_name(path, monkeypatch):
    """As on systems that report it when writing, without a file name."""
    events = EventFile(path)
    events.begin([])
    monkeypatch.setattr(_files, "open_to_change", lambda path: open("/dev/full", "r+b", 0))  # noqa: SIM115
    monkeypatch.setattr(io, "SEEK_END", io.SEEK_SET)
    with pytest.raises(OSError) as caught:
        events.add(rows(1)[0])
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))


def test_an_interrupted_call_goes_on(path, monkeypatch):
    """Python's own truncate of a file does not."""
    EventFile(path).begin(rows(3))
    monkeypatch.setattr(_files, "open_to_change", lambda path: NoTruncate(path, "r+"))
    EventFile(path).begin(rows(2))
    assert [event.step for event in EventFile(path)._read()] == [0, 1, 2]


class NoTruncate(io.FileIO):
    def truncate(self, size=None):
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


def test_a_file_that_has_these_epochs_is_not_opened_for_writing(path, monkeypatch):
    EventFile(path).begin(rows(2))
    monkeypatch.setattr(_files, "open_to_change", None)
    EventFile(path).begin(rows(2))


def test_tensorflow_is_not_even_asked_for(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from lenet5c.training.event_file import EventFile\n"
        f"events = EventFile({str(tmp_path / 'tfevents')!r}); events.begin([])\n"
        f"events.add({rows(1)[0]!r})\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"pip install 'lenet5c\[tensorboard\]'"):
        EventFile(tmp_path / "tfevents")
    code = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "from lenet5c.__main__ import main\n"
        "sys.exit(main(['train', '--epochs', '1', '--tensorboard', "
        f"'--out', {str(tmp_path / 'run')!r}]))"
    )
    done = run_python(code)
    assert (
        done.returncode == 2
        and len(done.stderr.splitlines()) == 1
        and "lenet5c[tensorboard]" in done.stderr
    )
    assert done.stdout == "" and not (tmp_path / "run").exists()


def train(*arguments):
    done = run_python(
        "import sys; from lenet5c.__main__ import main; sys.exit(main(['train', *sys.argv[1:]]))",
        "--no-report",
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_runs_with_and_without_it_are_one_run(tmp_path, read, idx_files):
    """A run is stopped, resumed without the option, and then its file is continued.

    A file can be asked for later.
    """
    pytest.importorskip("tensorboard")
    options = ["--data", idx_files, "--validation", "0.1", "--epochs", "3", "--batch-size", "100"]
    plain, run = tmp_path / "plain", tmp_path / "run"
    train(*options, "--out", plain)
    code = (
        "import os, sys\n"
        "from lenet5c.training.event_file import EventFile\n"
        "real = EventFile.add\n"
        "def add(self, row):\n"
        "    real(self, row)\n"
        "    if row['epoch'] == 2: os._exit(9)\n"
        "EventFile.add = add\n"
        "from lenet5c.__main__ import main\n"
        "main(['train', *sys.argv[1:]])"
    )
    assert run_python(code, *options, "--out", run, "--tensorboard").returncode == 9
    assert [step for step, _ in read(run)["Loss/val"]] == [1, 2]
    train("--resume", "--out", run)
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scalars = read(run)
    assert scalars["Loss/val"] == [
        (row["epoch"], pytest.approx(row["validation_loss"])) for row in history
    ]
    for name in ("metrics.jsonl", "metrics.csv", "model.safetensors", "config.json"):
        assert (run / name).read_bytes() == (plain / name).read_bytes()
    train("--resume", "--out", plain, "--tensorboard")
    assert read(plain) == scalars
