"""The command that does a run again."""

import json
import shlex

from lenet5c.datasets import Distortion
from lenet5c.recipes import RECIPES
from lenet5c.recipes.recipe import Recipe


def repeat_command(config):
    """What trains this configuration anew.

    Parameters
    ----------
    config : dict
        The config.json of a run.

    Returns
    -------
    str

    Examples
    --------
    >>> from lenet5c.recipes import RECIPES
    >>> from lenet5c.report.repeat import repeat_command
    >>> repeat_command({"recipe": "fast", "data": "mnist", "seed": 3, **RECIPES["fast"].to_dict(), "epochs": 1})
    'lenet5c train --recipe fast --seed 3 --epochs 1'
    """
    name = config["recipe"]
    usual = (RECIPES.get(name) or Recipe()).to_dict()
    words = ["lenet5c", "train"]
    if name != "default":
        words += ["--recipe", name]
    if config["data"] != "mnist":
        words += ["--data", config["data"]]
    words += ["--seed", str(config["seed"])]
    for key, value in config.items():
        if key not in usual or _same(value, usual[key]) or value is None:
            continue
        option = "--" + key.replace("_", "-")
        if key == "model":
            for part, chosen in value.items():
                if not _same(chosen, usual["model"].get(part)):
                    words += _option("--" + part.replace("_", "-"), chosen)
        elif key == "distortion":
            words += [option, _distortion(value)]
        elif isinstance(value, dict):
            words += [
                option,
                *(
                    f"{part}={json.dumps(chosen, separators=(',', ':'))}"
                    for part, chosen in value.items()
                ),
            ]
        else:
            words += _option(option, value)
    if config.get("reading"):
        words += ["--reading", config["reading"]]
    if config.get("skip_bad"):
        words.append("--skip-bad")
    if config.get("watch_test"):
        words.append("--watch-test")
    return shlex.join(words)


def _option(option, value):
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    return [option, str(value)]


def _distortion(values):
    named = {name: Distortion.named(name).to_dict() for name in Distortion.NAMES}
    return next((name for name, each in named.items() if each == values), "none")


def _same(a, b):
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
