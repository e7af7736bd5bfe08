"""``lenet5c summary``: show the layers of a model with shapes, parameters and connections.

Exit codes: 0 done, 2 bad use, 130 interrupted.
"""

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from lenet5c import nn
from lenet5c._text import list_some, printable, table
from lenet5c.commands.cli import MODEL_HELP, say
from lenet5c.commands.train import option_arguments
from lenet5c.datasets.framing import Framing
from lenet5c.errors import UserError
from lenet5c.kernels.shapes import pair
from lenet5c.nn import NETS, Sequential
from lenet5c.nn.ensemble import describe_kind
from lenet5c.nn.registry import TYPES
from lenet5c.nn.summary import COUNTS, layer_rows
from lenet5c.nn.work import check_work
from lenet5c.recipes import RECIPES, Recipe
from lenet5c.recipes.build import make_net
from lenet5c.recipes.net_settings import NET_SETTINGS
from lenet5c.recipes.setting import NET, Setting, option
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import build_net

DESCRIPTION = (
    "Show a summary of a model: output shape, neurons, parameters, connections and multiply-adds "
    "of each layer."
)
EXAMPLES = """examples:
  lenet5c summary                         the net of lenet5c train
  lenet5c summary best                    the trained model included in lenet5c
  lenet5c summary runs/first              the model of a run
  lenet5c summary --recipe paper1998      the net of 1998
  lenet5c summary --net small_color --input-size 48 64 --num-classes 5
  lenet5c summary --channels 12 32 --kernel-size 3 --units 84"""
#: Options of a net that are otherwise determined by the data.
DATA_OPTIONS = ("num_classes", "in_channels", "input_size")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help=MODEL_HELP)
    add("--json", action="store_true", help="print the summary as JSON")
    group = parser.add_argument_group("untrained net, instead of MODEL")
    text = f"show the net of a recipe: {', '.join(RECIPES)} (default: default)"
    group.add_argument("--recipe", choices=RECIPES, metavar="R", help=text)
    for name, setting in net_settings().items():
        group.add_argument(
            option(name, setting),
            help=setting.describe(None).replace("%", "%%"),
            **option_arguments(setting.kind),
        )


def net_settings() -> dict[str, Setting]:
    """Return the settings of an untrained net by name: the net itself and its options."""
    of_data = {
        name: Setting(each.kind, each.help, NET, "as in the net" if name != "num_classes" else "10")
        for name, each in NETS["lenet5"].options.items()
        if each.of_data
    }
    return {"net": Recipe.settings()["net"]} | of_data | NET_SETTINGS


def run(options: Namespace) -> None:
    """Print a model file or an untrained net as a table or as JSON."""
    facts: dict[str, Any] = {}
    model: Any
    if options.model is None:
        model, input_shape = make_untrained(options)
    else:
        for name in ("recipe", *net_settings()):
            if getattr(options, name) is not None:
                shown = name.replace("_", "-")
                raise UserError(
                    f"--{shown} cannot be combined with a trained model, got {options.model}"
                )
        trained = open_model(options.model)
        model, facts, input_shape = trained.model, list_facts(trained), trained.input_shape
    if options.json:
        rows = layer_rows(model, input_shape)
        keys = COUNTS
        total = {key: sum(row[key] for row in rows[1:]) for key in keys}
        say(json.dumps({**facts, "layers": rows, "total": total}, indent=2))
        return
    say(model.summary(input_shape))
    if facts:
        say("\n" + table(describe(facts), "ll"))


def make_untrained(options: Namespace) -> tuple[Sequential, tuple[int, ...]]:
    """Return the net of a recipe or a custom net, and the shape of its samples.

    Its weights are not used.
    """
    given = {
        name: value for name in net_settings() if (value := getattr(options, name)) is not None
    }
    of_data = {name: given.pop(name) for name in DATA_OPTIONS if name in given}
    try:
        recipe = RECIPES[options.recipe or "default"].change(**given)
        if isinstance(recipe.net, dict):
            model = build_net(recipe.net)
            shape = find_shape(model, of_data)
            check_work(model, shape)
            return model, shape
        sized = {"input_size": recipe.default_size} if "net" not in given else {}
        net: Any = make_net(recipe.net, sized | of_data | recipe.model)
        return net, net.input_shape
    except (ValueError, TypeError) as error:
        raise UserError(error) from None


