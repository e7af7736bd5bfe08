"""``lenet5c distill``: train one net on the probabilities of a model, such as an ensemble.

Exit codes are those of ``lenet5c train``.
"""

import argparse

from lenet5c.commands import train
from lenet5c.commands.cli import MODEL_HELP
from lenet5c.errors import RunError

DESCRIPTION = (
    "Train one net on the probabilities that a model, such as an ensemble, gives for the augmented "
    "images: lenet5c train with --taught-by MODEL, and all options of it."
)
EXAMPLES = """examples:
  lenet5c distill ensemble.safetensors
  lenet5c distill ensemble.safetensors --recipe fast --out runs/small
  lenet5c distill ensemble.safetensors --teaching-temperature 2 --teaching-weight 0.7
  lenet5c distill best --channels 4 8 --units 40 --distortion modern
  lenet5c distill --resume --out runs/small"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the options of ``lenet5c train``."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"{MODEL_HELP}; the teacher")
    train.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Train, evaluate and report; return the exit code."""
    if options.model is not None and options.taught_by not in (None, options.model):
        raise RunError(f"--taught-by must be left out beside MODEL, got {options.taught_by}")
    options.taught_by = options.model or options.taught_by
    if options.taught_by is None and not (options.resume or options.config):
        raise RunError("MODEL must be given: the model that teaches, such as an ensemble")
    return train.run(options)
