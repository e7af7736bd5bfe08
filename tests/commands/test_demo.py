"""`lenet5c demo` as a command."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from processes import HANGING

from lenet5c import _files
from lenet5c.__main__ import main
from lenet5c.commands import demo
from lenet5c.demo.server import FOLDER
from lenet5c.export.html_bundle import PAGE, bundle
from lenet5c.training import open_model, save_model


def run(*arguments, cwd):
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=HANGING)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--port", "70000"], ["--port", "70000"]),
        (["--port", "http"], ["--port", "http"]),
        (["--model", "nothing"], ["nothing", "which does not exist", "a model file"]),
        (["--model", "empty"], ["empty", "model.safetensors", "run"]),
        (["--model", "junk"], ["junk must be a lenet5c model file"]),
        (["--data", "empty"], ["empty"]),
        (["--samples", "junk"], ["--samples must be a folder", "junk"]),
        (["--threads", "0"], ["--threads", "0"]),
        (["--draw"], ["--draw"]),
    ],
)
def test_bad_use(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").write_bytes(b"junk")
    try:
        code = main(["demo", *arguments, "--no-browser"])
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert code == 2 and captured.out == "" and line.startswith("lenet5c demo: error: ")
    for word in words:
        assert word in line


def test_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("lenet5c", "demo", "--no-browser", "--port", port, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and done.stdout == ""
    assert line.startswith(f"lenet5c demo: error: --port must be free, got {port}: ")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_from_start_to_ctrl_c(name, tmp_path):
    command = [sys.executable, "-m", "lenet5c", "demo", "--no-browser"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            address = re.search(r"http://127\.0\.0\.1:\d+/", lines[0])[0]
            assert str(tmp_path / "lenet5c-samples") in lines[1] and "Ctrl-C" in lines[2]
            # Whatever the environment says, this machine is reached without a proxy.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(address, timeout=HANGING) as reply:
                assert b"lenet5c" in reply.read()
            process.send_signal(getattr(signal, name))
            rest, errors = process.communicate(timeout=HANGING)
        finally:
            process.kill()
    assert (process.returncode, errors, rest.strip()) == (0, "", "The demo has ended.")
    assert list(tmp_path.iterdir()) == []  # nothing is written before something is saved
    with pytest.raises(urllib.error.URLError):
        opener.open(address, timeout=HANGING)


def test_models(tmp_path):
    trained = open_model()
    assert demo.describe_model("best") == "the model included in lenet5c"
    assert demo.recorded_run("best") == {}
    save_model(tmp_path / "model.safetensors", trained)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert (open_model(path).model.vector == trained.model.vector).all()
        assert demo.describe_model(path) == str(path) and demo.recorded_run(path) == {}
    for named, data in (("mnist", "mnist"), (3, None), ("far-away", None), ("fashion", "fashion")):
        _files.write_record(tmp_path / "config.json", "config", {"data": named})
        assert demo.recorded_run(tmp_path).get("data") == data
    for text in ('{"data": "mnist"}', '{"data": 3}', "[]", "{", "[" * 10**5):
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        assert demo.recorded_run(tmp_path) == {}


def test_a_browser_is_opened_where_there_is_a_screen(monkeypatch):
    opened = []
    monkeypatch.setattr(demo.webbrowser, "open", opened.append)
    monkeypatch.setattr(demo.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    demo.open_page("http://127.0.0.1:1/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    demo.open_page("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    text = capsys.readouterr().out
    assert (
        stop.value.code == 0
        and "\n  lenet5c demo --model runs/first --port 8000 --no-browser\n" in text
    )


def test_the_parser_is_cheap():
    code = (
        "import sys; from lenet5c.commands.parser import make_parser; make_parser('demo'); "
        "print('numpy' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert done.stdout.strip() == "False", done.stderr


BUNDLES = {"main.js": (PAGE,), "demo.js": (FOLDER, PAGE)}


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
@pytest.mark.parametrize("entry", BUNDLES)
def test_the_scripts_are_javascript(entry):
    done = subprocess.run(
        ["node", "--input-type=module", "--check"],
        input=bundle(entry, BUNDLES[entry]),
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("entry", BUNDLES)
def test_names_of_modules_differ(entry):
    """All scripts share one scope; declarations continue on indented lines."""
    declared = re.compile(r"^(?:async )?(?:function\*?|class|const|let) (\w+)", re.MULTILINE)
    text = bundle(entry, BUNDLES[entry])
    names = declared.findall(text)
    names += re.findall(r"^(?:const|let) [^;(]*?, (\w+) =", text, re.MULTILINE)
    assert len(names) > 80 and len(set(names)) == len(names)
    assert not re.search(r"^(import|export) ", text, re.MULTILINE)