def find_shape(model: Sequential, of_data: dict[str, Any]) -> tuple[int, ...]:
    """Return the sample shape of a described net, or that of the options."""
    if "num_classes" in of_data:
        raise ValueError(
            f"--num-classes cannot be combined with a net description, got {of_data['num_classes']}"
        )
    if model.input_shape is not None:
        if of_data:
            raise ValueError(
                "--input-size and --in-channels cannot be combined with a net that has an "
                "input_shape, "
                f"got {', '.join(f'{name}={value}' for name, value in of_data.items())}"
            )
        return model.input_shape
    if "input_size" not in of_data:
        raise ValueError(
            "--net must have an input_shape, got none; add it to the description, or use "
            "--input-size (and --in-channels if not 1)"
        )
    height, width = pair(of_data["input_size"], "--input-size", 1)
    return of_data.get("in_channels", 1), height, width


def list_facts(trained: TrainedModel) -> dict[str, Any]:
    """Return the properties of a model file other than its layers."""
    return {
        "model": describe_kind(trained.model),
        "net": nn.describe(trained.model),
        "images": list(trained.image_shape),
        "reading": trained.reading,
        "framing": trained.framing and trained.framing.to_dict(),
        "preparation": trained.preparation.to_dict(),
        "temperature": trained.temperature,
        "classes": list(trained.class_names),
    }


def list_levels(color: tuple[int, ...]) -> str:
    """Return the gray level, or the levels of red, green and blue."""
    return ", ".join(map(str, color))


def describe(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the properties as text."""
    net = dict(facts["net"]["settings"])
    options = getattr(TYPES[facts["net"]["type"]], "options", {})
    for name, each in options.items():
        if name in net and not each.of_data and net[name] == each.default:
            del net[name]  # the default
    members = []
    if isinstance(layers := net.get("layers"), list):  # shown in the table
        net["layers"] = len(layers)
        if [layer["type"] for layer in layers] == ["Ensemble"]:
            own = layers[0]["settings"]
            members = [
                f"{printable(member['name'])} at temperature {temperature:g}"
                for member, temperature in zip(own["members"], own["temperatures"], strict=True)
            ]
    settings = ", ".join(f"{name}={value}" for name, value in net.items())
    readings = {"ink": "the ink, cropped and centered", "whole": "the whole picture"}
    preparation = facts["preparation"]
    fitted = {"pad": "padded", "resize": "resized"}[preparation["fit"]]
    framing = "none, not trained on digits on a plain background"
    if facts["framing"] is not None:
        form = Framing.from_dict(facts["framing"])
        height, width = form.box_size(facts["images"][1:])
        framing = (
            f"ink of {list_levels(form.ink)} on {list_levels(form.paper)}, {height} x {width} "
            f"pixels, centered by {form.center}"
        )
    less = "mean image subtracted, " if preparation["mean_image"] else ""
    return [
        ("model", facts["model"] if members else f"{facts['model']}({settings})"),
        *[("members", list_some(members))] * bool(members),
        (
            "images",
            f"{' x '.join(map(str, facts['images']))}, made from {readings[facts['reading']]}",
        ),
        ("framing", framing),
        (
            "preparation",
            f"{fitted} to {' x '.join(map(str, preparation['size']))}, {less}mean "
            f"{preparation['mean']:.4g}, standard deviation {preparation['std']:.4g} (1 is white)",
        ),
        ("temperature", f"{facts['temperature']:g}"),
        ("classes", f"{len(facts['classes'])}: {', '.join(map(printable, facts['classes']))}"),
    ]
