"""Inference steps of a model, used by all export formats."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lenet5c import nn
from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.errors import ExportError
from lenet5c.kernels.shapes import paddings
from lenet5c.training import TrainedModel

Pair = tuple[int, int]
#: Layers that can be exported, excluding subclasses.
LAYERS = (
    *("Conv2d", "Linear", "MaxPool2d", "AvgPool2d", "GlobalMaxPool2d", "GlobalAvgPool2d"),
    *("Subsample2d", "BatchNorm1d", "BatchNorm2d", "RBF", "Residual", "Ensemble", "Flatten"),
    "Dropout",
    *ACTIVATIONS,
)


@dataclass(frozen=True, eq=False)
class Step:
    """One layer with its input and output shape for a sample, and copies of its arrays.

    Weights with a connection table are dense, there is always a bias, and batch normalization has
    `scale` and `shift` as float64.
    """

    kind: str  # class of the layer; 'BatchNorm' for both batch normalizations
    name: str  # dotted, as in ``model.named_layers()``
    layer: Any
    shape: tuple[int, ...]
    result: tuple[int, ...]
    arrays: dict[str, np.ndarray]
    # For a Residual, the steps of its layers and of its shortcut (none for the input itself); for
    # an Ensemble, the steps of each member.
    branches: tuple[list["Step"], ...] = ()

    @property
    def window(self) -> tuple[Pair, Pair, Pair]:
        """Kernel size, stride, and padding at the top and on the left."""
        (top, _), (left, _) = self.pads
        size = self.layer.kernel_size
        return size, getattr(self.layer, "stride", size), (top, left)

    @property
    def dilation(self) -> Pair:
        """Dilation of a convolution or a pooling."""
        return getattr(self.layer, "dilation", (1, 1))

    @property
    def pads(self) -> tuple[Pair, Pair]:
        """Padding (top, bottom), (left, right) of a convolution or a pooling."""
        size = self.layer.kernel_size
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, size, strict=True)]
        padding, stride = getattr(self.layer, "padding", 0), getattr(self.layer, "stride", size)
        vertical, horizontal = paddings(padding, self.shape[1:], reach, stride)
        return vertical, horizontal

    @property
    def beyond(self) -> Pair:
        """Rows and columns of the last windows below and right of the padding, with ceil_mode."""
        (KH, KW), (SH, SW), (PH, PW) = self.window
        (_, H, W), (_, OH, OW), (DH, DW) = self.shape, self.result, self.dilation
        (_, bottom), (_, right) = self.pads
        rows = (OH - 1) * SH + (KH - 1) * DH + 1 - PH - H - bottom
        columns = (OW - 1) * SW + (KW - 1) * DW + 1 - PW - W - right
        return max(0, rows), max(0, columns)


@dataclass(frozen=True, eq=False)
class Network:
    """Steps of a model; `trained` is None for a model without image preparation."""

    steps: list[Step]
    model: nn.Sequential
    input_shape: tuple[int, ...]
    trained: TrainedModel | None = None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output of one sample."""
        return self.steps[-1].result if self.steps else self.input_shape

    @property
    def negated(self) -> bool:
        """True if the outputs are penalties, whose negatives are the logits."""
        return bool(self.model.logits(np.ones((1, 1), np.float32))[0, 0] < 0)

    @property
    def temperature(self) -> float:
        """Divisor of the logits in the softmax."""
        return 1.0 if self.trained is None else self.trained.temperature

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of an image."""
        assert self.trained is not None
        return self.trained.image_shape

    @property
    def margins(self) -> tuple[int, int, int, int] | None:
        """Zeros that padding adds (top, left, bottom, right); None if images are resized."""
        assert self.trained is not None
        (_, h, w), (H, W) = self.image_shape, self.trained.preparation.size
        if (h, w) != (H, W) and self.trained.preparation.fit == "resize":
            return None
        top, left = (H - h) // 2, (W - w) // 2
        return top, left, H - h - top, W - w - left

    @property
    def scale_and_offset(self) -> tuple[np.float32, np.ndarray]:
        """Factor and offset of a fitted pixel; the offset is a scalar if it is constant."""
        assert self.trained is not None
        offset = self.trained.preparation.offset(self.input_shape[0])
        constant = (offset == offset.flat[0]).all()
        return self.trained.preparation.scale, np.array(offset.flat[0]) if constant else offset

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Return the expected outputs of the exported model for prepared inputs or images."""
        if inputs.dtype == np.uint8:
            assert self.trained is not None
            inputs = self.trained.preparation(inputs)
        return self.model.logits(self.model.forward(inputs))


def to_network(
    model: TrainedModel | nn.Sequential, input_shape: tuple[int, ...] | None = None
) -> Network:
    """Return the steps of a model.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` without an input shape.

    Raises
    ------
    TypeError
        If `model` is neither.
    ExportError
        If a layer is not in `LAYERS`, a weight is not finite, or the images, the class names or
        `input_shape` do not match the model.
    """
    if not isinstance(model, TrainedModel):
        if not isinstance(model, nn.Sequential):
            raise TypeError(
                "model must be a TrainedModel or a lenet5c.nn.Sequential, "
                f"got {type(model).__name__}"
            )
        shape = input_shape or model.input_shape
        if shape is None:
            raise ExportError(
                "input_shape must be passed for a model without one, such as (1, 32, 32), got None"
            )
        return Network(_check_steps(model, tuple(shape)), model, tuple(shape))
    size, image_shape = model.preparation.size, tuple(model.image_shape)
    own = model.model.input_shape or image_shape
    shape = (own[0], *size)
    steps = _check_steps(model.model, input_shape or shape)
    if image_shape[0] != own[0]:
        raise ExportError(
            f"image_shape must have the {own[0]} channels of the model's input, got {image_shape}"
        )
    if model.preparation.fit == "pad" and (image_shape[1] > size[0] or image_shape[2] > size[1]):
        raise ExportError(
            f"image_shape must be at most {size[0]} by {size[1]} with fit='pad', got {image_shape}"
        )
    net = Network(steps, model.model, shape, model)
    if net.output_shape != (len(model.class_names),):
        raise ExportError(
            f"class_names must have one name for each output of the model, {net.output_shape}, got "
            f"{len(model.class_names)} class names"
        )
    return net


