"""``lenet5c summary``: a model layer by layer, with shapes, neurons, parameters and connections.

Exit codes: 0 done, 2 bad use, 130 interrupted.
"""

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from lenet5c import nn
from lenet5c._text import printable, table
from lenet5c.commands.cli import MODEL_HELP, say, shape, whole
from lenet5c.datasets.framing import Framing
from lenet5c.errors import UserError
from lenet5c.nn import NETS, Sequential
from lenet5c.nn.registry import TYPES
from lenet5c.nn.summary import layer_rows
from lenet5c.recipes import RECIPES
from lenet5c.training import TrainedModel, open_model

DESCRIPTION = "Show a model layer by layer: shapes, neurons, parameters, connections."
EXAMPLES = """examples:
  lenet5c summary                         the net of lenet5c train
  lenet5c summary best                    the trained model in the package
  lenet5c summary runs/first              the model of a run
  lenet5c summary --recipe paper1998      the net of 1998
  lenet5c summary --recipe average-pool --input 3x48x64 --classes 5"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help=MODEL_HELP)
    text = f"the untrained net of a recipe: {', '.join(RECIPES)} (default: default)"
    add("--recipe", choices=RECIPES, metavar="R", help=text)
    text = "of the untrained net: channels, height, width (default: gray, the recipe's size)"
    add("--input", type=shape, metavar="CxHxW", help=text)
    add("--classes", type=whole(1, 10**6), metavar="N", help="of the untrained net (default: 10)")
    add("--json", action="store_true", help="as JSON")


def run(options: Namespace) -> None:
    """Print a model file or an untrained net as a table or as JSON."""
    facts: dict[str, Any] = {}
    if options.model is None:
        model: Any = make_untrained(options)
        input_shape = model.input_shape
    else:
        for name in ("recipe", "input", "classes"):
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name} must be left out for a trained model, got it with {options.model}"
                )
        trained = open_model(options.model)
        model, facts, input_shape = trained.model, list_facts(trained), trained.input_shape
    if options.json:
        rows = layer_rows(model, input_shape)
        keys = ("neurons", "parameters", "connections")
        total = {key: sum(row[key] for row in rows[1:]) for key in keys}
        say(json.dumps({**facts, "layers": rows, "total": total}, indent=2))
        return
    say(model.summary(input_shape))
    if facts:
        say("\n" + table(describe(facts), "ll"))


def make_untrained(options: Namespace) -> Sequential:
    """Return the net of a recipe; its weights are not looked at."""
    recipe = RECIPES[options.recipe or "default"]
    channels, *size = options.input or (1, *recipe.usual_size)
    try:
        return NETS[recipe.net](
            num_classes=10 if options.classes is None else options.classes,
            in_channels=channels,
            input_size=size,
            **recipe.model,
        )
    except (ValueError, TypeError) as error:
        raise UserError(error) from None


def list_facts(trained: TrainedModel) -> dict[str, Any]:
    """Return the facts of a model file beside its layers."""
    return {
        "model": type(trained.model).__name__,
        "net": nn.describe(trained.model),
        "images": list(trained.image_shape),
        "reading": trained.reading,
        "framing": trained.framing and trained.framing.to_dict(),
        "preparation": trained.preparation.to_dict(),
        "classes": list(trained.class_names),
    }


def list_levels(color: tuple[int, ...]) -> str:
    """Return the gray level, or the levels of red, green and blue."""
    return ", ".join(map(str, color))


def describe(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the facts in words."""
    net = dict(facts["net"]["settings"])
    options = getattr(TYPES[facts["net"]["type"]], "options", {})
    for name, option in options.items():
        if name in net and not option.of_data and net[name] == option.default:
            del net[name]  # as usual
    if isinstance(layers := net.get("layers"), list):  # which the table has
        net["layers"] = len(layers)
    settings = ", ".join(f"{name}={value}" for name, value in net.items())
    readings = {"ink": "the ink, cropped and centered", "whole": "the picture as a whole"}
    preparation = facts["preparation"]
    fitted = {"pad": "padded", "resize": "resized"}[preparation["fit"]]
    framing = "none, as it was not trained on digits on a plain ground"
    if facts["framing"] is not None:
        form = Framing.from_dict(facts["framing"])
        height, width = form.box_size(facts["images"][1:])
        framing = (
            f"ink of {list_levels(form.ink)} on {list_levels(form.paper)}, {height} x {width} "
            f"pixels, centered by its {form.center}"
        )
    less = "the mean image subtracted, " if preparation["mean_image"] else ""
    return [
        ("model", f"{facts['model']}({settings})"),
        (
            "images",
            f"{' x '.join(map(str, facts['images']))}, read from a picture as "
            f"{readings[facts['reading']]}",
        ),
        ("framing", framing),
        (
            "preparation",
            f"{fitted} to {' x '.join(map(str, preparation['size']))}, {less}mean "
            f"{preparation['mean']:.4g}, standard deviation {preparation['std']:.4g} (1 is white)",
        ),
        ("classes", f"{len(facts['classes'])}: {', '.join(map(printable, facts['classes']))}"),
    ]
