"""Forward pass of LeNet-5 from images to logits in NumPy: lenet5c, ONNX Runtime and PyTorch.

    python benchmarks/inference.py [--images 1 256 …] [--threads 2] [--repeats 7]

Calls as a user makes them: `outputs(x)` of ``outputs = model.compile()``, and `model.forward(x)`;
`session.run` on a graph made of the same weights; PyTorch in eager mode, `eval` and `no_grad`, with
`from_numpy` before and `.numpy()` behind. One image is also timed on one thread. Before anything is
timed, the logits are compared.
"""

from functools import partial

import numpy as np
from common import (
    FORWARD_FLOP,
    OURS,
    Comparison,
    Peak,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)
from train_epoch import pytorch_lenet5

from lenet5c.datasets import Preparation, mnist
from lenet5c.nn import LeNet5

TOLERANCE = 1e-5
FORWARD = "forward"


def onnx_model(state):
    """LeNet-5 as an ONNX graph, for any number of images."""
    from onnx import TensorProto, helper, numpy_helper

    def op(kind, source, weights=None, **attributes):
        params = [f"{weights}.weight", f"{weights}.bias"] if weights else []
        nodes.append(
            helper.make_node(kind, [source, *params], [f"{kind}{len(nodes)}"], **attributes)
        )
        return nodes[-1].output[0]

    nodes = []
    value = "images"
    for conv in ("conv1", "conv2"):
        value = op("Relu", op("Conv", value, conv, kernel_shape=[5, 5]))
        value = op("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    value = op("Flatten", value)
    for linear in ("fc1", "fc2"):
        value = op("Relu", op("Gemm", value, linear, transB=1))
    value = op("Gemm", value, "fc3", transB=1)
    graph = helper.make_graph(
        nodes,
        "lenet5",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array, name) for name, array in state.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_runtime(onnxruntime, state, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    model = onnx_model(state).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x})[0]


def pytorch(torch, state):
    model = pytorch_lenet5(torch, state).eval()

    @torch.no_grad()
    def forward(x):
        return model(torch.from_numpy(x)).numpy()

    return forward


def contenders_for(threads, peers):
    """Name -> function of images to logits, all set to this many threads."""
    set_threads(threads, peers)
    model = LeNet5(pooling="max", rng=0)
    state = model.state_dict()
    contenders = {OURS: model.compile(), FORWARD: model.forward}
    if "ONNX Runtime" in peers:
        contenders["ONNX Runtime"] = onnx_runtime(peers["ONNX Runtime"], state, threads)
    if "PyTorch" in peers:
        contenders["PyTorch"] = pytorch(peers["PyTorch"], state)
    return contenders


def main():
    parser = make_parser(__doc__, repeats=7, seconds=0.02)
    parser.add_argument(
        "--images",
        type=positive,
        nargs="+",
        default=[1, 16, 256, 10000],
        metavar="N",
        help="up to 10,000 (default: %(default)s)",
    )
    options = parser.parse_args()

    peers = load_peers("ONNX Runtime", "PyTorch")
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s. "
        f"{Comparison.NOTE}",
        f"Checked before: the logits agree within {TOLERANCE:.0e} of the largest.",
    )
    _, test_set = mnist()
    images = Preparation.named("default")(test_set.images)
    single = [(1, 1)] if 1 in options.images and options.threads > 1 else []
    table = None
    peaks = {}
    for count, threads in single + [(count, options.threads) for count in options.images]:
        contenders = contenders_for(threads, peers)
        x = np.ascontiguousarray(images[:count])
        check_agreement(
            f"{count} images", {name: [run(x)] for name, run in contenders.items()}, TOLERANCE
        )
        peak = peaks.setdefault(threads, Peak(threads))
        runs = {name: partial(run, x) for name, run in contenders.items()}
        times = interleaved(runs | {"peak": peak}, options.repeats, options.seconds)
        table = table or Comparison({"images": 6, "threads": 7}, list(contenders), left=0)
        table.row([len(x), threads], times, peak.share(FORWARD_FLOP * len(x), min(times[OURS])))
    print("", *peaks.values(), sep="\n")


if __name__ == "__main__":
    main()
