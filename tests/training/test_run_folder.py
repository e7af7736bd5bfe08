"""The folder of a run: one run at a time, files of one run only, and no special files."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from unittest.mock import MagicMock

import pytest
from own_files import RUN_FILES, SUMMARY, change_record, change_tensors
from processes import HANGING

from lenet5c import _files
from lenet5c.datasets import Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, train
from lenet5c.recipes.run import open_run
from lenet5c.training import open_model
from lenet5c.training.run_folder import RunFolder, read_record, recorded_accuracy

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


@pytest.fixture
def source(mnist_slice):
    return Source(*mnist_slice)


@pytest.fixture
def finished(source, tmp_path):
    """Return a function that makes the folder of a finished run of a seed."""

    def make(seed=0, name="run"):
        train(RunConfig.named("fast", epochs=1, seed=seed, folder=tmp_path / name), source)
        return tmp_path / name

    return make


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def resume(folder, source):
    return train(RunConfig.read(RunFolder(folder)), source, resume=True)


def test_one_run_at_a_time(source, tmp_path):
    """A second run, new or resumed, reports who is using the folder, and changes nothing."""
    config = RunConfig.named("fast", epochs=1, folder=tmp_path / "run")
    seen = []

    def on_start(trainer, config):
        before = contents(config.folder)
        assert before[".lenet5c.lock"] == b"%d\n" % os.getpid()
        for resumed in (False, True):
            with pytest.raises(RunError, match="one run at a time") as caught:
                train(config, source, resume=resumed)
            seen.append(str(caught.value))
        assert contents(config.folder) == before

    train(config, source, on_start=on_start)
    assert len(seen) == 2 and f"which process {os.getpid()} is using; wait for it" in seen[0]
    assert set(contents(config.folder)) == RUN_FILES
    with pytest.raises(RunError, match="already holds a run"):
        train(config, source)
    assert set(contents(config.folder)) == RUN_FILES


def test_of_many_that_start_at_once_one_wins(tmp_path):
    """Each is a process; all files in the folder are of one of them."""
    code = (
        "import sys; from lenet5c.__main__ import main; seed = sys.argv[1]\n"
        "sys.stdin.read(1)\n"
        "sys.exit(main(['train', '--seed', seed, '--epochs', '1', '--train-size', '500', "
        "'--validation', '0', '--out', sys.argv[2], '--no-report', '--quiet']))"
    )
    command = [sys.executable, "-c", code]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [
        subprocess.Popen([*command, str(seed), str(tmp_path / "run")], **pipe) for seed in range(4)
    ]
    for process in processes:
        process.stdin.write(b"x")
        process.stdin.flush()
    ends = [(*process.communicate(timeout=HANGING), process.returncode) for process in processes]
    codes = [code for _, _, code in ends]
    assert sorted(codes) == [0, 2, 2, 2], ends
    for _, errors, code in ends:
        assert code == 0 or b"one run at a time" in errors or b"already holds a run" in errors
        assert len(errors.splitlines()) == (code != 0)
    winner = codes.index(0)
    folder = RunFolder(tmp_path / "run")
    assert folder.read_config()["seed"] == folder.read_summary()["seed"] == winner
    assert set(contents(folder.path)) == RUN_FILES


def test_threads_that_take_and_release_the_lock_never_hold_it_together(tmp_path):
    """Also if one opens the lock file that another is about to remove."""
    folder, holding, most = RunFolder(tmp_path), [], []

    def work():
        taken = 0
        while taken < 50:
            with suppress(RunError), folder.lock():
                holding.append(1)
                most.append(len(holding))
                holding.pop()
                taken += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 200 and contents(tmp_path) == {}


def test_a_killed_run_holds_nobody_up_and_its_leavings_are_removed(source, tmp_path):
    config = RunConfig.named("fast", epochs=2, folder=tmp_path / "run")
    assert train(config, source, stop=lambda: True).interrupted
    left = [".lenet5c.lock", f".model.safetensors.{'ab' * 8}.tmp", f".config.json.{'01' * 8}.tmp"]
    for name in left:
        (tmp_path / "run" / name).write_bytes(b"12345678\n")
    (tmp_path / "run/.mine.tmp").touch()
    train(config, source, resume=True)
    assert set(contents(tmp_path / "run")) == RUN_FILES | {".mine.tmp"}


@posix
def test_a_lock_whose_file_cannot_be_closed_is_released(tmp_path, monkeypatch):
    file = MagicMock()
    file.__exit__.side_effect = file.close.side_effect = OSError(errno.EIO, "Input/output error")
    monkeypatch.setattr(RunFolder, "_open_lock", lambda folder: (file, True))
    with RunFolder(tmp_path).lock():
        pass


def test_file_systems_without_locks_are_told_of(source, tmp_path, monkeypatch):
    import fcntl

    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    told = []
    config = RunConfig.named("fast", epochs=1, folder=tmp_path / "run")
    train(config, source, on_message=told.append)
    assert [line for line in told if "without locks" in line] == told != []
    assert set(contents(tmp_path / "run")) == RUN_FILES


@posix
def test_the_lock_follows_no_link(source, tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lenet5c.lock").symlink_to(tmp_path / "victim")
    why = r"must be writable, .*\.lenet5c\.lock: it is a link; remove it"
    with pytest.raises(RunError, match=why):
        train(RunConfig.named("fast", epochs=1, folder=tmp_path / "run"), source)
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "name", ["config.json", "checkpoint.safetensors", "model.safetensors", "summary.json"]
)
def test_files_of_two_runs_are_not_mixed(finished, source, name):
    one, other = finished(0, "one"), finished(1, "other")
    shutil.copy(other / name, one / name)
    before = contents(one)
    with pytest.raises(RunError, match=r"config\.json|checkpoint|model|summary"):
        resume(one, source)
    with pytest.raises(RunError):
        open_run(RunFolder(one), source)
    assert contents(one) == before
    if name in ("model.safetensors", "summary.json"):
        with pytest.raises(RunError, match="must be the model of the run in summary.json"):
            open_model(one)
        assert recorded_accuracy(one / "model.safetensors") is None
    open_model(one / "model.safetensors")  # by itself it is a good one


@pytest.mark.parametrize("changed", [{"watch_test": True}, {"seed": 1}])
@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors"])
def test_a_checkpoint_of_another_run_is_not_gone_on_with(source, tmp_path, name, changed):
    """Even if both have the same training settings; otherwise the message is the same."""
    for out, change in (("one", {}), ("other", changed)):
        config = RunConfig.named("fast", epochs=2, folder=tmp_path / out, **change)
        train(config, source, stop=lambda: True)
    shutil.copy(tmp_path / "other" / name, tmp_path / "one" / name)
    with pytest.raises(
        RunError, match=r"must belong to the run whose config\.json is in the same folder"
    ):
        resume(tmp_path / "one", source)


def test_a_truncated_model_of_a_finished_run_is_refused_until_it_is_made_again(finished, source):
    folder = finished()
    before = contents(folder)
    (folder / "model.safetensors").write_bytes(before["model.safetensors"][:-9])
    for use in (lambda: resume(folder, source), lambda: open_model(folder)):
        with pytest.raises(
            RunError, match=r"model\.safetensors must match .* delete it and resume"
        ):
            use()
    (folder / "model.safetensors").unlink()
    resume(folder, source)
    assert contents(folder)["model.safetensors"] == before["model.safetensors"]


def test_a_checkpoint_from_the_middle_of_a_finished_run_is_refused(source, tmp_path):
    """It would shorten the metrics."""
    config = RunConfig.named("fast", epochs=2, folder=tmp_path / "run")
    copy = tmp_path / "copy"
    train(
        config,
        source,
        on_epoch=lambda trainer, row: (
            row["epoch"] == 1 and shutil.copy(tmp_path / "run/checkpoint.safetensors", copy)
        ),
    )
    shutil.copy(copy, tmp_path / "run/checkpoint.safetensors")
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match="must be the last checkpoint of the run in summary.json"):
        train(config, source, resume=True)
    assert contents(tmp_path / "run") == before
    (tmp_path / "run/summary.json").unlink()
    train(config, source, resume=True)
    after = contents(tmp_path / "run")
    assert all(
        after[name] == before[name] for name in RUN_FILES - {"summary.json"} if "ch" not in name
    )


def test_a_finished_run_on_a_disk_that_cannot_be_written(finished, source, monkeypatch):
    """The result is printed again; no file is opened for writing."""
    folder = finished()
    before = contents(folder)
    real = os.open

    def open_(path, flags, *arguments, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", path)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", open_)
    result = resume(folder, source)
    assert result.summary["test_correct"] == result.evaluation.correct
    assert len(result.history) == 1 and contents(folder) == before
    (folder / "summary.json").unlink()
    with pytest.raises(RunError, match="must be writable, got .*: Read-only file"):
        resume(folder, source)


@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics.csv"])
def test_damaged_metrics_of_a_finished_run_are_written_again(finished, source, name):
    folder = finished()
    before = contents(folder)
    (folder / name).write_bytes(before[name].replace(b"1", b"2"))
    resume(folder, source)
    assert contents(folder) == before


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling"])
@pytest.mark.parametrize("name", sorted(RUN_FILES))
def test_what_is_no_file_is_an_error_at_once(finished, source, name, kind):
    """Pipes do not block, and /dev/zero is not read."""
    folder = finished()
    path = folder / name
    path.unlink()
    make = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "dangling": lambda: path.symlink_to(folder / "nowhere"),
    }
    make[kind]()
    with pytest.raises(RunError, match="already holds a run"):
        train(RunConfig.named("fast", epochs=1, folder=folder), source)
    if kind == "dangling" and name != "config.json":
        resume(folder, source)  # as where it is missing; the link is replaced
        made = (
            RUN_FILES - {"checkpoint.safetensors"} if name.startswith("checkpoint") else RUN_FILES
        )
        assert set(contents(folder)) == made and not (folder / "nowhere").exists()
        return
    with pytest.raises((RunError, OSError)) as caught:
        resume(folder, source)
    assert name in str(caught.value) or str(folder) in str(caught.value)
    if name == "config.json":
        with pytest.raises((RunError, OSError), match="config.json"):
            read_record(folder)


def test_every_setting_of_a_configuration_is_needed(finished, source):
    """Any missing or mistyped key is reported in one sentence."""
    folder = finished()
    path = folder / "config.json"
    before = path.read_bytes()
    for name, stored in _files.read_record(path, "config")[0].items():
        change_record(path, "config", lambda old, name=name: {n: old[n] for n in old if n != name})
        with pytest.raises(RunError, match=f"lacks the setting {name};"):
            resume(folder, source)
        for value in ([], {"a": 1}, -1, "x", 1e400):
            if value == stored:
                continue
            path.write_bytes(before)
            change_record(path, "config", lambda old, new={name: value}: old | new)
            with pytest.raises((RunError, OSError)):
                resume(folder, source)
        path.write_bytes(before)
    resume(folder, source)


def test_a_configuration_given_must_be_the_folders(finished, source, tmp_path):
    folder = finished()
    other = RunConfig.named("fast", epochs=1, seed=3, folder=folder)
    with pytest.raises(RunError, match=r"config\.json must have seed 3 .*, got 0"):
        train(other, source, resume=True)
    with pytest.raises(RunError, match=r"which has no config\.json"):
        train(RunConfig.named("fast", folder=tmp_path / "none"), source, resume=True)


@pytest.mark.parametrize("name", SUMMARY)
def test_a_summary_that_lacks_a_field(finished, name):
    folder = finished()
    change_record(folder / "summary.json", "summary", lambda old: old | {name: None})
    with pytest.raises(RunError, match=rf"summary\.json must have {name} of type"):
        RunFolder(folder).read_summary()


@pytest.mark.parametrize(
    "change",
    [
        {"loss_sum": 10**400},
        {"loss_sum": 0},
        {"history": None},
        {"random": None},
        {"epoch": None},
        {"optimizer_steps": 10**400},
        {"more": 1},
    ],
    ids=str,
)
def test_an_impossible_state_in_a_checkpoint_is_one_sentence(source, tmp_path, change):
    config = RunConfig.named("fast", epochs=2, folder=tmp_path / "run")
    train(config, source, stop=lambda: True)
    change_tensors(
        tmp_path / "run/checkpoint.safetensors",
        lambda metadata: metadata | {"state": metadata["state"] | change},
    )
    with pytest.raises(RunError, match="must fit this trainer: "):
        train(config, source, resume=True)


@posix
def test_checkpoints_outlast_a_power_cut_and_in_the_end_all_files(source, tmp_path, monkeypatch):
    seen, real = [], os.replace

    def replace(old, new):
        seen.append((os.path.basename(new), synchronized.count(os.stat(old).st_ino)))
        real(old, new)

    synchronized, real_sync = [], os.fsync

    def fsync(descriptor):
        synchronized.append(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    train(RunConfig.named("fast", epochs=2, folder=tmp_path / "run"), source)
    last = {name: count for name, count in seen if name != "checkpoint.safetensors"}
    assert set(last) == RUN_FILES - {"checkpoint.safetensors"} and all(last.values())
    assert [count > 0 for name, count in seen if name.startswith("check")] == [True, True]


def test_records_stay_readable_by_others(finished):
    folder = finished()
    config = json.loads((folder / "config.json").read_text())
    assert list(config)[:2] == ["format", "digest"] and config["epochs"] == 1
    assert json.loads((folder / "summary.json").read_text())["files"].keys() == {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
    }
