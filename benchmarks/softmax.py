"""Compare softmax, log-softmax and their gradients with PyTorch, along short, long and inner axes.

    python benchmarks/softmax.py [--threads 2] [--repeats 5]

PyTorch uses existing tensors, without autograd; its backward passes are the ATen operators alone.
Both allocate their results, which are compared before the measurements.
"""

import numpy as np
from common import (
    OURS,
    Comparison,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    print_header,
    set_threads,
)

from lenet5c import kernels

# Shape, and axis: logits of a LeNet-5, of more classes, of two; maps of classes, large and small.
SHAPES = [
    ((1, 10), 1),
    ((32, 10), 1),
    ((128, 10), 1),
    ((10000, 10), 1),
    ((10000, 2), 1),
    ((128, 64), 1),
    ((128, 1000), 1),
    ((1, 100000), 1),
    ((8, 21, 64, 64), 1),
    ((8, 21, 7, 7), 1),
]
TOLERANCES = {"float32": 1e-5, "float64": 1e-13}


def contenders(name, shape, axis, dtype, torch):
    """Return the calls of a function by engine."""
    x, dy = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    forward = name.removesuffix("_backward")
    given = (x,) if name == forward else (dy, getattr(kernels, forward)(x, axis))
    runs = {OURS: lambda: getattr(kernels, name)(*given, axis)}
    if torch:
        tensors = [torch.tensor(array) for array in given]
        if name == forward:
            runs["PyTorch"] = lambda: getattr(torch, name)(*tensors, axis)
        else:
            operator = getattr(torch.ops.aten, f"_{name}_data")
            runs["PyTorch"] = lambda: operator(*tensors, axis, tensors[0].dtype)
    return runs


def main():
    options = make_parser(__doc__, repeats=5, seconds=0.02).parse_args()
    peers = load_peers("PyTorch")
    set_threads(options.threads, peers)
    print_header(options.threads, peers, Comparison.NOTE.partition(" Of FMA")[0])
    torch = peers.get("PyTorch")
    keys = {"function": 20, "shape": 12, "axis": 0, "dtype": 7}
    table = Comparison(keys, [OURS, *(["PyTorch"] if torch else [])], left=2)
    for name in ("softmax", "softmax_backward", "log_softmax", "log_softmax_backward"):
        for shape, axis in SHAPES:
            for dtype, tolerance in TOLERANCES.items():
                runs = contenders(name, shape, axis, dtype, torch)
                results = {contender: [np.asarray(run())] for contender, run in runs.items()}
                row = [name, "x".join(map(str, shape)), axis, dtype]
                check_agreement(" ".join(map(str, row)), results, tolerance)
                table.row(row, interleaved(runs, options.repeats, options.seconds))


if __name__ == "__main__":
    main()
