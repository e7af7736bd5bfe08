"""Time the forward pass of small nets, from images to logits in NumPy: lenet5c and other engines.

    python benchmarks/inference.py [--images 1 256 …] [--nets lenet5 …] [--engines OpenVINO …]
        [--threads 2] [--repeats 7]

The calls are those of a user, from arrays to arrays: ``outputs(x)`` with ``outputs =
model.compile()``, and `model.forward(x)`; `session.run` of ONNX Runtime; `infer` of OpenVINO, with
a graph for the number of images; the interpreter of LiteRT, from set_tensor to get_tensor, with the
XNNPACK delegate; IREE, compiled for this processor; PyTorch in eager mode and compiled, with `eval`
and `no_grad`, `from_numpy` and `.numpy()`. All use float32 and the same weights
(benchmarks/inference_engines.py); the nets are described in benchmarks/nets.py. Large batches are
passed whole or in pieces of at most 128 images, whichever is faster in a trial. One image is also
timed on one thread. The logits are compared before the measurements. Engines that are not installed
are skipped.
"""

from functools import partial

import numpy as np
from common import (
    OURS,
    Peak,
    Ranking,
    add_choices,
    check_agreement,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
)
from inference_engines import ENGINES, make_engine
from nets import NETS, multiply_adds

from lenet5c.datasets import mnist

TOLERANCE = 1e-5
FORWARD = "forward"


def contenders_for(engines, net, x, threads, peers):
    """Return name -> callable for this number of threads, and name -> label."""
    set_threads(threads, peers)
    model = net.make()
    compiled = model.compile(net.shape, num_threads=threads)
    contenders = {OURS: partial(compiled, x), FORWARD: partial(model.forward, x)}
    labels = {}
    for name in engines:
        try:
            run, pieces = make_engine(name, model, net.shape, x, threads)
        except Exception as error:  # of any engine's own kind
            print(f"{name} cannot run this and is left out: {type(error).__name__}: {error}")
            continue
        contenders[name] = partial(run, x)
        if pieces > 1:
            labels[name] = f"{name}, {pieces} pieces"
    return contenders, labels


def main():
    parser = make_parser(__doc__, repeats=7, seconds=0.02)
    add = parser.add_argument
    add(
        "--images",
        type=positive,
        nargs="+",
        default=[1, 16, 256, 10000],
        metavar="N",
        help="up to 10,000 (default: %(default)s)",
    )
    add_choices(parser, NETS, ENGINES)
    options = parser.parse_args()

    peers = load_peers(*dict.fromkeys(ENGINES[name][1] for name in options.engines))
    engines = [name for name in options.engines if ENGINES[name][1] in peers]
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s. "
        f"{Ranking.NOTE}",
        f"Checked before: the logits agree within {TOLERANCE:.0e} of the largest.",
    )
    _, test_set = mnist()
    table = Ranking({"net": 13, "images": 6, "threads": 7})
    single = [(1, 1)] if 1 in options.images and options.threads > 1 else []
    peaks = {}
    for name in options.nets:
        net = NETS[name]
        images = net.preparation(test_set.images)
        flop = 2 * multiply_adds(net.make(), net.shape)[0]
        for count, threads in single + [(count, options.threads) for count in options.images]:
            x = np.ascontiguousarray(images[:count])
            contenders, labels = contenders_for(engines, net, x, threads, peers)
            results = {who: [np.array(run())] for who, run in contenders.items()}
            check_agreement(f"{name}, {count} images", results, TOLERANCE)
            peak = peaks.setdefault(threads, Peak(threads))
            times = interleaved(contenders | {"peak": peak}, options.repeats, options.seconds)
            table.rows([name, len(x), threads], times, labels, peak, flop * len(x))
    print("", *peaks.values(), sep="\n")


if __name__ == "__main__":
    main()
