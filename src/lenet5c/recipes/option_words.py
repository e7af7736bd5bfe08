"""Conversion of settings to command line arguments."""

import json
from contextlib import suppress
from typing import Any

from lenet5c.datasets import Distortion
from lenet5c.recipes.custom_net import NET_KIND
from lenet5c.recipes.setting import Setting
from lenet5c.recipes.setting import option as option_of


def distortion_name(value: object) -> object:
    """Return the name of a distortion, 'none' for None, or unnamed settings unchanged."""
    if isinstance(value, dict) and value:
        with suppress(TypeError, ValueError):  # settings are not checked yet
            made = Distortion.from_dict(value)
            return next(
                (name for name in Distortion.NAMES if Distortion.named(name) == made), value
            )
    return value or "none"


def option_words(name: str, setting: Setting, value: Any) -> list[str]:
    """Return the command line arguments for a value of a setting."""
    option = option_of(name, setting)
    if isinstance(value, bool):
        return [option if value else f"--no-{option[2:]}"]
    if isinstance(value, list) and value and isinstance(value[0], str):
        # With a comma, a space is part of a name.
        return [option, ",".join(value) + ("," if len(value) == 1 and " " in value[0] else "")]
    if setting.kind.several:
        return [option, *map(str, value if isinstance(value, list) else [value])]
    if setting.kind is NET_KIND and isinstance(value, dict):
        return [option, json.dumps(value, separators=(",", ":"))]
    if setting.kind.many:
        parts = (f"{key}={json.dumps(each, separators=(',', ':'))}" for key, each in value.items())
        return [option, *parts]
    if isinstance(value, dict):
        return [option, json.dumps(value, separators=(",", ":"))]
    return [option, str(value)]
