"""Properties of all commands: help with examples, errors of one line, completion."""

import os
import shutil
import subprocess
import sys

import pytest
from processes import run_python

from lenet5c.__main__ import main
from lenet5c._optional import require
from lenet5c.commands import recipes as recipes_command
from lenet5c.commands.cli import Parser, describe_error
from lenet5c.commands.completion import SHELLS
from lenet5c.commands.parser import COMMANDS, make_parser
from lenet5c.errors import MissingExtraError, UserError

# Arguments that a command cannot do without.
NEEDED = {
    "ensemble": ["runs"],
    "predict": ["a.png"],
    "export": ["best"],
    "data": ["path"],
    "completion": ["bash"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_the_parser_takes(name, capsys):
    parser = make_parser(name)
    options = parser.parse_args([name, *NEEDED.get(name, [])])
    assert isinstance(parser, Parser) and options.prog.startswith(f"lenet5c {name}")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"lenet5c {name}" in text.partition("example")[2]


def test_both_forms_of_train_are_the_same():
    forms = (["-m", "lenet5c", "train"], ["-m", "lenet5c.train"])
    # Python 3.14 colors help, but not where it is captured.
    done = [
        subprocess.run([sys.executable, *form, "--help"], capture_output=True, text=True)
        for form in forms
    ]
    assert done[0].returncode == done[1].returncode == 0, done[0].stderr + done[1].stderr
    assert done[0].stdout == done[1].stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_one_line(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option"])
    assert ended.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"lenet5c {name}")


def test_usage_names_every_command(capsys):
    assert main([]) == 0
    usage = capsys.readouterr().out
    assert all(f"\n    {name} " in usage for name in COMMANDS)


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("tarin", "did you mean train?"),
        ("Eval", "did you mean evaluate?"),
        ("xyz", "see lenet5c --help"),
    ],
)
def test_a_wrong_command_is_one_line_with_the_nearest(word, remedy, capsys):
    assert main([word, "--epochs", "1"]) == 2
    line = f"lenet5c: error: COMMAND must be the name of a command, got {word!r}; {remedy}\n"
    assert capsys.readouterr().err == line


def test_only_the_command_asked_for_is_loaded():
    code = (
        "import sys; from lenet5c.__main__ import main; main({}); "
        "print(sorted(name for name in sys.modules if name.startswith('lenet5c.commands.')))"
    )
    for arguments, own in (([], []), (["recipes"], ["recipes"])):
        names = sorted(["cli", "parser", "signals", *own])
        done = run_python(code.format(arguments))
        assert done.stdout.splitlines()[-1] == str([f"lenet5c.commands.{name}" for name in names])
    assert (
        "numpy"
        not in run_python(
            "import sys; from lenet5c.__main__ import main; main([]); print(*sys.modules)"
        ).stdout.split()
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x is 3; it should be 2"), 2, "x is 3; it should be 2"),
        (
            FileNotFoundError(2, "No such file or directory", "a.png"),
            2,
            "a.png: No such file or directory",
        ),
        (PermissionError(13, "Permission denied", "out"), 1, "out: Permission denied"),
        (OSError("no room"), 1, "no room"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_users_and_systems_end_in_a_line_and_a_code(
    error, code, line, capsys, monkeypatch
):
    def fail(options):
        raise error

    monkeypatch.setattr(recipes_command, "run", fail)
    assert main(["recipes"]) == code
    assert capsys.readouterr().err == f"lenet5c recipes: error: {line}\n"


def test_mistakes_of_the_program_are_not_hidden(monkeypatch):
    monkeypatch.setattr(recipes_command, "run", lambda options: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["recipes"])
    assert describe_error(OSError()) == "OSError"


def test_a_missing_extra_says_how_to_get_it():
    with pytest.raises(
        MissingExtraError, match=r"pictures require nothing_here.*pip install 'lenet5c\[plots\]'"
    ):
        require("nothing_here.at.all", "plots", "pictures")
    assert require("json.decoder", "plots", "nothing") is sys.modules["json.decoder"]


def test_a_library_that_is_broken_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_need")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_need") as raised:
        require("broken_library", "plots", "pictures")
    assert not isinstance(raised.value, MissingExtraError)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_has_every_command(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "target-accuracy" in script  # tcsh has the dashes in a word before
    if shell != "tcsh" and shutil.which(shell):
        assert (
            subprocess.run([shell, "-n"], input=script, text=True, capture_output=True).returncode
            == 0
        )


@pytest.mark.skipif(not shutil.which("bash") or sys.platform == "win32", reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ev"], {"evaluate"}),
        (["train", "--targ"], {"--target-accuracy"}),
        (["train", "--recipe", "paper"], {"paper1998", "paper1998-distorted"}),
        (["recipes", "mirrored"], {"mirrored"}),
        (["summary", "my-"], {"my-model.safetensors"}),
        (["data", "insp"], {"inspect"}),
    ],
)
def test_bash_completes(words, offered, tmp_path, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "my-model.safetensors").touch()
    typed = " ".join(f"'{word}'" for word in ["lenet5c", *words])
    script = (
        f"{capsys.readouterr().out}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}\n"
        '_shtab_lenet5c\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert set(done.stdout.split()) == offered, done.stderr


def test_completion_without_its_library_says_how_to_get_it(tmp_path):
    code = (
        "import sys; sys.modules['shtab'] = None; from lenet5c.__main__ import main; "
        "sys.exit(main(['completion', 'bash']))"
    )
    done = run_python(code, **os.environ)
    assert done.returncode == 2
    assert "pip install 'lenet5c[completion]'" in done.stderr
