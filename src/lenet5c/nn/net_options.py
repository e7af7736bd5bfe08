"""Options of nets, and sizes derived from them."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any, TypeAlias

from lenet5c.kernels.shapes import pair
from lenet5c.nn.activation import ACTIVATIONS
from lenet5c.nn.global_pooling import GlobalAvgPool2d, GlobalMaxPool2d
from lenet5c.nn.initialize import NAMED as INITS
from lenet5c.nn.initialize import Init
from lenet5c.nn.kind import FLAG, NAMES, Kind, choice, number, one_or_each, whole, wholes
from lenet5c.nn.layer import Pair, Shape
from lenet5c.nn.options import Option
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d

#: Net classes by the name used in recipes.
NETS: dict[str, type[Any]] = {}
POOLINGS = {"max": MaxPool2d, "avg": AvgPool2d}
GLOBAL_POOLINGS = {"max": GlobalMaxPool2d, "avg": GlobalAvgPool2d}
C5_FORMS = ("linear", "conv")
INITIALIZER = Kind("a name, a dict or a function", lambda value: True, normal=lambda value: value)

Classes: TypeAlias = Annotated[
    int, Option(whole(1), "number of classes, which is the number of outputs", of_data=True)
]
InChannels: TypeAlias = Annotated[
    int, Option(whole(1), "number of image channels, 1 for gray and 3 for color", of_data=True)
]
InputSize: TypeAlias = Annotated[
    Pair,
    Option(one_or_each(1, of="height and for width", count=2), "size of the input", of_data=True),
]
Channels: TypeAlias = Annotated[
    Sequence[int],
    Option(
        wholes(1, fewest=1),
        "output channels of each convolution; each is followed by an activation and 2 by 2 pooling",
    ),
]
Units: TypeAlias = Annotated[
    Sequence[int], Option(wholes(1), "units of the hidden fully connected layers")
]
KernelSize: TypeAlias = Annotated[
    int | Sequence[int], Option(one_or_each(1), "kernel size of the convolutions", search=[3, 5])
]
PaddingOption: TypeAlias = Annotated[
    int | Sequence[int],
    Option(
        one_or_each(0),
        "zero padding on each side of the convolution inputs, less than kernel_size",
        search=[0, 1, 2],
    ),
]
Pooling: TypeAlias = Annotated[str, Option(choice(POOLINGS), "pooling")]
GlobalPooling: TypeAlias = Annotated[
    str, Option(choice(("none", *GLOBAL_POOLINGS)), "global pooling of the last feature maps")
]
Activation: TypeAlias = Annotated[str, Option(choice(ACTIVATIONS), "activation")]
DropoutOption: TypeAlias = Annotated[
    float,
    Option(
        number(below=1),
        "dropout probability after each hidden fully connected layer, or before the last layer if "
        "there are none",
        search=(0.0, 0.5),
    ),
]
Normalization: TypeAlias = Annotated[
    bool, Option(FLAG, "batch normalization before each activation")
]
C5: TypeAlias = Annotated[
    str,
    Option(
        choice(C5_FORMS, "FORM"),
        "form of the first fully connected layer, C5; a convolution of the size of the maps, as in "
        "the paper, is equivalent",
    ),
]
WithoutActivation: TypeAlias = Annotated[
    Sequence[str], Option(NAMES, "layers without an activation, such as conv2,fc1")
]
Weights: TypeAlias = Annotated[
    Init | None,
    Option(
        INITIALIZER,
        f"initializer of the weights: {', '.join(INITS)}; in Python also {{'normal': 0.01}}, "
        "{'uniform': 0.05} or a function",
        default_text="by activation",
        drawn=True,
    ),
]
ConvWeights: TypeAlias = Annotated[
    Init | None,
    Option(INITIALIZER, "initializer of the convolutions", default_text="same as init", drawn=True),
]


def expand_option(name: str, value: int | Sequence[int], count: int) -> list[int]:
    """Return an option as a list with one value for each of `count` convolutions."""
    values = [value] * count if isinstance(value, int) else list(value)
    if len(values) != count:
        raise ValueError(
            f"{name} must be an integer, or a list with one for each of the {count} convolutions, "
            f"got "
            f"{values!r}"
        )
    return values


def windows(options: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return (kernel_size, padding) of each convolution for the options of a net."""
    count = len(options["channels"])
    kernels, paddings = (
        expand_option(name, options[name], count) for name in ("kernel_size", "padding")
    )
    for kernel, padding in zip(kernels, paddings, strict=True):
        if padding >= kernel:
            raise ValueError(f"padding must be less than kernel_size, {kernel}, got {padding}")
    return list(zip(kernels, paddings, strict=True))


def last_maps(size: tuple[int, int], windows: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the height and width of the maps after the last pooling.

    Parameters
    ----------
    size : (int, int)
        Size of the net's input.
    windows : sequence of (int, int)
        Kernel size and padding of each convolution.

    Raises
    ------
    ValueError
        If the input is too small; the message has the minimum size.
    """
    less = [kernel - 1 - 2 * padding for kernel, padding in windows]
    least = 1
    for each in reversed(less):
        least = max(1, 2 * least + each)
    if min(size) < least:
        raise ValueError(
            f"input_size must be at least {least} pixels per side for {len(windows)} convolutions "
            f"with pooling, got {tuple(size)}; enlarge the images, or use fewer channels, a "
            "smaller kernel_size or more padding"
        )
    height, width = size
    for each in less:
        height, width = (height - each) // 2, (width - each) // 2
    return height, width


def weight_shapes(options: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the weight shape of each layer of a `LeNet5`, by name, for its options."""
    maps = last_maps(pair(options["input_size"], "input_size", 1), windows(options))
    shapes: dict[str, Shape] = {}
    read = options["in_channels"]
    for place, (count, (kernel, _)) in enumerate(
        zip(options["channels"], windows(options), strict=True), start=1
    ):
        shapes[f"conv{place}"] = (count, read, kernel, kernel)
        read = count
    if options["global_pooling"] != "none":
        maps = (1, 1)
    units = list(options["units"])
    if options["c5"] == "conv":
        if not units:
            raise ValueError("c5 must be 'linear' when there are no units, got 'conv'")
        shapes[f"conv{len(shapes) + 1}"] = (units[0], read, *maps)
    read *= prod(maps)
    for place, count in enumerate((*units, options["num_classes"]), start=1):
        if place > 1 or options["c5"] == "linear":
            shapes[f"fc{place}"] = (count, read)
        read = count
    return shapes
