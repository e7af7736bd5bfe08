"""Pictures of a run, whose failures do not fail the run."""

import hashlib
import json
import sys

import pytest

from lenet5c.__main__ import main
from lenet5c.report import run as run_report
from lenet5c.report.run import PAGE, PICTURES
from lenet5c.training.run_folder import RunFolder

FILES = {PAGE, *(f"{name}.png" for name in PICTURES)}


@pytest.fixture
def quick(tmp_path, idx_files, capsys):
    """Run a short training in this process; return exit code, stdout and stderr."""

    def run(*arguments, out="run", resume=False):
        data = ["--resume"] if resume else ["--data", idx_files, "--epochs", 1, "--validation", 0.1]
        code = main(["train", *map(str, data), "--out", str(tmp_path / out), *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def digests(folder):
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in FILES
        if name != PAGE
    }


def present(folder):
    return {path.name for path in folder.iterdir()} & FILES


def test_a_run_leaves_pictures_and_a_page(tmp_path, quick):
    pytest.importorskip("matplotlib")
    code, said, complained = quick("--threads", 1)
    assert code == 0 and complained == ""
    *_, report, temperature, last = said.splitlines()
    assert str(tmp_path / "run" / PAGE) in report and last.startswith("Test accuracy: ")
    assert temperature.startswith("Temperature: ")
    assert present(tmp_path / "run") == FILES
    html = (tmp_path / "run" / PAGE).read_text(encoding="utf-8")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (
        f"{100 * summary['test_accuracy']:.2f} %" in html
        and f"{summary['test_correct']} of 500" in html
    )
    assert html.count("data:image/png;base64,") == len(PICTURES)
    assert "--seed 0" in html and "61,706" in html and "conv1" in html
    assert (
        "label smoothing 0.05 (at least 0.282); the test loss above is cross-entropy only" in html
    )
    assert "until evaluation" in html and "resumed" not in html
    # The same run has the same pictures, byte by byte.
    quick("--threads", 2, out="again")
    assert digests(tmp_path / "again") == digests(tmp_path / "run")


def test_resuming_a_finished_run_draws_what_is_missing(tmp_path, quick):
    pytest.importorskip("matplotlib")
    quick("--keep", "best", "--average", "0.9")
    run = tmp_path / "run"
    before = digests(run)
    for name in ("errors.png", "filters.png", PAGE):
        (run / name).unlink()
    code, _said, complained = quick(resume=True)
    assert code == 0 and complained == "" and digests(run) == before and present(run) == FILES
    times = {name: (run / name).stat().st_mtime_ns for name in FILES}
    quick(resume=True)  # nothing is missing, so nothing is drawn
    assert {name: (run / name).stat().st_mtime_ns for name in FILES} == times
    quick("--overwrite", "--seed", 1)  # another run has other pictures
    assert all((run / name).stat().st_mtime_ns > times[name] for name in FILES)


def test_no_report_is_none(tmp_path, quick):
    assert quick("--no-report")[0] == 0
    assert present(tmp_path / "run") == set()


def test_without_matplotlib_a_line_says_how_to_get_pictures(tmp_path, quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, said, complained = quick()
    assert code == 0 and complained == "" and present(tmp_path / "run") == set()
    assert [line for line in said.splitlines() if "pip install 'lenet5c[plots]'" in line]
    assert quick("--quiet", out="quiet")[1].count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("no\nink"), MemoryError(), KeyboardInterrupt()])
def test_what_goes_wrong_is_a_warning_and_the_run_is_done(tmp_path, quick, monkeypatch, error):
    pytest.importorskip("matplotlib")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(run_report, "filters", fail)
    code, said, complained = quick("--target-accuracy", "0")
    assert code == 0 and said.splitlines()[-1].startswith("Test accuracy: ")
    (line,) = complained.splitlines()
    assert (
        line.startswith("lenet5c train: warning: no ")
        and type(error).__name__ in line
        and "--resume" in line
    )
    if isinstance(error, Exception):  # the others are drawn
        assert FILES - present(tmp_path / "run") == {"filters.png"}


def test_a_folder_that_cannot_be_written_to_is_a_warning(tmp_path, quick, monkeypatch):
    pytest.importorskip("matplotlib")

    def fail(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(run_report._files, "write_bytes", fail)
    monkeypatch.setattr(RunFolder, "save_checkpoint", lambda *_: None)
    monkeypatch.setattr(RunFolder, "create", lambda *_: None)
    monkeypatch.setattr(RunFolder, "finish", lambda *_: None)
    code, said, complained = quick()
    assert code == 0 and said.splitlines()[-1].startswith("Test accuracy: ")
    assert complained.count("\n") == 1 and "warning: no report" in complained
