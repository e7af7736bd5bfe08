"""Command lines of train, up to the configuration of the run."""

import contextlib
import io
from collections.abc import Iterator
from random import Random

from lenet5c.commands.parser import make_parser
from lenet5c.commands.train import configure
from lenet5c.recipes.run_config import option_settings
from torture.fuzz.support import MutateBytes

MAX_LENGTH = 600
ERRORS = (OSError,)  # of a name that is too long

parser = make_parser("train")
OPTIONS = [f"--{name.replace('_', '-')}" for name in option_settings()]
DICTIONARY = [option.encode() for option in OPTIONS]
VALUES = [
    b"1",
    b"0",
    b"0.5",
    b"-1",
    b"nan",
    b"adam",
    b"sgd",
    b"mse",
    b"step",
    b"a=1",
    b"betas=[0,1]",
]


def read(data: bytes) -> None:
    """Parse the words of a command line, which the input separates by line breaks."""
    words = data.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            options = parser.parse_args(["train", *words])
        except SystemExit as stop:
            assert stop.code in (0, 2), f"exit code {stop.code}"
            return
        if hasattr(options, "recipe"):  # of train itself
            configure(options)


def seeds() -> Iterator[bytes]:
    """Yield each option alone, and some together."""
    for option in OPTIONS:
        for value in (b"1", b"0.5", b"adam", b"a=1"):
            yield option.encode() + b"\n" + value
    yield b"--optimizer\nsgd\n--lr\n0.1\n--schedule\nstep\n--schedule-settings\nevery=2"
    yield b"--recipe\nbest\n--epochs\n3\n--distortion\nmodern\n--no-batch-norm\n--dropout\n0.5"
    yield b"--resume\n--out\nnowhere"


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change, exchange, add or delete words."""
    words = data.split(b"\n")
    place, action = random.randrange(len(words)), random.randrange(4)
    if action == 0:
        words[place] = mutate_bytes(words[place])
    elif action == 1:
        words[place:place] = [random.choice(OPTIONS).encode(), random.choice(VALUES)]
    elif action == 2:
        del words[place]
    else:
        words[place] = random.choice(VALUES)
    return b"\n".join(words)
