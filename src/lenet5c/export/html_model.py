"""Data of a model's page: settings and steps as JSON, arrays as base64."""

from base64 import b64encode
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset
from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Network, Step, refuse_ensembles, to_network
from lenet5c.export.quantization import quantize
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.model_file import SIGNS

WINDOWS = ("Conv2d", "MaxPool2d", "AvgPool2d", "Subsample2d")
#: Settings used by the page, other than those of windows.
SETTINGS = {"BatchNorm": ("eps",), "AvgPool2d": ("count_include_pad",)}
#: Arrays of a step that are derived from others.
COMPUTED = ("scale", "shift")
#: Steps that belong to the preceding stage; any other starts a new one.
WITHIN = (*ACTIVATIONS, "BatchNorm", "Flatten")
KINDS = {
    "Conv2d": "convolution",
    "AvgPool2d": "average pooling",
    "MaxPool2d": "max pooling",
    "Subsample2d": "subsampling",
    "Linear": "fully connected",
    "RBF": "distances",
    "Residual": "residual block",
}
DIGITS = tuple("0123456789")
#: Number of training images included in a page.
EXAMPLES = 100


@dataclass
class Weights:
    """Concatenated arrays of the page."""

    parts: list[NDArray[np.float32]] = field(default_factory=list)
    size: int = 0

    def add(self, array: Any) -> list[Any]:
        """Add an array; return its offset, size and shape."""
        values = np.asarray(array, np.float32)
        self.parts.append(values)
        self.size += values.size
        return [self.size - values.size, values.size, list(values.shape)]

    def pack(self) -> bytes:
        """Return all numbers as little-endian bytes."""
        return np.concatenate([part.ravel() for part in self.parts]).astype("<f4").tobytes()

    def quantize(self) -> dict[str, Any]:
        """Return all numbers, with weights (O, ...) as int8 and a scale for each output.

        In the layout, an array has its size and the number of its scales, 0 for float arrays.
        """
        layout, small, floats = [], [], []
        for part in self.parts:
            outputs = len(part) if part.ndim >= 2 else 0
            layout.append([part.size, outputs])
            if outputs:
                values, scale = quantize(part)
                small.append(values.ravel())
                floats.append(scale)
            else:
                floats.append(part.ravel())
        parts = (np.concatenate(small), np.concatenate(floats).astype("<f4"))
        texts = (b64encode(part.tobytes()).decode("ascii") for part in parts)
        return {"layout": layout, **dict(zip(("bytes", "floats"), texts, strict=True))}


def describe_page(
    trained: TrainedModel, name: str, examples: Dataset | None = None
) -> dict[str, Any]:
    """Return the data of a model's page.

    A model that reads digits is accompanied by the int8 model of digits and signs, which detects
    other ink.

    Raises
    ------
    ExportError
        If a layer is not in `network.LAYERS`, or `examples` do not match the model.
    """
    described, weights = _describe_net(trained)
    signs = None
    if set(trained.class_names) <= set(DIGITS) and trained.reading == "ink":
        signs, rounded = _describe_net(open_model(SIGNS))
        signs["quantized"] = rounded.quantize()
    return described | {
        "name": name,
        "signs": signs,
        "examples": _describe_examples(trained, examples),
        "weights": b64encode(weights.pack()).decode("ascii"),
    }


def _describe_net(trained: TrainedModel) -> tuple[dict[str, Any], Weights]:
    """Return the data needed to compute predictions, and the weights."""
    net = to_network(trained)
    if not net.steps:
        raise ExportError("model must have at least one layer that computes something, got none")
    refuse_ensembles(net.steps, "be shown on a page", "show one of its members")
    weights = Weights()
    scale, offset = net.scale_and_offset
    framing = trained.framing
    described = {
        "parameters": trained.model.num_params,
        "subject": "a digit" if trained.class_names == DIGITS else "something",
        "classes": trained.class_names,
        "image": net.image_shape,
        "input": net.input_shape,
        "reading": trained.reading,
        "framing": framing and framing.to_dict(),
        "margins": net.margins,
        "scale": float(scale),
        "offset": {"arrays": {"values": weights.add(offset)}},
        "negated": net.negated,
        "temperature": trained.temperature,
        "steps": [_describe_step(step, weights) for step in net.steps],
        "stages": _describe_stages(net),
    }
    return described, weights


