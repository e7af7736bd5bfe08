"""Nets that a recipe describes layer by layer, in place of naming one."""

import json
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c.errors import RunError
from lenet5c.nn import NETS, RBF, Sequential
from lenet5c.nn.kind import Kind, plain
from lenet5c.nn.layer import Rng, Shape
from lenet5c.nn.limits import limit_values
from lenet5c.nn.work import check_work
from lenet5c.training.model_file import build_net, describe_net

#: Bytes of a file with a description.
MOST = 1 << 20
#: Of a net: 130 times as many as LeNet-5 has; a training takes some 24 bytes for each.
MOST_PARAMETERS = 2**23
#: Settings of a last layer that count its outputs.
COUNTS = ("num_classes", "out_features", "classes", "out_channels")


@dataclass(frozen=True)
class Facts:
    """Facts of a net that a recipe needs: the input shape, if it has one, and what its outputs are.

    `penalties` is true if they are smallest at the predicted label.
    """

    input_shape: Shape | None
    penalties: bool


def take_description(net: Any) -> Any:
    """Return the description of a `Sequential`; a name or a description as it is."""
    return describe_net(net) if isinstance(net, Sequential) else plain(net)


def parse_net(text: str) -> Any:
    """Return what the text of an option means: a net's name, or the description in a file.

    The description itself, as JSON, is taken, too.

    Raises
    ------
    RunError
        There is no such file, or it is not JSON.
    """
    if text in NETS:
        return text
    content: str | bytes = text
    try:
        if not text.lstrip().startswith("{"):
            content = _files.read_bytes(Path(text), MOST)
        return json.loads(content)
    except OSError as error:
        raise RunError(
            f"must be one of {', '.join(NETS)}, or a JSON file with the description of a net, got "
            f"{text[:80]}: {error.strerror}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"must be a description of a net as JSON: {error}") from None


#: The net of a recipe.
NET_KIND = Kind(
    f"one of {', '.join(NETS)}, or the description of a net",
    lambda value: isinstance(value, dict) or (isinstance(value, str) and value in NETS),
    parse_net,
    "NET",
    normal=take_description,
)


def name_net(net: Any) -> str:
    """Return the name of a net, or what is described in its place."""
    return net if isinstance(net, str) else "described layer by layer"


def has_penalties(net: Any) -> bool:
    """Return whether outputs of a recipe's net are smallest at the predicted label."""
    return net == "lenet5_1998" if isinstance(net, str) else check_net(net).penalties


def check_net(description: Any) -> Facts:
    """Return the facts of a description, which is not trusted; a ValueError says what is wrong."""
    try:
        text = json.dumps(description)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"net must be a JSON description: {error}") from None
    return _check_net(text)


@lru_cache(maxsize=8)
def _check_net(text: str) -> Facts:
    model = _build(json.loads(text))
    if model.input_shape is not None and len(model.input_shape) != 3:
        raise ValueError(
            "net: input_shape must be the shape of an image, (channels, height, width), got "
            f"{model.input_shape}; begin with a Flatten if the layers take rows"
        )
    last = [layer for layer in model.flat_layers() if layer.params or layer.buffers][-1:]
    return Facts(model.input_shape, bool(last) and isinstance(last[0], RBF))


def _build(description: Any, rng: Rng = None) -> Sequential:
    try:
        with limit_values(MOST_PARAMETERS):
            return build_net(description, rng)
    except ValueError as error:
        raise ValueError(f"net: {error}") from None


def make_net(description: Any, input_shape: Shape, num_classes: int, rng: Rng) -> Sequential:
    """Return the net of a description, for such samples and so many classes.

    Raises
    ------
    ValueError
        It takes other samples, or has another number of outputs.
    """
    model = _build(description, rng)
    check_outputs(model, input_shape, num_classes)
    return model


def check_outputs(model: Sequential, input_shape: Shape, num_classes: int) -> None:
    """Raise a ValueError unless a net has an output a class for such samples."""
    takes = model.input_shape
    if takes is not None and takes[0] != input_shape[0]:
        raise ValueError(
            f"net must take images of {input_shape[0]} channels, as the data has, got "
            f"input_shape={takes}"
        )
    try:
        outputs = check_work(model, input_shape)
    except ValueError as error:
        hint = "" if takes else "; give it the input_shape of the images that it takes"
        raise ValueError(f"net: {error}{hint}") from None
    if outputs != (num_classes,):
        raise ValueError(
            f"net must have {num_classes} outputs, one for each class of the data, got {outputs}; "
            "change its last layer"
        )


def with_classes(model: Sequential, head: str, count: int) -> dict[str, Any]:
    """Return the description of a net, with so many outputs of its last layer, `head`."""
    description = deepcopy(describe_net(model))
    found: Any = description
    if "num_classes" in signature(type(model)).parameters:
        found["settings"]["num_classes"] = count
        return description
    for name in head.split("."):
        layers = found["settings"].get("layers", ())
        found = next((each for each in layers if each.get("name") == name), None)
        if found is None:
            break
    count_name = next((each for each in COUNTS if found and each in found["settings"]), None)
    if count_name is None:
        raise ValueError(
            f"data must have the classes of the model to start from, as its last layer, {head}, "
            "cannot be replaced; end the net with Linear"
        )
    found["settings"][count_name] = count
    return description
