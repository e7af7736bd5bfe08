"""Write a plain net as a .tflite file, with the schema included in ai-edge-litert.

TensorFlow is not needed: the file is a FlatBuffer of tensors and operators. The layouts are
those of TensorFlow Lite: images (N, H, W, C) and filters (O, KH, KW, I). A flattened image has its
channels last, so the columns of the first linear layer are reordered.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from nets import steps

OPERATORS = {
    "Conv2d": schema.BuiltinOperator.CONV_2D,
    "MaxPool2d": schema.BuiltinOperator.MAX_POOL_2D,
    "Flatten": schema.BuiltinOperator.RESHAPE,
    "Linear": schema.BuiltinOperator.FULLY_CONNECTED,
}
# The version of an operator's definition, where it is not 1.
VERSIONS = {"Conv2d": 1}


class Graph:
    """Tensors, buffers and operators as they are added."""

    def __init__(self):
        self.buffers, self.tensors, self.operators = [schema.BufferT()], [], []
        self.codes = []

    def tensor(self, shape, array=None):
        """Add a float32 tensor, or an int32 one of an int32 array; return its number."""
        made = schema.TensorT()
        made.name = f"t{len(self.tensors)}"
        made.shape = list(shape)
        made.type = schema.TensorType.FLOAT32
        made.buffer = 0
        if array is not None:
            if array.dtype == np.int32:
                made.type = schema.TensorType.INT32
            made.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT())
            self.buffers[-1].data = np.frombuffer(array.tobytes(), np.uint8)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def add(self, kind, inputs, shape, options):
        """Add an operator; return the number of its result."""
        if kind not in self.codes:
            self.codes.append(kind)
        made = schema.OperatorT()
        made.opcodeIndex = self.codes.index(kind)
        made.inputs, made.outputs = inputs, [self.tensor(shape)]
        made.builtinOptions = options
        made.builtinOptionsType = getattr(
            schema.BuiltinOptions, type(options).__name__.removesuffix("T")
        )
        self.operators.append(made)
        return made.outputs[0]

    def finish(self, inputs, outputs):
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.description = 3, "net"
        model.subgraphs, model.buffers, model.operatorCodes = [subgraph], self.buffers, []
        for kind in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = OPERATORS[kind], 1
            code.deprecatedBuiltinCode = min(OPERATORS[kind], 127)
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tflite_graph(model, shape, images):
    """Return the bytes of a plain net for a number of images of shape (C, H, W)."""
    graph = Graph()
    channels, height, width = shape
    value = graph.tensor([images, height, width, channels])
    source, columns = value, None
    todo = list(steps(model))
    while todo:
        kind, weight, bias = todo.pop(0)
        activation = schema.ActivationFunctionType.NONE
        if todo and todo[0][0] == "ReLU":
            activation = schema.ActivationFunctionType.RELU
            todo.pop(0)
        if kind == "Conv2d":
            channels, _, *window = weight.shape
            height, width = height - window[0] + 1, width - window[1] + 1
            options = schema.Conv2DOptionsT()
            filters = np.ascontiguousarray(weight.transpose(0, 2, 3, 1))
            inputs = [value, graph.tensor(filters.shape, filters), graph.tensor(bias.shape, bias)]
        elif kind == "MaxPool2d":
            height, width = height // 2, width // 2
            options = schema.Pool2DOptionsT()
            options.filterHeight = options.filterWidth = 2
            inputs = [value]
        elif kind == "Flatten":
            columns = np.arange(channels * height * width).reshape(channels, height, width)
            columns = columns.transpose(1, 2, 0).ravel()
            sizes = np.array([images, columns.size], np.int32)
            options = schema.ReshapeOptionsT()
            options.newShape = sizes
            inputs = [value, graph.tensor([2], sizes)]
        else:
            if columns is not None:
                weight, columns = weight[:, columns], None
            options = schema.FullyConnectedOptionsT()
            weight = np.ascontiguousarray(weight)
            inputs = [value, graph.tensor(weight.shape, weight), graph.tensor(bias.shape, bias)]
        if kind in ("Conv2d", "MaxPool2d"):
            options.padding = schema.Padding.VALID
            options.strideH = options.strideW = 2 if kind == "MaxPool2d" else 1
        if kind != "Flatten":
            options.fusedActivationFunction = activation
        flat = kind in ("Flatten", "Linear")
        size = len(weight) if kind == "Linear" else channels * height * width
        result = [images, size] if flat else [images, height, width, channels]
        value = graph.add(kind, inputs, result, options)
    return graph.finish([source], [value])
