"""``lenet5c ensemble``: combine several trained models into one model file.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from lenet5c._text import command_line, list_some
from lenet5c.commands.cli import file, say
from lenet5c.errors import RunError
from lenet5c.nn.ensemble import describe_kind
from lenet5c.training import make_ensemble, save_model
from lenet5c.training.ensemble import open_members

NAME = "ensemble.safetensors"
DESCRIPTION = (
    "Combine several trained models into one model file, whose probabilities are the mean of "
    "theirs. Use it like any other model, or train a single net on it with distill."
)
EXAMPLES = """examples:
  lenet5c ensemble runs/seed-0 runs/seed-1 runs/seed-2
  lenet5c ensemble sweeps/seeds --out five.safetensors
  lenet5c evaluate five.safetensors
  lenet5c distill five.safetensors --recipe fast"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    text = "two or more models: model files, folders of runs, folders of such folders, or best"
    add("runs", nargs="+", metavar="RUN", help=text)
    text = f"model file to write (default: {NAME})"
    add("--out", type=file, default=Path(NAME), metavar="FILE", help=text)
    add("--overwrite", action="store_true", help="replace an existing file")


def run(options: Namespace) -> None:
    """Write the ensemble and describe its members."""
    out: Path = options.out
    if os.path.lexists(out) and not (options.overwrite and out.is_file()):
        remedy = "choose another file, or add --overwrite"
        raise RunError(f"--out must be a new file, got {out}, which exists; {remedy}")
    members = open_members(options.runs)
    if len(members) < 2:
        raise RunError(f"RUN must be at least two models, got {len(members)}; add another one")
    for name, model in members.items():
        if model.path is not None and out.exists() and model.path.samefile(out):
            raise RunError(f"--out must differ from the members, got {out}, the model of {name}")
    trained = make_ensemble(members)
    save_model(out, trained)
    say(
        f"{out}: {describe_kind(trained.model)}, {trained.model.num_params:,} parameters, "
        f"{len(trained.class_names)} classes; members {list_some(members, 8)}\n"
        f"evaluate it: {command_line('evaluate', str(out))}"
    )
