"""Engines of inference.py, which make a function of images to logits from a net and its weights.

Each takes the model of lenet5c, the shape of an image, the number of images per call and the number
of threads. Graphs are built from the layers, for exactly this number of images if the engine
supports it. All use the same weights, and float32 throughout.
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from nets import pytorch_net, steps
from workers import timed

OPSET, IR_VERSION = 17, 8
PIECE = 128


def onnx_graph(model, shape, images="N"):
    """Return the bytes of a plain net as an ONNX graph."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays, value = [], [], "images"
    kinds = {
        "Conv2d": ("Conv", {}),
        "ReLU": ("Relu", {}),
        "MaxPool2d": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        "Flatten": ("Flatten", {}),
        "Linear": ("Gemm", {"transB": 1}),
    }
    for number, (kind, *params) in enumerate(steps(model)):
        names = [f"{name}{number}" for name in ("weight", "bias")] if params[0] is not None else []
        arrays += [numpy_helper.from_array(p, n) for p, n in zip(params, names, strict=False)]
        op, attributes = kinds[kind]
        nodes.append(helper.make_node(op, [value, *names], [f"value{number}"], **attributes))
        value = f"value{number}"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [info("images", TensorProto.FLOAT, [images, *shape])],
        [info(value, TensorProto.FLOAT, [images, 10])],
        arrays,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    return made.SerializeToString()


def onnx_runtime(model, shape, images, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        onnx_graph(model, shape), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"images": x})[0]


def pytorch(model, shape, images, threads):
    """PyTorch in eager mode, with from_numpy and .numpy()."""
    import torch

    net = pytorch_net(torch, model).eval()

    @torch.no_grad()
    def forward(x):
        return net(torch.from_numpy(x)).numpy()

    return forward


def torch_compile(model, shape, images, threads):
    import torch

    net = torch.compile(pytorch_net(torch, model).eval(), dynamic=False)

    @torch.no_grad()
    def forward(x):
        return net(torch.from_numpy(x)).numpy()

    return forward


def openvino(model, shape, images, threads):
    """One stream of all threads, float32 (the default may be bfloat16 where a processor has it)."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    graph = core.read_model(onnx_graph(model, shape, images), b"")
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    # The result lies in the engine's memory, which the next call overwrites.
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


def litert(model, shape, images, threads):
    """LiteRT, once TensorFlow Lite, whose XNNPACK delegate computes all of these ops."""
    from ai_edge_litert.interpreter import Interpreter
    from tflite_graph import tflite_graph

    interpreter = Interpreter(model_content=tflite_graph(model, shape, images), num_threads=threads)
    interpreter.allocate_tensors()
    [source], [target] = interpreter.get_input_details(), interpreter.get_output_details()

    def forward(x):
        # One channel: (N, 1, H, W) lies as (N, H, W, 1) does.
        interpreter.set_tensor(source["index"], x.reshape(source["shape"]))
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return forward


def iree(model, shape, images, threads):
    """IREE, compiled ahead of time for this processor; one thread runs in the caller's thread."""
    from iree import runtime
    from iree.compiler import compile_file

    with tempfile.TemporaryDirectory() as folder:
        graph, imported = Path(folder, "net.onnx"), Path(folder, "net.mlir")
        graph.write_bytes(onnx_graph(model, shape, images))
        command = [sys.executable, "-m", "iree.compiler.tools.import_onnx", graph, "-o", imported]
        subprocess.run(command, check=True, capture_output=True)
        settings = ["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"]
        program = compile_file(
            str(imported), target_backends=["llvm-cpu"], input_type="onnx", extra_args=settings
        )
    runtime.flags.parse_flags(f"--task_topology_max_group_count={threads}")
    config = runtime.Config("local-sync" if threads == 1 else "local-task")
    module = runtime.VmModule.copy_buffer(config.vm_instance, program)
    function = runtime.load_vm_module(module, config)["net"]
    return lambda x: function(x).to_host()


# Name -> (maker, the peer in common.PEERS that it needs).
ENGINES = {
    "ONNX Runtime": (onnx_runtime, "ONNX Runtime"),
    "OpenVINO": (openvino, "OpenVINO"),
    "LiteRT": (litert, "LiteRT"),
    "IREE": (iree, "IREE"),
    "PyTorch": (pytorch, "PyTorch"),
    "torch.compile": (torch_compile, "PyTorch"),
}


def make_engine(name, model, shape, x, threads):
    """Return a function of the images `x` to logits, and the number of pieces.

    Large batches are passed whole or in pieces, whichever is faster in a trial.
    """
    maker, _ = ENGINES[name]
    found = []
    for size in dict.fromkeys((len(x), piece(len(x)))):
        forward = maker(model, shape, size, threads)
        run = forward if size == len(x) else in_pieces(forward, size)
        run(x)
        found.append((min(timed(partial(run, x), 1) for _ in range(3)), run, len(x) // size))
    return min(found, key=lambda each: each[0])[1:]


def piece(images):
    """Return the largest divisor up to PIECE, or the number of images if it is smaller."""
    if images < 2 * PIECE:
        return images
    return max(size for size in range(1, PIECE + 1) if images % size == 0)


def in_pieces(forward, size):
    return lambda x: np.concatenate(
        [np.array(forward(x[first : first + size])) for first in range(0, len(x), size)]
    )
