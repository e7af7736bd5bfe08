"""Ensembles of trained models."""

import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lenet5c._text import printable
from lenet5c.datasets import Preparation
from lenet5c.errors import RunError
from lenet5c.nn import Conv2d, Ensemble, Sequential
from lenet5c.nn.ensemble import find_ensemble
from lenet5c.training.model_file import SHIPPED, TrainedModel, open_model
from lenet5c.training.run_folder import RunFolder
from lenet5c.training.summary import MODEL_NAME

#: Names of the layer of an ensemble, and of a member's normalization and net.
LAYER, INPUT, NET = "ensemble", "input", "net"
#: Framing attributes in which members must agree, with their descriptions.
FRAMING = {"dark": "dark ink", "center": "center of the ink", "stretched": "stretched ink"}


def make_ensemble(models: Mapping[str, TrainedModel] | Sequence[TrainedModel]) -> TrainedModel:
    """Combine several models into an ensemble that averages their probabilities.

    Each member uses its own temperature and its own mean and standard deviation of pixels; if all
    members pad images, also its own input size. Otherwise, the preparation of images must be the
    same. Members are copied. The temperature of the ensemble is 1; use `calibrate` to fit it.

    Parameters
    ----------
    models : mapping of str to TrainedModel, or sequence of TrainedModel
        At least two models by name; those of a sequence are called '0', '1', ...

    Returns
    -------
    TrainedModel
        A model whose `model` is a `Sequential` with one `lenet5c.nn.Ensemble` layer. If the framing
        of the members differs slightly, that of the first is used.

    Raises
    ------
    ValueError
        If there are fewer than two models, or a name is invalid.
    RunError
        If a member is an ensemble, or its classes or images differ from those of the first; the
        message has the member and the difference.

    Examples
    --------
    >>> import lenet5c
    >>> from lenet5c.training import make_ensemble
    >>> trainers = [lenet5c.trainer("fast", seed=seed, train_size=500) for seed in (0, 1)]
    >>> for trainer in trainers:
    ...     history = trainer.fit(progress=False)
    >>> pair = make_ensemble([trainer.trained for trainer in trainers])
    >>> train, test = lenet5c.datasets.mnist()
    >>> pair.probabilities(test.images[:3]).shape
    (3, 10)
    """
    if not isinstance(models, Mapping):
        models = {str(number): model for number, model in enumerate(models)}
    named = dict(models)
    if len(named) < 2:
        raise ValueError(f"models must contain at least two models, got {len(named)}")
    (first_name, first), *others = named.items()
    for name, model in named.items():
        if find_ensemble(model.model) is not None:
            raise RunError(
                f"member {name} must be a single net, got an ensemble; pass its members instead"
            )
    for name, model in others:
        check_alike(first_name, first, name, model)
    preparations = [model.preparation for model in named.values()]
    members = {name: deepcopy(model.model) for name, model in named.items()}
    preparation = preparations[0]
    if not all(_is_same(preparation, each) for each in preparations):
        # Unscaled pixels of the smallest size, which each member prepares itself.
        sizes = zip(*(each.size for each in preparations), strict=True)
        height, width = map(min, sizes)
        fit = "pad" if "pad" in map(_fit, named.values()) else preparation.fit
        preparation = Preparation((height, width), fit, std=1 / 255)
        members = {
            name: Sequential({INPUT: _prepare(preparation.size, own, first.image_shape), NET: net})
            for (name, net), own in zip(members.items(), preparations, strict=True)
        }
    layer = Ensemble(members, temperatures=[model.temperature for model in named.values()])
    net = Sequential({LAYER: layer}, input_shape=(first.image_shape[0], *preparation.size))
    return replace(first, model=net, preparation=preparation, temperature=1.0, path=None)


def list_members(trained: TrainedModel) -> dict[str, TrainedModel]:
    """Return the members of an ensemble by name, sharing its weights; none for a single net."""
    layer = find_ensemble(trained.model)
    if layer is None:
        return {}
    return {
        name: replace(trained, model=member, temperature=temperature, path=None)
        for (name, member), temperature in zip(
            layer.members.items(), layer.temperatures, strict=True
        )
    }


