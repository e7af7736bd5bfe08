"""Nets that are described layer by layer in a recipe."""

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

#: Maximum bytes of a file with a description.
MAXIMUM = 1 << 20
#: Maximum parameters, 130 times those of LeNet-5; training takes about 24 bytes for each.
MAX_PARAMETERS = 2**23
#: Settings of a last layer with its number of outputs.
COUNTS = ("num_classes", "out_features", "classes", "out_channels")


@dataclass(frozen=True)
class Facts:
    """Properties of a net needed by a recipe: its input shape, if any, and the kind of outputs.

    `penalties` is True if the output is smallest for the predicted label.
    """

    input_shape: Shape | None
    penalties: bool


def take_description(net: Any) -> Any:
    """Return the description of a `Sequential`; return names and descriptions unchanged."""
    return describe_net(net) if isinstance(net, Sequential) else plain(net)


def parse_net(text: str) -> Any:
    """Parse the text of an option: the name of a net, or a file with its description.

    The description itself, as JSON, is also accepted.

    Raises
    ------
    RunError
        If there is no such file, or it is not JSON.
    """
    if text in NETS:
        return text
    content: str | bytes = text
    try:
        if not text.lstrip().startswith("{"):
            content = _files.read_bytes(Path(text), MAXIMUM)
        return json.loads(content)
    except OSError as error:
        raise RunError(
            f"must be one of {', '.join(NETS)}, or a JSON file with the description of a net, got "
            f"{text[:80]}: {error.strerror}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"must be a description of a net as JSON: {error}") from None


#: Net of a recipe.
NET_KIND = Kind(
    f"one of {', '.join(NETS)}, or the description of a net",
    lambda value: isinstance(value, dict) or (isinstance(value, str) and value in NETS),
    parse_net,
    "NET",
    normal=take_description,
)


def name_net(net: Any) -> str:
    """Return the name of a net, or a phrase for a described net."""
    return net if isinstance(net, str) else "described layer by layer"


def has_penalties(net: Any) -> bool:
    """Return True if the outputs of a recipe's net are smallest for the predicted label."""
    return net == "lenet5_1998" if isinstance(net, str) else check_net(net).penalties


def check_net(description: Any) -> Facts:
    """Return the properties of an untrusted description, or raise a ValueError."""
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
        with limit_values(MAX_PARAMETERS):
            return build_net(description, rng)
    except ValueError as error:
        raise ValueError(f"net: {error}") from None


def make_net(description: Any, input_shape: Shape, num_classes: int, rng: Rng) -> Sequential:
    """Build the net of a description for a sample shape and number of classes.

    Raises
    ------
    ValueError
        If the net has another input shape or number of outputs.
    """
    model = _build(description, rng)
    check_outputs(model, input_shape, num_classes)
    return model


def check_outputs(model: Sequential, input_shape: Shape, num_classes: int) -> None:
    """Raise a ValueError unless a net has one output per class for these samples."""
    takes = model.input_shape
    if takes is not None and takes[0] != input_shape[0]:
        raise ValueError(
            f"net must accept images with the {input_shape[0]} channels of the data, got "
            f"input_shape={takes}"
        )
    try:
        outputs = check_work(model, input_shape)
    except ValueError as error:
        hint = "" if takes else "; set its input_shape"
        raise ValueError(f"net: {error}{hint}") from None
    if outputs != (num_classes,):
        raise ValueError(
            f"net must have {num_classes} outputs, one for each class of the data, got {outputs}; "
            "change its last layer"
        )


def with_classes(model: Sequential, head: str, count: int) -> dict[str, Any]:
    """Return the description of a net with a new number of outputs of its last layer, `head`."""
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
            f"data must have the classes of the initial model, because its last layer, "
            f"{head}, "
            "cannot be replaced; end the net with Linear"
        )
    found["settings"][count_name] = count
    return description
