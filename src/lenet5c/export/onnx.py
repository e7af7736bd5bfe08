"""A model as ONNX."""

import json

import numpy as np

import lenet5c
from lenet5c._optional import require
from lenet5c.export.errors import ExportError
from lenet5c.export.network import network
from lenet5c.export.resampling import UNIT, axis_weights

# Old enough for the runtimes of the last years; 13 is the first whose softmax is that of one axis.
OPSET, IR_VERSION = 13, 7
INPUTS = ("uint8", "float")


def to_onnx(model, *, input="uint8", input_shape=None, accuracy=None):
    """The bytes of an ONNX file (opset 13) that computes what the model does.

    Parameters
    ----------
    model : TrainedModel, or lenet5c.nn.Sequential
        A `Sequential` is bare: it takes prepared float32 inputs.
    input : {'uint8', 'float'}
        'uint8': the graph takes images as they are, uint8 (N, C, h, w) of ``trained.image_shape``, and prepares them
        itself, to the bit as `Preparation` does. 'float': it takes prepared float32 (N, C, H, W).
    input_shape : tuple of int, optional
        Of a sample, for a `Sequential` that does not know its own.
    accuracy : str, optional
        What the metadata says of the model's accuracy, such as '9958/10000'.

    Returns
    -------
    bytes
        Input 'image' or 'input' with any number N of samples, outputs 'logits' and 'probabilities', float32
        (N, classes). Properties of the model say class names, preparation, image shape and version as JSON.

    Raises
    ------
    ExportError
        A layer or a value has no counterpart in ONNX.
    MissingExtraError
        onnx is not installed.
    """
    if input not in INPUTS:
        raise ValueError(f"input is {input!r}; it should be one of {', '.join(INPUTS)}")
    onnx = require("onnx", "onnx", "ONNX files")
    net = network(model, input_shape)
    graph = _Graph(onnx)
    if net.preparation is None or input == "float":
        x = graph.input("input", "FLOAT", net.input_shape)
    else:
        x = _prepare(graph, net, graph.input("image", "UINT8", net.image_shape))
    for step in net.steps:
        x = _WRITERS[step.kind](graph, step, x)
    if net.negated:
        x = graph.add("Neg", x)
    if not net.steps:
        raise ExportError("the model has no layer that does anything; there is nothing to export")
    graph.add("Identity", x, out="logits")
    graph.output("logits", net.output_shape)
    if len(net.output_shape) == 1:
        graph.add("Softmax", "logits", out="probabilities", axis=1)
        graph.output("probabilities", net.output_shape)
    return graph.finish(_properties(net, accuracy))


def _prepare(graph, net, x):
    """Fit, scale and shift as `Preparation` does."""
    preparation, (_, h, w), (H, W) = net.preparation, net.image_shape, net.preparation.size
    if (h, w) == (H, W) or preparation.fit == "pad":
        x = graph.add("Cast", x, to=graph.FLOAT)
        if (h, w) != (H, W):
            top, left = (H - h) // 2, (W - w) // 2
            pads = np.array([0, 0, top, left, 0, 0, H - h - top, W - w - left], np.int64)
            x = graph.add(
                "Pad", x, graph.constant("pads", pads), graph.constant("black", np.float32(0))
            )
    else:
        # Exact in float64: weights are multiples of 2**-20, so the rounding below decides as it does in lenet5c.
        x = graph.add("Cast", x, to=graph.DOUBLE)
        x = graph.add("MatMul", x, graph.constant("columns", axis_weights(W, w).T / 2.0**UNIT))
        x = graph.add("MatMul", graph.constant("rows", axis_weights(H, h) / 2.0**UNIT), x)
        x = graph.add("Floor", graph.add("Add", x, graph.constant("half", np.float64(0.5))))
        x = graph.add("Cast", x, to=graph.FLOAT)
    offset = preparation.offset(net.input_shape[0])
    if (offset == offset.flat[0]).all():
        offset = offset.flat[0]
    x = graph.add("Mul", x, graph.constant("scale", preparation.scale))
    return graph.add("Add", x, graph.constant("offset", offset))


def _conv2d(graph, step, x):
    settings = step.settings
    names = (
        graph.constant(f"{step.name}.{name}", step.arrays[name]) for name in ("weight", "bias")
    )
    return graph.add(
        "Conv",
        x,
        *names,
        kernel_shape=settings["kernel_size"],
        strides=settings["stride"],
        pads=settings["padding"] * 2,
        dilations=settings["dilation"],
        group=settings["groups"],
    )


