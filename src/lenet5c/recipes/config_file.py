"""Settings of a run from a file: the config.json of a run, or hand-written JSON or TOML."""

import json
import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c._text import suggest
from lenet5c.errors import RunError
from lenet5c.recipes.run_config import RunConfig, option_settings

MAXIMUM = 1 << 20  # maximum bytes of a file


def read_config_file(path: str | os.PathLike[str], **changes: Any) -> RunConfig:
    """Read the configuration of a run from a file.

    Parameters
    ----------
    path : str or path-like
        The config.json of a run, or a JSON object, or TOML if the file name ends in .toml, with
        settings by option name: ``epochs = 4``, ``batch-size = 32``. Paths in it are relative to
        the current folder.
    **changes
        Settings that replace those in the file, and `folder`.

    Returns
    -------
    RunConfig
        The configuration; that of a config.json includes the digest of the data and is only valid
        for it.

    Raises
    ------
    FileNotFoundError
    RunError
        If the file is invalid; the message has the setting.
    """
    path = Path(path)
    values = _read(path)
    try:
        if "lenet5c" in values:
            return _change(RunConfig.from_dict(values), changes)
        settings = dict(_name_settings(path, values)) | changes
        return RunConfig.named(settings.pop("recipe", None), **settings)
    except RunError:
        raise
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = _files.read_bytes(path, MAXIMUM)
        if path.suffix.lower() == ".toml":
            import tomllib

            return tomllib.loads(content.decode())
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} must be JSON, or TOML in a file ending in .toml: {error}") from None
    if not isinstance(values, dict):
        raise RunError(f"{path} must contain settings by name, got {type(values).__name__}")
    if "format" in values:
        values, _ = _files.read_record(path, "config")
    return values


def _name_settings(path: Path, values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the settings by their names in the API."""
    known = {(setting.named or name): name for name, setting in option_settings().items()}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise RunError(f"{path} has the unknown setting {key}{suggest(name, known)}")
        yield known[name], value


def _change(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """Return a run with changed settings, removing the digests of replaced data or models."""
    own = {each.name for each in fields(RunConfig)} - {"recipe"}
    of_run = {name: changes[name] for name in changes if name in own}
    if "recipe" in changes and changes["recipe"] != config.recipe:
        raise ValueError(f"recipe must be {config.recipe} or omitted, got {changes['recipe']}")
    of_recipe = {name: value for name, value in changes.items() if name not in own | {"recipe"}}
    config = replace(config, settings=config.settings.change(**of_recipe), **of_run)
    if of_run.keys() - {"folder", "seed", "threads", "watch_test", "fold", "folds", "freeze"}:
        config = replace(config, data_digest=None, start_digest=None, taught_by_digest=None)
    return config