def fold_batch_norm(steps: list[Step]) -> list[Step]:
    """Return the steps with normalizations folded into the preceding convolution or linear layer.

    Raises
    ------
    ExportError
        If a weight is not finite afterwards.
    """
    folded = _fold(steps)
    _check_finite(folded)
    return folded


def _fold(steps: list[Step]) -> list[Step]:
    folded: list[Step] = []
    for step in steps:
        before = folded[-1] if folded else None
        if step.kind == "BatchNorm" and before is not None and before.kind in ("Conv2d", "Linear"):
            scale, shift = step.arrays["scale"], step.arrays["shift"]
            weight = before.arrays["weight"].astype(np.float64)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = before.arrays["bias"] * scale + shift
            arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
            folded[-1] = replace(before, arrays=before.arrays | arrays)
        else:
            folded.append(replace(step, branches=tuple(map(_fold, step.branches))))
    return folded


def all_steps(steps: list[Step]) -> Iterator[Step]:
    """Yield steps, including those of inner branches."""
    for step in steps:
        yield step
        for branch in step.branches:
            yield from all_steps(branch)


def refuse_ensembles(steps: list[Step], verb: str, remedy: str) -> None:
    """Raise an ExportError if some steps contain an ensemble, for formats without support."""
    for step in all_steps(steps):
        if step.kind == "Ensemble":
            raise ExportError(
                f"layer {step.name!r} must be a layer that can {verb}, got an Ensemble; {remedy}, "
                f"or "
                "distill it into one net with lenet5c distill"
            )


def _check_steps(model: nn.Sequential, shape: tuple[int, ...]) -> list[Step]:
    try:
        model.output_shape(shape)
    except ValueError as error:
        raise ExportError(f"input_shape must fit the model, got {shape}: {error}") from None
    steps = _steps(model.flat_items(), shape)
    _check_finite(steps)
    return steps


def _steps(layers: Iterable[tuple[str, nn.Layer]], shape: tuple[int, ...]) -> list[Step]:
    steps = []
    for name, layer in layers:
        kind = type(layer).__name__
        if kind not in LAYERS or type(layer) is not getattr(nn, kind, None):
            raise ExportError(
                f"layer {name!r} must have a counterpart outside lenet5c, got {kind}; build it "
                f"from {', '.join(LAYERS)}"
            )
        result = tuple(layer.output_shape(shape))
        branches: tuple[list[Step], ...] = ()
        if kind in ("Residual", "Ensemble"):
            branches = tuple(_steps(branch, shape) for branch in _branches(layer, name))
        elif kind.startswith("Global"):  # a window of the size of the maps
            kind = kind.removeprefix("Global")
            layer = getattr(nn, kind)(shape[1:])
        if kind != "Dropout":  # has no effect in evaluation
            kind = "BatchNorm" if kind.startswith("BatchNorm") else kind
            arrays = {} if branches else _arrays(kind, layer)
            steps.append(Step(kind, name, layer, tuple(shape), result, arrays, branches))
        shape = result
    return steps


def _branches(layer: Any, name: str) -> list[Iterable[tuple[str, nn.Layer]]]:
    """Return the layers of each branch by their dotted names.

    The branches are those of a Residual, or the members of an Ensemble.
    """
    if isinstance(layer, nn.Ensemble):
        return [
            member.flat_items(f"{name}.members.{own}.") for own, member in layer.members.items()
        ]
    shortcut, place = layer.shortcut, f"{name}.shortcut"
    if isinstance(shortcut, nn.Sequential):
        beside: Iterable[tuple[str, nn.Layer]] = shortcut.flat_items(f"{place}.")
    else:
        beside = [] if shortcut is None else [(place, shortcut)]
    return [layer.layers.flat_items(f"{name}.layers."), beside]


def _arrays(kind: str, layer: Any) -> dict[str, np.ndarray]:
    arrays = {name: array.copy() for name, array in {**layer.params, **layer.buffers}.items()}
    if kind == "Conv2d":
        arrays["weight"] = layer.dense_weight
    if kind in ("Conv2d", "Linear"):
        arrays.setdefault("bias", np.zeros(len(arrays["weight"]), np.float32))
    if kind == "BatchNorm":
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(arrays["running_var"].astype(np.float64) + layer.eps)
            arrays["scale"] = arrays["weight"] / deviation
        arrays["shift"] = arrays["bias"] - arrays["running_mean"] * arrays["scale"]
    return arrays


def _check_finite(steps: list[Step]) -> None:
    for step in all_steps(steps):
        for name, array in step.arrays.items():
            if not np.isfinite(array).all():
                raise ExportError(
                    f"{step.name}.{name} must be finite, got NaN or infinity; train the model again"
                )
