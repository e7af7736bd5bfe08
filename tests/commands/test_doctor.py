"""`lenet5c doctor`: diagnosis of simulated facts, and a real run."""

import copy
import json
import os
import subprocess
import sys

import pytest
from processes import HANGING

from lenet5c.commands import doctor

WELL = {
    "lenet5c": "1.2.3",
    "installed": "/site-packages/lenet5c",
    "python": "3.13.0",
    "numpy": "2.4.0",
    "platform": "Linux-x86_64",
    "instructions": {"used": "avx2", "supported": ["avx2", "baseline"]},
    "threads": {
        "default": 4,
        "openmp": 4,
        "processors": 4,
        "quota": None,
        "wish": None,
        "cores": 8,
    },
    "openmp": {"version": 201511, "library": "/lib/libgomp.so.1"},
    "self_check": {"loss": "4.39", "as_known": True, "same_bits": True},
    "libraries": [{"kind": "libgomp", "path": "/lib/libgomp.so.1", "threads": 4}],
    "load": 0.5,
    "environment": {},
}


def facts(**changes):
    """Return the facts of a machine without problems, with changes; mappings are merged."""
    result = copy.deepcopy(WELL)
    for name, change in changes.items():
        result[name] = result[name] | change if isinstance(change, dict) else change
    return result


def libraries(*names):
    return [
        {"kind": name.partition("-")[0], "path": f"/lib/{name}.so", "threads": None}
        for name in names
    ]


def test_all_is_well():
    assert doctor.diagnose(facts()) == []
    assert doctor.report(facts(), []).endswith("\n\nNo problems found.")


WISH = "OMP_NUM_THREADS"


@pytest.mark.parametrize(
    "changes, attention, words",
    [
        ({"self_check": {"as_known": False, "loss": "nan"}}, True, ["loss nan", "reinstall"]),
        ({"self_check": {"same_bits": False}}, True, ["two threads", "reinstall"]),
        ({"instructions": {"used": "baseline"}}, True, ["baseline", "avx2", "unset LENET5C_ISA"]),
        ({"instructions": {"supported": ["avx512", "avx2"]}}, False, ["avx2", "avx512 is faster"]),
        (
            {"openmp": {"version": 0, "library": None}},
            True,
            ["without OpenMP", "LENET5C_REQUIRE_OPENMP=1"],
        ),
        ({"environment": {WISH: "many"}}, True, ["OMP_NUM_THREADS is 'many'", "ignored", "4"]),
        (
            {"environment": {WISH: "9"}, "threads": {"wish": 9}},
            True,
            [f"{WISH} is 9", "4 processors", "at most 4"],
        ),
        (
            {"environment": {WISH: "4"}, "threads": {"wish": 4, "quota": 1.5}},
            True,
            ["time of 1.5", "at most 2"],
        ),
        (
            {"threads": {"quota": 1.0, "default": 1}},
            False,
            ["the time of 1 processor", "OMP_NUM_THREADS=1"],
        ),
        ({"libraries": libraries("libgomp", "libomp")}, True, ["libgomp, libomp", "one source"]),
        (
            {"libraries": libraries("libiomp-1", "libiomp-2")},
            True,
            ["libiomp is loaded 2 times", "one source"],
        ),
        (
            {"libraries": libraries("libgomp-1", "libgomp-2")},
            False,
            ["libgomp is loaded 2 times", "divide the cores"],
        ),
        ({"load": 9.0}, False, ["busy (load 9.0)", "OMP_WAIT_POLICY=passive"]),
        ({"load": 9.0, "environment": {"OMP_WAIT_POLICY": "ACTIVE"}}, False, ["busy"]),
    ],
)
def test_findings(changes, attention, words):
    (finding,) = doctor.diagnose(facts(**changes))
    assert finding["attention"] == attention
    text = doctor.report(facts(**changes), [finding])
    assert ("Needs attention:" in text, "Information:" in text, "No problems found." in text) == (
        attention,
        not attention,
        not attention,
    )
    for word in words:
        assert word in finding["problem"] + " " + finding["remedy"]
        assert word in text


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {WISH: "4"}, "threads": {"wish": 4}},
        {"environment": {WISH: "2"}, "threads": {"wish": 2, "quota": 1.5}},
        {"threads": {"quota": 4.0}},
        {"threads": {"quota": 3.5}},
        {"libraries": libraries("libgomp", "openblas-1", "openblas-2")},
        {"libraries": None},
        {"libraries": []},
        {"load": None},
        {"load": 9.0, "environment": {"OMP_WAIT_POLICY": "passive"}},
        {"load": 9.0, "environment": {"GOMP_SPINCOUNT": "2000"}},
        {"load": 9.0, "threads": {"processors": 1, "openmp": 1, "default": 1}},
    ],
)
def test_nothing_to_say(changes):
    assert doctor.diagnose(facts(**changes)) == []