def _linear(graph, step, x):
    names = (
        graph.constant(f"{step.name}.{name}", step.arrays[name]) for name in ("weight", "bias")
    )
    return graph.add("Gemm", x, *names, transB=1)


def _pool(graph, step, x):
    settings = step.settings
    windows = {
        "kernel_shape": settings["kernel_size"],
        "strides": settings["stride"],
        "pads": settings["padding"] * 2,
    }
    if step.kind == "max_pool2d":
        return graph.add("MaxPool", x, **windows)
    return graph.add(
        "AveragePool", x, **windows, count_include_pad=int(settings["count_include_pad"])
    )


def _subsample2d(graph, step, x):
    """A sum of windows times a coefficient is a convolution of each map with a constant filter."""
    window, channels = step.settings["kernel_size"], step.shape[0]
    filters = np.broadcast_to(step.arrays["weight"][:, None, None, None], (channels, 1, *window))
    weight = graph.constant(f"{step.name}.weight", filters)
    bias = graph.constant(f"{step.name}.bias", step.arrays["bias"])
    return graph.add("Conv", x, weight, bias, kernel_shape=window, strides=window, group=channels)


def _batch_norm(graph, step, x):
    names = (
        graph.constant(f"{step.name}.{name}", step.arrays[name])
        for name in ("weight", "bias", "mean", "var")
    )
    return graph.add("BatchNormalization", x, *names, epsilon=step.settings["eps"])


def _scaled_tanh(graph, step, x):
    slope, amplitude = (
        graph.constant(f"{step.name}.{name}", np.float32(step.settings[name]))
        for name in ("slope", "amplitude")
    )
    return graph.add("Mul", graph.add("Tanh", graph.add("Mul", x, slope)), amplitude)


def _rbf(graph, step, x):
    """Distances (N, classes, features), squared and summed."""
    middle, last = (graph.constant(f"{step.name}.axis{n}", np.array([n], np.int64)) for n in (1, 2))
    x = graph.add("Unsqueeze", x, middle)
    difference = graph.add("Sub", x, graph.constant(f"{step.name}.codes", step.arrays["codes"]))
    return graph.add("ReduceSum", graph.add("Mul", difference, difference), last, keepdims=0)


_WRITERS = {
    "conv2d": _conv2d,
    "linear": _linear,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "subsample2d": _subsample2d,
    "batch_norm": _batch_norm,
    "rbf": _rbf,
    "scaled_tanh": _scaled_tanh,
    "flatten": lambda graph, step, x: graph.add("Flatten", x, axis=1),
    "relu": lambda graph, step, x: graph.add("Relu", x),
    "sigmoid": lambda graph, step, x: graph.add("Sigmoid", x),
    "tanh": lambda graph, step, x: graph.add("Tanh", x),
}


def _properties(net, accuracy):
    """What a user of the file wants to know; values are JSON."""
    values = {"lenet5c": lenet5c.__version__, "model": type(net.model).__name__}
    if net.preparation is not None:
        values |= {
            "class_names": list(net.class_names),
            "image_shape": list(net.image_shape),
            "preparation": net.preparation.to_dict(),
            "reading": net.reading,
        }
    if accuracy is not None:
        values["test_accuracy"] = accuracy
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


class _Graph:
    """Nodes in the order they are added, each with one output, named after its place."""

    def __init__(self, onnx):
        self.onnx, self.helper = onnx, onnx.helper
        self.FLOAT, self.DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def input(self, name, kind, shape):
        kind = getattr(self.onnx.TensorProto, kind)
        self.inputs.append(self.helper.make_tensor_value_info(name, kind, ["N", *shape]))
        return name

    def output(self, name, shape):
        self.outputs.append(self.helper.make_tensor_value_info(name, self.FLOAT, ["N", *shape]))

    def constant(self, name, array):
        # Names of values and of nodes are apart from those of layers, whatever the user called these.
        name = f"constant.{name}"
        self.constants.append(
            self.onnx.numpy_helper.from_array(
                np.ascontiguousarray(array).reshape(np.shape(array)), name
            )
        )
        return name

    def add(self, op, *inputs, out=None, **attributes):
        out = out or f"value{len(self.nodes)}"
        self.nodes.append(
            self.helper.make_node(op, inputs, [out], name=f"{op}{len(self.nodes)}", **attributes)
        )
        return out

    def finish(self, properties):
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
        try:
            self.onnx.checker.check_model(model, full_check=True)
        except (
            self.onnx.checker.ValidationError,
            self.onnx.shape_inference.InferenceError,
        ) as error:
            raise ExportError(
                f"the model cannot be written as ONNX: {' '.join(str(error).split())}"
            ) from None
        return model.SerializeToString(deterministic=True)
