"""``lenet5c recipes``: list the recipes of ``lenet5c train``, or show one of them."""

import json
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from lenet5c._text import table as columns_of
from lenet5c.commands.cli import say
from lenet5c.recipes import RECIPES, Recipe, reached, reported

DESCRIPTION = "List the recipes of lenet5c train, or show one of them."
EXAMPLES = """examples:
  lenet5c recipes
  lenet5c recipes paper1998
  lenet5c train --recipe paper1998 --out runs/1998"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name",
        nargs="?",
        choices=RECIPES,
        metavar="NAME",
        help=f"recipe to show: {', '.join(RECIPES)} (default: list all)",
    )


def run(options: Namespace) -> None:
    """Print the table or the recipe."""
    name = options.name
    say(table(RECIPES) if name is None else description(name, RECIPES[name]))


def table(recipes: Mapping[str, Recipe]) -> str:
    """Return a line for each recipe, followed by a line for the system it reproduces."""
    rows = [("recipe", "summary", "reported", "reached")]
    rows += [
        (name, each.summary, str(reported(name)) or "-", reached(name) or "-")
        for name, each in recipes.items()
    ]
    heading, *lines = columns_of(rows, "llll").splitlines()
    indent = " " * (max(map(len, recipes)) + 6)
    for line, each in zip(lines, recipes.values(), strict=True):
        heading += f"\n{line}" + (
            f"\n{indent}reproduces {each.reproduces}" if each.reproduces else ""
        )
    return heading


def description(name: str, recipe: Recipe) -> str:
    """Return the settings of a recipe as text."""
    texts = {
        "reproduces": recipe.reproduces,
        "reported": str(reported(name)),
        "reached": reached(name),
    }
    lines = [f"{name}: {recipe.summary}"]
    for label, text in texts.items():
        lines += textwrap.wrap(f"{label}: {text}", 100, subsequent_indent="  ") if text else []
    if recipe.notes:
        lines += ["", textwrap.fill(recipe.notes, 100)]
    values = [(setting, json.dumps(value)) for setting, value in recipe.to_dict().items()]
    return "\n".join([*lines, "", columns_of(values, "ll")])
