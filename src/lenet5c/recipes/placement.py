"""Folders and names of several runs, based on digests."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c.datasets import Source
from lenet5c.errors import RunError
from lenet5c.recipes.run import data_digest
from lenet5c.recipes.run_config import NOTHING, RunConfig
from lenet5c.recipes.start import read_model_digest

#: Data included in the package, which need not be read to compute a digest.
CONSTANT = ("mnist", "signs")


def place(
    configs: Sequence[RunConfig],
    folder: Path,
    sources: Sequence[Source | None] | None = None,
    on_message: Callable[[str], object] | None = None,
) -> list[RunConfig]:
    """Return runs with folders named by a digest of settings and data.

    A folder is never reused for a run with other settings or data.
    """
    placed: dict[Path, RunConfig] = {}
    digests: dict[Any, str] = {}
    for i, config in enumerate(configs):
        source = sources[i] if sources else None
        read = config.data, config.read_options, config.rehearse, config.start is None
        key = str(read) if source is None else f"{id(source)} {config.rehearse}"
        if key not in digests:
            digests[key] = _digest_data(config, source, on_message)
        start, teacher = config.open_start(), config.open_teacher()
        values = replace(
            config,
            data_digest=digests[key],
            start_digest=None if start is None else read_model_digest(start),
            taught_by_digest=None if teacher is None else read_model_digest(teacher),
        ).to_dict()
        sha = _files.digest(json.dumps(values, sort_keys=True))[:12]
        size, fold = config.settings.train_size, config.fold
        words = [config.recipe, size, f"fold-{fold}" if fold else None, config.seed, sha]
        path = folder / "-".join(str(word) for word in words if word is not None)
        if path in placed:
            raise RunError(f"configs must differ from each other, got {title(config)} twice")
        placed[path] = replace(config, folder=path)
    return list(placed.values())


def _digest_data(
    config: RunConfig, source: Source | None, on_message: Callable[[str], object] | None
) -> str:
    """Return a digest of the data of a run, including the content if it may change."""
    if source is not None:
        return data_digest(source, config.open_rehearsed(source, on_message))
    if config.data in CONSTANT and config.rehearse in (None, NOTHING, *CONSTANT):
        return _files.digest(f"{config.data} {config.rehearse}")
    source = config.open_whole(on_message)
    return data_digest(source, config.open_rehearsed(source))


def title(config: RunConfig) -> str:
    """Return the name of a run for messages."""
    size, fold = config.settings.train_size, config.fold
    return (
        f"{config.recipe}, seed {config.seed}"
        + (f", fold {fold} of {config.folds}" if fold else "")
        + (f", {size:,} training images" if size else "")
    )
