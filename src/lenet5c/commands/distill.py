"""``lenet5c distill``: train one net on the probabilities of a model, such as an ensemble.

Exit codes are those of ``lenet5c train``.
"""

import argparse

from lenet5c.commands import train
from lenet5c.commands.cli import MODEL_HELP
from lenet5c.errors import RunError

DESCRIPTION = (
    "Train one net on the probabilities that a model, such as an ensemble, predicts for the "
    "augmented images. Equivalent to lenet5c train --taught-by MODEL, with all of its options."
)
EXAMPLES = """examples:
  lenet5c distill ensemble.safetensors
  lenet5c distill ensemble.safetensors --recipe fast --out runs/small
  lenet5c distill ensemble.safetensors --teaching-temperature 2 --teaching-weight 0.7
  lenet5c distill best --channels 4 8 --units 40 --distortion modern
  lenet5c distill --resume --out runs/small"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the options of ``lenet5c train``."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"teacher: {MODEL_HELP}")
    train.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Train, evaluate and report; return the exit code."""
    if options.model is not None and options.taught_by not in (None, options.model):
        raise RunError(
            f"--taught-by cannot be combined with MODEL, got {options.taught_by}; omit it"
        )
    options.taught_by = options.model or options.taught_by
    if options.taught_by is None and not (options.resume or options.config):
        raise RunError("MODEL must be the teacher, such as an ensemble, got none")
    return train.run(options)
