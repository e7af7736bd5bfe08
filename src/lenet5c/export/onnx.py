"""Export of a model to ONNX."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

import lenet5c
from lenet5c import nn
from lenet5c._optional import require
from lenet5c.datasets.resampling import resize_matrix
from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Network, Pair, Step, to_network
from lenet5c.nn.ensemble import describe_kind
from lenet5c.training import TrainedModel

# Supported by runtimes of recent years; 13 is the first version with softmax along one axis.
OPSET, IR_VERSION = 13, 7
INPUTS = ("uint8", "float")


def to_onnx(
    model: TrainedModel | nn.Sequential,
    *,
    input: str = "uint8",
    input_shape: tuple[int, ...] | None = None,
    accuracy: str | None = None,
) -> bytes:
    """Return an ONNX file (opset 13) that implements the model.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
        A `Sequential` requires prepared float32 inputs.
    input : {'uint8', 'float'}, optional
        'uint8': the graph accepts unprepared images, uint8 (N, C, h, w) of ``trained.image_shape``,
        and prepares them with the same bits as `Preparation`. 'float': it accepts prepared images,
        float32 (N, C, H, W).
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` without an input shape.
    accuracy : str, optional
        Accuracy for the metadata, such as '9965/10000'.

    Returns
    -------
    bytes
        The ONNX file. The input is 'image' or 'input' with any number N of samples; the outputs are
        'logits' and 'probabilities', float32 (N, classes), the softmax of the logits divided by the
        model's temperature. The metadata has class names, preparation, image shape, temperature and
        version as JSON.

    Raises
    ------
    ExportError
        If a layer or a value has no counterpart in ONNX.
    MissingExtraError
        If onnx is not installed.
    ValueError
        If `input` is invalid.
    """
    if input not in INPUTS:
        raise ValueError(f"input must be one of {', '.join(INPUTS)}, got {input!r}")
    onnx = require("onnx", "onnx", "ONNX files")
    net = to_network(model, input_shape)
    graph = Graph(onnx)
    if net.trained is None or input == "float":
        x = graph.input("input", "FLOAT", net.input_shape)
    else:
        x = _prepare(graph, net, graph.input("image", "UINT8", net.image_shape))
    x = _write(graph, net.steps, x)
    if net.negated:
        x = graph.add("Neg", x)
    if not net.steps:
        raise ExportError("model must have at least one layer that computes something, got none")
    graph.add("Identity", x, out="logits")
    graph.output("logits", net.output_shape)
    if len(net.output_shape) == 1:
        scores = "logits"
        if net.temperature != 1:
            divisor = graph.constant("temperature", np.float32(net.temperature))
            scores = graph.add("Div", scores, divisor)
        graph.add("Softmax", scores, out="probabilities", axis=1)
        graph.output("probabilities", net.output_shape)
    return graph.finish(_properties(net, accuracy))


class Graph:
    """Nodes in the order of addition, each with one output named after its index."""

    def __init__(self, onnx: Any) -> None:
        self.onnx, self.helper = onnx, onnx.helper
        self.FLOAT, self.DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str, kind: str, shape: tuple[int, ...]) -> str:
        """Add an input (N, *shape) of a type of TensorProto; return its name."""
        kind = getattr(self.onnx.TensorProto, kind)
        self.inputs.append(self.helper.make_tensor_value_info(name, kind, ["N", *shape]))
        return name

    def output(self, name: str, shape: tuple[int, ...]) -> None:
        """Declare a float32 value (N, *shape) as an output."""
        self.outputs.append(self.helper.make_tensor_value_info(name, self.FLOAT, ["N", *shape]))

    def constant(self, name: str, array: Any) -> str:
        """Add a constant; return its name."""
        # A separate namespace for any user-defined layer names.
        name = f"constant.{name}"
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def arrays(self, step: Step, *names: str) -> list[str]:
        """Add arrays of a step; return their names."""
        return [self.constant(f"{step.name}.{name}", step.arrays[name]) for name in names]

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        out, name = out or f"value{len(self.nodes)}", f"{op}{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(op, inputs, [out], name=name, **attributes))
        return out

    def finish(self, properties: dict[str, str]) -> bytes:
        """Return the checked file."""
        graph = self.helper.make_graph(
            self.nodes, "lenet5", self.inputs, self.outputs, self.constants
        )
        model = self.helper.make_model(
            graph,
            opset_imports=[self.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lenet5c",
            producer_version=lenet5c.__version__,
        )
        self.helper.set_model_props(model, properties)
        checks = self.onnx.checker.ValidationError, self.onnx.shape_inference.InferenceError
        try:
            self.onnx.checker.check_model(model, full_check=True)
        except checks as error:
            raise ExportError(
                f"model must be valid as ONNX, got: {' '.join(str(error).split())}"
            ) from None
        return bytes(model.SerializeToString(deterministic=True))


def _write(graph: Graph, steps: list[Step], x: str) -> str:
    """Add the nodes of a chain of steps; return the name of the result."""
    for step in steps:
        x = _WRITERS[step.kind](graph, step, x)
    return x


def _residual(graph: Graph, step: Step, x: str) -> str:
    layers, shortcut = (_write(graph, branch, x) for branch in step.branches)
    return graph.add("Add", layers, shortcut)


def _ensemble(graph: Graph, step: Step, x: str) -> str:
    """Average probabilities in the log domain, subtracting the maximum to avoid underflow."""
    logs = []
    for number, (branch, value) in enumerate(zip(step.branches, step.layer.divisors, strict=True)):
        logits = _write(graph, branch, x)
        if value != 1:
            divisor = graph.constant(f"{step.name}.divisor{number}", np.float32(value))
            logits = graph.add("Div", logits, divisor)
        logs.append(graph.add("LogSoftmax", logits, axis=1))
    largest = graph.add("Max", *logs)
    shares = [graph.add("Exp", graph.add("Sub", each, largest)) for each in logs]
    return graph.add("Add", graph.add("Log", graph.add("Mean", *shares)), largest)


def _prepare(graph: Graph, net: Network, x: str) -> str:
    """Fit, scale and shift like `Preparation`."""
    if net.margins is None:
        (_, h, w), (_, H, W) = net.image_shape, net.input_shape
        # Exact in float64, since weights are multiples of 2**-20, so rounding is that of lenet5c.
        x = graph.add("Cast", x, to=graph.DOUBLE)
        x = graph.add("MatMul", x, graph.constant("columns", resize_matrix(W, w).T))
        x = graph.add("MatMul", graph.constant("rows", resize_matrix(H, h)), x)
        x = graph.add("Floor", graph.add("Add", x, graph.constant("half", np.float64(0.5))))
        x = graph.add("Cast", x, to=graph.FLOAT)
    else:
        x = graph.add("Cast", x, to=graph.FLOAT)
        if any(net.margins):
            top, left, bottom, right = net.margins
            pads = graph.constant(
                "pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            )
            x = graph.add("Pad", x, pads, graph.constant("black", np.float32(0)))
    scale, offset = net.scale_and_offset
    x = graph.add("Mul", x, graph.constant("scale", scale))
    return graph.add("Add", x, graph.constant("offset", offset))


def _window(step: Step, beyond: Pair = (0, 0)) -> dict[str, Any]:
    """Return the attributes of a window, with additional rows and columns after the image."""
    size, stride, _ = step.window
    (top, bottom), (left, right) = step.pads
    pads = (top, left, bottom + beyond[0], right + beyond[1])
    return {"kernel_shape": size, "strides": stride, "pads": pads}


def _conv2d(graph: Graph, step: Step, x: str) -> str:
    names, layer = graph.arrays(step, "weight", "bias"), step.layer
    more = {"dilations": layer.dilation, "group": layer.groups}
    return graph.add("Conv", x, *names, **_window(step), **more)


def _linear(graph: Graph, step: Step, x: str) -> str:
    return graph.add("Gemm", x, *graph.arrays(step, "weight", "bias"), transB=1)


def _max_pool2d(graph: Graph, step: Step, x: str) -> str:
    return graph.add("MaxPool", x, **_window(step, step.beyond), dilations=step.dilation)


def _avg_pool2d(graph: Graph, step: Step, x: str) -> str:
    window, include = _window(step, step.beyond), step.layer.count_include_pad
    if include and any(step.beyond):
        # ONNX would also count pixels beyond the padding: pad first, then count.
        (top, bottom), (left, right) = step.pads
        pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
        names = (
            graph.constant(f"{step.name}.{key}", value)
            for key, value in (("pads", pads), ("zero", np.float32(0)))
        )
        x, include = graph.add("Pad", x, *names), False
        window["pads"] = (0, 0, *step.beyond)
    return graph.add("AveragePool", x, **window, count_include_pad=int(include))


def _subsample2d(graph: Graph, step: Step, x: str) -> str:
    """Convolve each map with a constant filter, the sum of a window times a coefficient."""
    window, channels = step.layer.kernel_size, step.shape[0]
    filters = np.broadcast_to(step.arrays["weight"][:, None, None, None], (channels, 1, *window))
    weight = graph.constant(f"{step.name}.weight", filters)
    (bias,) = graph.arrays(step, "bias")
    return graph.add("Conv", x, weight, bias, kernel_shape=window, strides=window, group=channels)


def _batch_norm(graph: Graph, step: Step, x: str) -> str:
    names = graph.arrays(step, "weight", "bias", "running_mean", "running_var")
    return graph.add("BatchNormalization", x, *names, epsilon=step.layer.eps)


def _rbf(graph: Graph, step: Step, x: str) -> str:
    """Square and sum distances (N, classes, features)."""
    middle, last = (graph.constant(f"{step.name}.axis{n}", np.array([n], np.int64)) for n in (1, 2))
    x = graph.add("Unsqueeze", x, middle)
    difference = graph.add("Sub", x, *graph.arrays(step, "codes"))
    return graph.add("ReduceSum", graph.add("Mul", difference, difference), last, keepdims=0)


_WRITERS: dict[str, Callable[[Graph, Step, str], str]] = {
    "Conv2d": _conv2d,
    "Linear": _linear,
    "MaxPool2d": _max_pool2d,
    "AvgPool2d": _avg_pool2d,
    "Subsample2d": _subsample2d,
    "BatchNorm": _batch_norm,
    "RBF": _rbf,
    "Residual": _residual,
    "Ensemble": _ensemble,
    "Flatten": lambda graph, step, x: graph.add("Flatten", x, axis=1),
    **{name: activation.onnx for name, activation in ACTIVATIONS.items()},
}


def _properties(net: Network, accuracy: str | None) -> dict[str, str]:
    """Return the metadata of the file; values are JSON."""
    values: dict[str, Any] = {"lenet5c": lenet5c.__version__, "model": describe_kind(net.model)}
    if net.trained is not None:
        values |= {
            "class_names": list(net.trained.class_names),
            "image_shape": list(net.image_shape),
            "preparation": net.trained.preparation.to_dict(),
            "reading": net.trained.reading,
            "temperature": net.temperature,
        }
    if accuracy is not None:
        values["test_accuracy"] = accuracy
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
