"""``lenet5c summary``: a model layer by layer, with its shapes, neurons, parameters and connections.

Exit codes: 0 done, 2 bad use, 130 interrupted.
"""

import json

from lenet5c._text import printable
from lenet5c.commands.cli import say, shape, whole
from lenet5c.errors import UserError
from lenet5c.nn.summary import layer_rows
from lenet5c.recipes import RECIPES
from lenet5c.recipes.recipe import NETS
from lenet5c.training import open_model

DESCRIPTION = "Show a model layer by layer: shapes, neurons, parameters, connections."
EXAMPLES = """examples:
  lenet5c summary                         the net of lenet5c train
  lenet5c summary best                    the trained model in the package
  lenet5c summary runs/first              the model of a run
  lenet5c summary --recipe paper1998      the net of 1998
  lenet5c summary --recipe average-pool --input 3x48x64 --classes 5"""


def add_arguments(parser):
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a model file, the folder of a run, or best: the model in the package",
    )
    add(
        "--recipe",
        choices=RECIPES,
        metavar="R",
        help=f"the untrained net of a recipe: {', '.join(RECIPES)} (default: default)",
    )
    add(
        "--input",
        type=shape,
        metavar="CxHxW",
        help="of the untrained net: channels, height, width (default: grey, the recipe's size)",
    )
    add("--classes", type=whole(1, 10**6), metavar="N", help="of the untrained net (default: 10)")
    add("--json", action="store_true", help="as JSON")


def run(options):
    if options.model is not None:
        for name in ("recipe", "input", "classes"):
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name} is for a net that is not trained; {options.model} is: leave one of them out"
                )
        trained = open_model(options.model)
        model, facts = trained.model, facts_of(trained)
    else:
        model, facts = untrained(options), {}
    rows = layer_rows(model, model.input_shape)
    if options.json:
        total = {
            key: sum(row[key] for row in rows[1:])
            for key in ("neurons", "parameters", "connections")
        }
        say(json.dumps({**facts, "layers": rows, "total": total}, indent=2))
        return
    say(model.summary(model.input_shape))
    width = max(map(len, facts), default=0)
    if facts:
        say("\n" + "\n".join(f"{name:{width}}  {value}" for name, value in in_words(facts).items()))


def untrained(options):
    """The net of a recipe, with weights nobody looks at."""
    recipe = RECIPES[options.recipe or "default"]
    channels, *size = options.input or (1, *recipe.input_size)
    try:
        return NETS[recipe.net](
            num_classes=10 if options.classes is None else options.classes,
            in_channels=channels,
            input_size=size,
            **recipe.model,
        )
    except (ValueError, TypeError) as error:
        raise UserError(error) from None


def facts_of(trained):
    """What a model file says beside its layers."""
    return {
        "model": type(trained.model).__name__,
        "settings": trained.model.config,
        "images": list(trained.image_shape),
        "reading": trained.reading,
        "preparation": trained.preparation.to_dict(),
        "classes": list(trained.class_names),
    }


def in_words(facts):
    pairs = {name: f"{name}={value}" for name, value in facts["settings"].items()}
    reading = {"ink": "the ink, cropped and centred", "whole": "the picture as a whole"}[
        facts["reading"]
    ]
    classes = ", ".join(printable(name) for name in facts["classes"])
    return {
        "model": f"{facts['model']}({', '.join(pairs.values())})",
        "images": f"{' x '.join(map(str, facts['images']))}, read from a picture as {reading}",
        "preparation": preparation_in_words(**facts["preparation"]),
        "classes": f"{len(facts['classes'])}: {classes}",
    }


def preparation_in_words(size, fit, mean, std, mean_image):
    fitted = {"pad": "padded", "resize": "resized"}[fit]
    less = "the mean image subtracted, " if mean_image else ""
    return f"{fitted} to {size[0]} x {size[1]}, {less}mean {mean:.4g}, standard deviation {std:.4g} (1 is white)"
