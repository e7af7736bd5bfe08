"""Values of command-line options, each by its kind."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from lenet5c.commands import cli
from lenet5c.commands.train import option_type
from lenet5c.datasets.source import source_name
from lenet5c.recipes.run_config import option_settings

MAX_LENGTH = 400

KINDS = [setting.kind for setting in option_settings().values()]
TYPES: list[Callable[[str], Any]] = [
    *(option_type(kind) for kind in KINDS if kind.metavar and not kind.many),
    *(cli.shape, cli.setting, cli.pair, cli.file, cli.directory, cli.whole(1, 1024)),
    *(cli.number(0, 1), cli.number(0, above=True), cli.one_of(["a", "b"]), source_name),
]
DICTIONARY = [b"nan", b"inf", b"1e999", b"0x10", b"1_0", b"true", b"1x32x32", b"lr=", b"mnist"]
#: Those that argparse takes for a bad value, and that of a name which is too long.
REFUSED = (argparse.ArgumentTypeError, ValueError, TypeError, OSError)


def read(data: bytes) -> None:
    """Read the input as a value of the kind selected by its first byte."""
    if data:
        # As an option comes from the command line: bytes that are no UTF-8 become surrogates.
        text = data[1:].decode("utf-8", "surrogateescape").replace("\0", "")
        try:
            TYPES[data[0] % len(TYPES)](text)
        except REFUSED as error:
            str(error).encode("utf-8", "surrogateescape")


def seeds() -> Iterator[bytes]:
    """Yield values of many kinds for each option."""
    for number in range(len(TYPES)):
        for value in (b"1", b"0.5", b"relu", b"adam", b"3x32x32", b"lr=[1,2]", b"a=b", b"1e400"):
            yield bytes([number]) + value
    yield bytes([TYPES.index(cli.setting)]) + b"a=" + b"[" * 300
    yield bytes([TYPES.index(cli.setting)]) + b"a=" + b"9" * 300