def pack_weights(trained: TrainedModel) -> bytes:
    """Return the weights of a model in the format of its page, little-endian float32."""
    return _describe_net(trained)[1].pack()


def choose_examples(dataset: Dataset, count: int = EXAMPLES) -> Dataset:
    """Return some images of a data set, balanced over the classes if possible."""
    most = max(1, count // dataset.num_classes)
    seen = [0] * dataset.num_classes
    chosen = []
    for i, label in enumerate(dataset.labels.tolist()):
        seen[label] += 1
        if seen[label] <= most:
            chosen.append(i)
        if len(chosen) == most * dataset.num_classes:
            break
    return dataset.take(np.array(chosen, np.int64))


def _describe_step(step: Step, weights: Weights) -> dict[str, Any]:
    described: dict[str, Any] = {
        "kind": step.kind,
        "name": step.name,
        "shape": step.shape,
        "result": step.result,
    }
    if step.kind in WINDOWS:
        kernel, stride, _ = step.window
        described |= {"kernel": kernel, "stride": stride, "pads": step.pads}
        described |= {"dilation": step.dilation, "groups": getattr(step.layer, "groups", 1)}
    if step.kind in ACTIVATIONS:
        described["settings"] = step.layer.settings()
    if names := SETTINGS.get(step.kind):
        described["settings"] = {name: getattr(step.layer, name) for name in names}
    if step.arrays:
        described["arrays"] = {
            name: weights.add(array) for name, array in step.arrays.items() if name not in COMPUTED
        }
    if step.branches:
        described["branches"] = [
            [_describe_step(inner, weights) for inner in branch] for branch in step.branches
        ]
    return described


def _describe_stages(net: Network) -> list[dict[str, Any]]:
    """Return the displayed stages, each identified by the last of its steps."""
    starts = [i for i, step in enumerate(net.steps) if step.kind not in WITHIN]
    starts = starts or [len(net.steps) - 1]
    stages = []
    for start, end in zip(starts, [*starts[1:], len(net.steps)], strict=True):
        first = net.steps[start]
        shape = next(
            (step.result for step in net.steps[start:end][::-1] if step.kind != "Flatten"),
            first.result,
        )
        kind = KINDS.get(first.kind, first.kind)
        stages.append({"name": first.name, "kind": kind, "shape": shape, "last": end - 1})
    return stages


def _describe_examples(trained: TrainedModel, examples: Dataset | None) -> dict[str, Any]:
    if examples is None or len(examples) == 0:
        return {"packed": "", "labels": []}
    if examples.images.shape[1:] != trained.image_shape:
        raise ExportError(
            f"examples must be images of shape {trained.image_shape}, "
            f"got {examples.images.shape[1:]}"
        )
    images = np.asarray(examples.images[np.arange(len(examples))])
    return {
        "packed": b64encode(pack_images(images)).decode("ascii"),
        "labels": examples.labels.tolist(),
    }


def pack_images(images: NDArray[np.uint8]) -> bytes:
    """Return pixels with run-length encoding of the most frequent level.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.export.html_model import pack_images
    >>> list(pack_images(np.array([0, 0, 0, 7, 0, 9], np.uint8)))
    [0, 0, 2, 7, 0, 0, 9]
    """
    usual = int(np.bincount(images.ravel(), minlength=1).argmax())
    packed = bytearray([usual])
    for value, run in groupby(images.ravel().tolist()):
        length = len(list(run))
        if value != usual:
            packed += bytes([value]) * length
            continue
        while length > 0:
            packed += bytes([usual, min(length, 256) - 1])
            length -= 256
    return bytes(packed)
