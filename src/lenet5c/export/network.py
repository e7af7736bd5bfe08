"""A model as the plain steps of its inference: what every writer of another format starts from."""

from dataclasses import dataclass, field, replace

import numpy as np

from lenet5c import nn
from lenet5c.export.errors import ExportError
from lenet5c.training.model_file import TrainedModel


@dataclass(frozen=True, eq=False)
class Step:
    """One step, with the shapes of a sample before and after it, dense arrays and settings."""

    kind: str
    name: str
    shape: tuple[int, ...]
    result: tuple[int, ...]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Network:
    """Steps with what surrounds them; `preparation` and `image_shape` are None for a bare model."""

    steps: list[Step]
    model: nn.Sequential
    input_shape: tuple[int, ...]
    negated: bool
    preparation: object = None
    image_shape: tuple[int, int, int] | None = None
    class_names: tuple[str, ...] = ()
    reading: str | None = None

    @property
    def output_shape(self):
        return self.steps[-1].result if self.steps else self.input_shape

    def logits(self, inputs):
        """What the exported net is to compute, for prepared inputs or for uint8 images."""
        if inputs.dtype == np.uint8:
            fitted = self.preparation.fit_images(inputs)
            inputs = fitted * self.preparation.scale + self.preparation.offset(fitted.shape[1])
        return self.model.logits(self.model.forward(inputs))


def network(model, input_shape=None):
    """The `Network` of a `TrainedModel`, or of a bare `Sequential`.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    input_shape : tuple of int, optional
        Of one sample; for a `Sequential` that does not know its own.

    Raises
    ------
    ExportError
        A layer is of a kind of the user's own, a weight is not finite, or the images cannot be prepared.
    """
    if isinstance(model, TrainedModel):
        prepared = (
            model.model.input_shape[0]
            if hasattr(model.model, "input_shape")
            else model.image_shape[0],
            *model.preparation.size,
        )
        steps = _steps(model.model, input_shape or prepared)
        _check_images(model, prepared)
        _check_classes(model, steps)
        return Network(
            steps,
            model.model,
            prepared,
            _negated(model.model),
            model.preparation,
            tuple(model.image_shape),
            tuple(model.class_names),
            model.reading,
        )
    if not isinstance(model, nn.Sequential):
        raise TypeError(
            f"model is a {type(model).__name__}; it should be a TrainedModel or a lenet5c.nn.Sequential"
        )
    shape = input_shape or getattr(model, "input_shape", None)
    if shape is None:
        raise ExportError(
            "input_shape is not given, and this model does not know its own; use such as (1, 32, 32)"
        )
    return Network(_steps(model, tuple(shape)), model, tuple(shape), _negated(model))


def fold_batch_norm(steps):
    """The steps with each normalisation that stands right behind a convolution or a linear layer taken into it."""
    folded = []
    for step in steps:
        before = folded[-1] if folded else None
        if step.kind == "batch_norm" and before is not None and before.kind in ("conv2d", "linear"):
            scale, shift = step.arrays["scale"], step.arrays["shift"]
            weight = before.arrays["weight"].astype(np.float64)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = before.arrays["bias"] * scale + shift
            arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
            folded[-1] = replace(before, arrays=before.arrays | arrays)
        else:
            folded.append(step)
    _check_finite(folded)
    return folded


def _negated(model):
    """Whether the model's outputs are penalties, whose negatives are the logits."""
    return bool(model.logits(np.ones((1, 1), np.float32))[0, 0] < 0)


def _steps(model, shape):
    try:
        model.output_shape(shape)
    except ValueError as error:
        raise ExportError(
            f"input_shape is {shape}, which does not fit the model: {error}"
        ) from None
    steps = []
    for name, layer in _named(model):
        if type(layer) not in _CONVERTERS:
            raise ExportError(
                f"layer {name!r} is a {type(layer).__name__}, which has no counterpart outside lenet5c; "
                f"only layers of lenet5c.nn can be exported"
            )
        kind, arrays, settings = _CONVERTERS[type(layer)](layer)
        result = tuple(layer.output_shape(shape))
        if kind is not None:
            steps.append(Step(kind, name, tuple(shape), result, arrays, settings))
        shape = result
    _check_finite(steps)
    return steps


