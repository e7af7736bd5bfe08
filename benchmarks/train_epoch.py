"""Time a training epoch of small nets: lenet5c, PyTorch, JAX and NumPy on the same batches.

    python benchmarks/train_epoch.py [--nets lenet5 …] [--batch-size 128 …] [--engines JAX …]
        [--threads 2] [--repeats 3]

An epoch is one pass over the 60,000 training images of MNIST with Adam, including the last, smaller
batch. lenet5c starts from uint8 images, the others from precomputed float32 images; all use a new
order in each epoch. PyTorch runs in eager mode, with torch.compile of net and loss, and with
bfloat16 by autocast, which is less accurate; JAX compiles one step, or all steps of an epoch.
Layout (channels first or last), fused Adam and the steps per call are chosen by a trial, and
printed in the last lines. NumPy runs some steps of an epoch of LeNet-5, and its time is scaled. The
nets are in benchmarks/nets.py. Before the measurements, loss and gradient of the first batch are
compared from the same weights. The first epoch is a warm-up.
"""

import os
from itertools import product

import numpy as np
from common import (
    NUMPY,
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
from nets import NETS, multiply_adds
from training_engines import ENGINES, LEARNING_RATE, Numpy, fastest

from lenet5c.datasets import mnist
from lenet5c.nn import CrossEntropyLoss
from lenet5c.optim import Adam, Constant
from lenet5c.training import Trainer

TOLERANCE = 1e-4


class Ours:
    def __init__(self, train_set, batch_size, net=NETS["lenet5"]):
        self.model = net.make()
        self.trainer = Trainer(
            self.model,
            Adam(self.model, LEARNING_RATE),
            Constant(LEARNING_RATE),
            CrossEntropyLoss(),
            net.preparation,
            train_set,
            None,
            batch_size=batch_size,
            epochs=1,
        )

    def first_batch(self, count):
        """Return the loss and the gradients, by parameter, of the first `count` images."""
        trainer = self.trainer
        loss, _ = self.model.train_step(
            trainer.preparation.samples(trainer.train_set.images, np.arange(count)),
            trainer.train_set.labels[:count],
            trainer.loss,
        )
        return [np.float32(loss), *self.model.grads.values()]

    def epoch(self):
        self.trainer.run()
        self.trainer.epochs += 1


def contenders_for(name, train_set, batch_size, options, peers):
    """Return name -> contender."""
    net = NETS[name]
    ours = Ours(train_set, batch_size, net)
    model, images = ours.model, net.preparation(train_set.images)
    labels = train_set.labels.astype(np.int64)
    contenders = {OURS: ours}
    for engine in options.engines:
        peer = ENGINES[engine][1]
        if peer in peers:
            try:
                contenders[engine] = fastest(engine, peers[peer], model, images, labels, batch_size)
            except Exception as error:  # of any engine's own kind: no compiler, for instance
                reason = str(error).strip().partition("\n")[0]
                print(f"{engine} cannot run this and is left out: {type(error).__name__}: {reason}")
    if options.numpy_steps and name == "lenet5":
        state = model.state_dict()
        contenders[NUMPY] = Numpy(state, images, labels, batch_size, options.numpy_steps)
    return contenders


def check_first_batch(name, contenders, count):
    """End the program unless loss and gradient of the first batch agree for all contenders."""
    first = {who: contender.first_batch(count) for who, contender in contenders.items()}
    for who in contenders:
        tolerance = ENGINES[who][2] if who in ENGINES else TOLERANCE
        check_agreement(name, {OURS: first[OURS], who: first[who]}, tolerance)


def main():
    parser = make_parser(__doc__, repeats=3)
    add = parser.add_argument
    add("--batch-size", type=positive, nargs="+", default=[32, 64, 128, 192, 256], metavar="N")
    add_choices(parser, NETS, ENGINES)
    add(
        "--images",
        type=positive,
        default=60000,
        metavar="N",
        help="images per epoch (default: all)",
    )
    add(
        "--numpy-steps",
        type=int,
        default=100,
        metavar="N",
        help="steps of NumPy; 0 skips NumPy (default: %(default)s)",
    )
    options = parser.parse_args()

    os.environ["NPROC"] = str(options.threads)  # what JAX reads when it is loaded
    peers = load_peers(*dict.fromkeys(ENGINES[name][1] for name in options.engines))
    set_threads(options.threads, peers)
    train_set, _ = mnist()
    train_set = train_set.take(np.arange(min(options.images, len(train_set))))
    print_header(
        options.threads,
        peers,
        f"An epoch is {len(train_set):,} images; {options.repeats} epochs each, in turns; NumPy: "
        f"{options.numpy_steps} steps, scaled. {Ranking.NOTE}",
        f"Checked before: loss and gradient of the first batch agree within {TOLERANCE:.0e} of "
        f"the largest value, with bfloat16 within {ENGINES['PyTorch, bfloat16'][2]}.",
    )
    peak = Peak(options.threads)
    table = Ranking({"net": 13, "batch": 5})
    notes = []
    for name, batch_size in product(options.nets, options.batch_size):
        contenders = contenders_for(name, train_set, batch_size, options, peers)
        what = f"{name}, batch {batch_size}"
        check_first_batch(what, contenders, min(batch_size, len(train_set)))

        runs = {who: contender.epoch for who, contender in contenders.items()}
        times = interleaved(runs | {"peak": peak}, options.repeats)
        if NUMPY in contenders:
            scale = len(train_set) / contenders[NUMPY].samples
            times[NUMPY] = [seconds * scale for seconds in times[NUMPY]]
        flop = 2 * len(train_set) * multiply_adds(contenders[OURS].model, NETS[name].shape)[1]
        table.rows([name, batch_size], times, {}, peak, flop)
        chosen = (f"{who} with {contenders[who].way}" for who in ENGINES if who in contenders)
        notes.append(f"{what}: {'; '.join(chosen)}.")
    print("", *notes, "", peak, sep="\n")


if __name__ == "__main__":
    main()