def check_alike(first_name: str, first: TrainedModel, name: str, model: TrainedModel) -> None:
    """Raise a RunError unless a member has the classes and image format of the first."""
    a, b = first.preparation, model.preparation
    means = (a.mean_image is None and b.mean_image is None) or _is_same(a, b)
    forms = ["measured" if each.framing else "none" for each in (model, first)]
    differing: list[tuple[str, Any, Any]] = [
        ("the classes", list(model.class_names), list(first.class_names)),
        ("images of shape", model.image_shape, first.image_shape),
        ("the reading", model.reading, first.reading),
        ("the levels of white", model.white, first.white),
        ("the framing of digits", forms[0], forms[1]),
    ]
    fits = {_fit(model), _fit(first)} - {None}
    if len(fits) > 1:
        differing.append(("the preparation fit", b.fit, a.fit))
    elif "resize" in fits:
        differing.append(("the input size", b.size, a.size))
    if model.framing and first.framing:
        differing += [
            (what, getattr(model.framing, part), getattr(first.framing, part))
            for part, what in FRAMING.items()
        ]
    for what, own, wanted in differing:
        if own != wanted:
            raise RunError(
                f"member {name} must have {what} {_short(wanted)} like {first_name}, got "
                f"{_short(own)}; omit it, or train it with the same settings"
            )
    if not means:
        raise RunError(
            f"member {name} must have the mean image of {first_name}, got a different one; omit "
            "it, or train it on the same images"
        )


def open_members(paths: Sequence[str | os.PathLike[str]]) -> dict[str, TrainedModel]:
    """Open the models of some paths, with short unique names.

    Parameters
    ----------
    paths : sequence of str or path-like
        Model files, folders of runs, folders of such folders, or names (see `open_model`).

    Raises
    ------
    RunError
        If a path is none of these, or a model cannot be opened or occurs twice.
    """
    found: dict[str, TrainedModel] = {}
    places: set[str | Path] = set()
    for path in paths:
        for each in _expand(path):
            place = each if each in SHIPPED else _model_file(each).resolve()
            if place in places:
                raise RunError(f"RUN must be different models, got {each} twice")
            places.add(place)
            name = unique = _short_name(each)
            number = 2
            while unique in found:
                unique, number = f"{name}-{number}", number + 1
            found[unique] = open_model(each)
    return found


def _expand(path: str | os.PathLike[str]) -> list[str | Path]:
    """Return the path of a model, or the paths of the runs in a folder, sorted by name."""
    folder = Path(path)
    if str(path) in SHIPPED or not folder.is_dir():
        return [str(path)]
    if (folder / MODEL_NAME).exists() or RunFolder(folder).config_file.exists():
        return [folder]
    runs = [
        each
        for each in sorted(folder.iterdir(), key=_split_numbers)
        if (each / MODEL_NAME).exists() or RunFolder(each).config_file.exists()
    ]
    if not runs:
        raise RunError(
            "RUN must be a model file, the folder of a run, or a folder of such folders, got "
            f"{path}, which contains no model"
        )
    return list(runs)


def _split_numbers(path: Path) -> list[str | int]:
    """Return a sort key that puts seed-2 before seed-10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _model_file(path: str | Path) -> Path:
    place = Path(path)
    return place / MODEL_NAME if place.is_dir() else place


def _short_name(path: str | Path) -> str:
    """Return the name of a member: that of its run folder or file."""
    place = Path(path)
    if str(path) not in SHIPPED:
        place = place.resolve()
    if place.name == MODEL_NAME:
        place = place.parent
    name = place.stem if place.suffix == ".safetensors" else place.name
    return printable(name.replace(".", "-")) or "model"


def _prepare(size: tuple[int, int], preparation: Preparation, shape: tuple[int, ...]) -> Conv2d:
    """Return a layer that applies a preparation to pixels from 0 to 255.

    The layer is a 1 by 1 convolution for each channel; padding becomes the value of black.

    Parameters
    ----------
    size : (int, int)
        Size of the images, which may already be padded.
    preparation : Preparation
    shape : (int, int, int)
        Shape of the images before padding.
    """
    channels = shape[0]
    pads: list[tuple[int, int]] = []
    for before, after, source in zip(size, preparation.size, shape[1:], strict=True):
        first = (after - source) // 2 - (before - source) // 2 if after != before else 0
        pads.append((first, after - before - first))
    vertical, horizontal = pads
    layer = Conv2d(channels, channels, 1, padding=(vertical, horizontal), groups=channels)
    layer.params["weight"] = np.full(layer.params["weight"].shape, preparation.scale)
    layer.params["bias"] = preparation.offset(channels)[:, 0, 0]
    return layer


def _fit(model: TrainedModel) -> str | None:
    """Return how a model fits images to its input size, None if they already have it."""
    preparation = model.preparation
    return None if preparation.size == model.image_shape[1:] else preparation.fit


def _is_same(a: Preparation, b: Preparation) -> bool:
    return a.to_dict() == b.to_dict() and np.array_equal(_mean_image(a), _mean_image(b))


def _mean_image(preparation: Preparation) -> Any:
    return np.zeros(0) if preparation.mean_image is None else preparation.mean_image


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