def _named(model, prefix=""):
    """The layers with dotted names, those of a Sequential within in its place."""
    for name, layer in model.layers.items():
        if isinstance(layer, nn.Sequential):
            yield from _named(layer, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", layer


def _conv2d(layer):
    names = ("kernel_size", "stride", "padding", "dilation", "groups", "connection_table")
    settings = {name: getattr(layer, name) for name in names}
    return (
        "conv2d",
        {"weight": layer.dense_weight, "bias": _bias(layer, layer.out_channels)},
        settings,
    )


def _linear(layer):
    bias = _bias(layer, layer.out_features)
    return "linear", {"weight": layer.params["weight"].copy(), "bias": bias}, {}


def _bias(layer, count):
    bias = layer.params.get("bias")
    return np.zeros(count, np.float32) if bias is None else bias.copy()


def _pool(layer):
    names = ("kernel_size", "stride", "padding", "count_include_pad")
    return layer.kind, {}, {name: getattr(layer, name) for name in names}


def _subsample(layer):
    arrays = {name: layer.params[name].copy() for name in ("weight", "bias")}
    settings = {"kernel_size": layer.kernel_size, "stride": layer.kernel_size, "padding": (0, 0)}
    return "subsample2d", arrays, settings


def _batch_norm(layer):
    mean, var = (layer.buffers[name].copy() for name in ("running_mean", "running_var"))
    weight, bias = (layer.params[name].copy() for name in ("weight", "bias"))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = weight / np.sqrt(var.astype(np.float64) + layer.eps)
    arrays = {
        "mean": mean,
        "var": var,
        "weight": weight,
        "bias": bias,
        "scale": scale,
        "shift": bias - mean * scale,
    }
    return "batch_norm", arrays, {"eps": layer.eps}


_CONVERTERS = {
    nn.Conv2d: _conv2d,
    nn.Linear: _linear,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    nn.Subsample2d: _subsample,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.RBF: lambda layer: ("rbf", {"codes": layer.buffers["codes"].copy()}, {}),
    nn.Flatten: lambda layer: ("flatten", {}, {}),
    nn.ReLU: lambda layer: ("relu", {}, {}),
    nn.Sigmoid: lambda layer: ("sigmoid", {}, {}),
    nn.Tanh: lambda layer: ("tanh", {}, {}),
    nn.ScaledTanh: lambda layer: (
        "scaled_tanh",
        {},
        {"amplitude": layer.amplitude, "slope": layer.slope},
    ),
    nn.Dropout: lambda layer: (None, {}, {}),  # it does nothing outside training
}


def _check_finite(steps):
    for step in steps:
        for name, array in step.arrays.items():
            if not np.isfinite(array).all():
                raise ExportError(
                    f"{step.name}.{name} has values that are not finite; train the model again"
                )


def _check_images(trained, prepared):
    size, image_shape = trained.preparation.size, tuple(trained.image_shape)
    if image_shape[0] != prepared[0]:
        raise ExportError(
            f"image_shape is {image_shape}, but the model takes {prepared[0]} channels"
        )
    if trained.preparation.fit == "pad" and (image_shape[1] > size[0] or image_shape[2] > size[1]):
        raise ExportError(
            f"image_shape is {image_shape}, which cannot be padded to {size[0]} by {size[1]}"
        )


def _check_classes(trained, steps):
    result = steps[-1].result if steps else ()
    if result != (len(trained.class_names),):
        raise ExportError(
            f"the model has outputs {result}, but there are {len(trained.class_names)} class names"
        )
