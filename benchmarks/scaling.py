"""Time lenet5c by number of threads, batch size, image size and channels.

    python benchmarks/scaling.py [--sections threads batch size channels] [--threads 2] [--repeats
    5]

threads: LeNet-5, training step with 256 images and forward pass with 4,096. batch: LeNet-5, the
same with other batch sizes. size: two 3 x 3 convolutions (8 and 16 channels), each with ReLU and
max pooling, and a linear layer, on 32 images. channels: two 3 x 3 convolutions with equal numbers
of input and output channels, on 32 images of 28 x 28. All settings of a section are timed in turns.
"""

import numpy as np
from common import (
    Peak,
    Table,
    digits,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
    time_cell,
)
from nets import multiply_adds

import lenet5c
from lenet5c.nn import (
    Conv2d,
    CrossEntropyLoss,
    Flatten,
    LeNet5,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

CLASSES = 10
LENET5_SHAPE = (1, 32, 32)


def sized(size):
    """Return a net for images of this size."""
    return Sequential(
        Conv2d(1, 8, 3, padding=1, rng=0),
        ReLU(),
        MaxPool2d(2),
        Conv2d(8, 16, 3, padding=1, rng=1),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(16 * (size // 4) ** 2, CLASSES, rng=2),
    )


def wide(channels):
    """Return a net of this many channels."""
    return Sequential(
        Conv2d(channels, channels, 3, padding=1, rng=0),
        ReLU(),
        Conv2d(channels, channels, 3, padding=1, rng=1),
        ReLU(),
        MaxPool2d(28),
        Flatten(),
        Linear(channels, CLASSES, rng=2),
    )


def works(model, shape, batch):
    """{'forward': …, 'train step': …} of (callable, multiply-adds) on a batch of random images."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *shape), np.float32)
    labels = rng.integers(0, CLASSES, batch)
    loss = CrossEntropyLoss()
    forward, step = multiply_adds(model, shape)
    return {
        "forward": (lambda: model.forward(x), batch * forward),
        "train step": (lambda: model.train_step(x, labels, loss), batch * step),
    }


def threads_section(options):
    model = LeNet5(rng=0)
    for threads in range(1, options.threads + 1):
        for batch, wanted in ((256, "train step"), (4096, "forward")):
            run, count = works(model, LENET5_SHAPE, batch)[wanted]
            yield wanted, threads, batch, with_threads(run, threads, options.threads), count


def with_threads(run, threads, usual):
    def limited():
        lenet5c.set_num_threads(threads)
        run()
        lenet5c.set_num_threads(usual)

    return limited


def batch_section(options):
    model = LeNet5(rng=0)
    for batch in options.batches:
        for name, (run, count) in works(model, LENET5_SHAPE, batch).items():
            yield name, batch, batch, run, count


def size_section(options):
    for size in options.sizes:
        for name, (run, count) in works(sized(size), (1, size, size), 32).items():
            yield name, size, 32, run, count


def channels_section(options):
    for channels in options.channels:
        for name, (run, count) in works(wide(channels), (channels, 28, 28), 32).items():
            yield name, channels, 32, run, count


# Each yields (pass, setting, samples, callable, multiply-adds of the call).
SECTIONS = {
    "threads": threads_section,
    "batch": batch_section,
    "size": size_section,
    "channels": channels_section,
}


def main():
    parser = make_parser(__doc__, repeats=5, seconds=0.02)
    add = parser.add_argument
    add(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=list(SECTIONS),
        metavar="NAME",
        help="(default: all)",
    )
    batches = [1, 2, 4, 8, 16, 17, 32, 33, 64, 128, 256, 512, 1024]
    add(
        "--batches",
        nargs="+",
        type=positive,
        default=batches,
        metavar="N",
        help="(default: %(default)s)",
    )
    sizes = [28, 32, 48, 64, 96, 128, 192, 256]
    add(
        "--sizes",
        nargs="+",
        type=positive,
        default=sizes,
        metavar="N",
        help="at least 4 (default: %(default)s)",
    )
    channels = [1, 2, 4, 8, 12, 16, 24, 32, 64, 128]
    add(
        "--channels",
        nargs="+",
        type=positive,
        default=channels,
        metavar="N",
        help="(default: %(default)s)",
    )
    options = parser.parse_args()

    peers = load_peers()
    set_threads(options.threads, peers)
    print_header(
        options.threads,
        peers,
        f"{options.repeats} timings each, in turns, of at least {options.seconds} s; times are "
        "minimum / median, the other figures of the minimum. The FMA peak is that of all threads.",
        "× best: the time per multiply-add, divided by the least of the same pass in the section.",
    )
    peak = Peak(options.threads)
    for name in options.sections:
        print_section(name, SECTIONS[name](options), peak, options)
    print(peak)


def print_section(name, rows, peak, options):
    cases = {(work, setting): (samples, run, count) for work, setting, samples, run, count in rows}
    runs = {case: run for case, (_, run, _) in cases.items()}
    times = interleaved(runs | {"peak": peak}, options.repeats, options.seconds)
    least = {case: min(times[case]) for case in cases}
    per_operation = {case: least[case] / count for case, (_, _, count) in cases.items()}
    table = Table(
        {
            "pass": 10,
            name: 8,
            "a call": 17,
            "µs a sample": 0,
            "ps a multiply-add": 0,
            "× best": 6,
            "of FMA peak": 0,
        }
    )
    for case in sorted(cases, key=lambda case: case[0]):
        samples, _, count = cases[case]
        best = min(value for (work, _), value in per_operation.items() if work == case[0])
        table.row(
            *case,
            time_cell(times[case]),
            digits(1e6 * least[case] / samples),
            digits(1e12 * per_operation[case]),
            f"{per_operation[case] / best:.2f}",
            peak.share(2 * count, least[case]),
        )
    print(flush=True)


if __name__ == "__main__":
    main()