@pytest.mark.parametrize(
    "changes, why",
    [
        ({}, "4: one thread per processor"),
        ({"threads": {"wish": 6, "default": 6}}, "6: as OMP_NUM_THREADS asks"),
        ({"threads": {"wish": 6, "openmp": 1, "default": 1}}, "1: limit set by this program"),
        ({"threads": {"openmp": 2, "default": 2}}, "2: limit set by this program"),
        ({"threads": {"quota": 1.5, "default": 2}}, "2: quota of the container"),
        (
            {"openmp": {"version": 0}, "threads": {"default": 1, "openmp": 1, "processors": 1}},
            "1: no OpenMP",
        ),
    ],
)
def test_the_reason_of_the_default(changes, why):
    assert why in doctor.report(facts(**changes), [])


def test_report_is_aligned_and_shows_what_is_known():
    text = doctor.report(
        facts(environment={"GOMP_SPINCOUNT": "0"}, libraries=libraries("libgomp", "openblas")), []
    )
    lines = text.split("\n\n")[0].splitlines()
    values = [line[len("  GOMP_SPINCOUNT  ") :] for line in lines]
    assert all(value and not value.startswith(" ") for value in values)
    assert "1.2.3 in /site-packages/lenet5c" in values and "openblas /lib/openblas.so" in values
    assert "unknown (pip install 'lenet5c[doctor]'" in doctor.report(facts(libraries=None), [])
    assert "FAILED" in doctor.report(facts(self_check={"same_bits": False}), [])


def test_without_threadpoolctl_the_libraries_are_not_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert doctor.list_libraries() is None


def test_the_openmp_of_this_process_is_among_the_libraries():
    pytest.importorskip("threadpoolctl")
    found = doctor.examine()
    loaded = [os.path.realpath(each["path"]) for each in found["libraries"]]
    if found["openmp"]["library"]:
        assert os.path.realpath(found["openmp"]["library"]) in loaded


def run(*arguments, cwd, **environment):
    command = [sys.executable, "-m", *arguments]
    variables = {
        name: value for name, value in os.environ.items() if name not in doctor.VARIABLES
    } | environment
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=variables, timeout=HANGING
    )


def test_a_run(tmp_path):
    (tmp_path / "mine.py").write_text("print('a word of its own')\nimport decimal")
    result = run("lenet5c", "doctor", "--json", "--with", "mine", "--with", "os.path", cwd=tmp_path)
    assert result.returncode in (0, 1), result.stderr
    told = json.loads(result.stdout)
    assert told.keys() == WELL.keys() | {"findings", "well"}
    for name, value in WELL.items():
        if isinstance(value, dict):
            assert value.keys() == told[name].keys() or name == "environment"
    assert told["self_check"]["as_known"] and told["self_check"]["same_bits"]
    assert told["well"] == (result.returncode == 0)
    text = run("lenet5c", "doctor", cwd=tmp_path, OMP_NUM_THREADS="1000", LENET5C_ISA="baseline")
    assert "self check" in text.stdout and "passed" in text.stdout and text.stderr == ""
    if told["openmp"]["version"]:
        assert text.returncode == 1 and "OMP_NUM_THREADS is 1000" in text.stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["--with", "no_such_module"],
            ["--with", "'no_such_module'", "ModuleNotFoundError", "install"],
        ),
        (["--with", "a b"], ["--with", "'a b'", "name of a module"]),
        (["--with", ""], ["--with", "''"]),
        (["--with", ".x"], ["--with", "'.x'"]),
        (["--with", "broken"], ["'broken'", "ValueError: two lines"]),
        (["--with", "leaves"], ["'leaves'", "SystemExit: 3"]),
        (["--jason"], ["--jason"]),
    ],
)
def test_bad_use(tmp_path, arguments, words):
    (tmp_path / "broken.py").write_text("raise ValueError('two\\nlines')")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    result = run("lenet5c", "doctor", *arguments, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    (message,) = result.stderr.splitlines()
    assert message.startswith("lenet5c doctor: error: ")
    for word in words:
        assert word in message


def test_an_unknown_instruction_set_is_bad_use(tmp_path):
    result = run("lenet5c", "doctor", cwd=tmp_path, LENET5C_ISA="mmx")
    (message,) = result.stderr.splitlines()
    assert result.returncode == 2 and "mmx" in message and "baseline" in message
