"""``lenet5c recipes``: list the recipes of ``lenet5c train``, or show one of them."""

import json
import textwrap

from lenet5c.commands.cli import say
from lenet5c.recipes import RECIPES

DESCRIPTION = "List the recipes of lenet5c train, or show one of them."
EXAMPLES = """examples:
  lenet5c recipes
  lenet5c recipes paper1998
  lenet5c train --recipe paper1998 --out runs/1998"""


def add_arguments(parser):
    parser.add_argument(
        "name", nargs="?", choices=RECIPES, metavar="NAME", help=f"one of {', '.join(RECIPES)}"
    )


def run(options):
    """Print the table or the recipe."""
    name = options.name
    say(table(RECIPES) if name is None else description(name, RECIPES[name]))


def table(recipes):
    """A line for each recipe."""
    rows = [("recipe", "what it is", "reported", "reached")]
    rows += [
        (name, each.summary, each.reported or "-", each.reached or "-")
        for name, each in recipes.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for i, each in reversed(list(enumerate(recipes.values(), start=1))):
        if each.reproduces:
            lines.insert(i + 1, f"{'':{widths[0]}}    reproduces {each.reproduces}")
    return "\n".join(lines)


def description(name, recipe):
    """All of a recipe, as text."""
    texts = [
        ("reproduces", recipe.reproduces),
        ("reported", recipe.reported),
        ("reached", recipe.reached),
    ]
    lines = [f"{name}: {recipe.summary}"]
    lines += [
        textwrap.fill(f"{label}: {text}", 100, subsequent_indent="  ")
        for label, text in texts
        if text
    ]
    if recipe.notes:
        lines += ["", textwrap.fill(recipe.notes, 100)]
    settings = recipe.to_dict()
    width = max(map(len, settings))
    lines += [
        "",
        *(f"{setting:{width}}  {json.dumps(value)}" for setting, value in settings.items()),
    ]
    return "\n".join(lines)
