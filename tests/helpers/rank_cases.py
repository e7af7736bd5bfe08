"""Named trainings for several ranks; as a program, runs all of them on MPI ranks."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from trainers import random_layers_trainer, sdlm_trainer

from lenet5c import kernels, nn, optim
from lenet5c.datasets import Dataset, Distortion, Preparation, mnist
from lenet5c.datasets.mapped import MappedImages
from lenet5c.training import Trainer, evaluate
from lenet5c.training.parallel import open_ranks

COUNT = 303


def small_net():
    """Return a net with very fast steps."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, stride=4, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(147, 10, rng=1)
    )


def normalized_net():
    """Return a net whose shards meet after each layer, with a branch and dropout."""
    inner = [nn.Conv2d(4, 4, 3, padding=1, rng=1), nn.BatchNorm2d(4)]
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=4, rng=0),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Residual(*inner),
        nn.Flatten(),
        nn.Dropout(0.3, rng=7),
        nn.Linear(196, 20, rng=2),
        nn.BatchNorm1d(20),
        nn.ReLU(),
        nn.Linear(20, 10, rng=3),
    )


def make(data, model, batch_size, optimizer=optim.Adam, epochs=2, **settings):
    """Return a trainer on a data set, validated on its first images."""
    return Trainer(
        model,
        optimizer(model, lr=0.003),
        optim.Constant(0.003),
        nn.CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        data.take(np.arange(150)),
        batch_size=batch_size,
        epochs=epochs,
        seed=4,
        **settings,
    )


def cases(data, mapped):
    """Return functions that make a trainer, by name; `mapped` are the same images in a file."""
    mixed = Distortion.named("pictures-mixup")
    more = data.take(np.arange(1100) % COUNT)
    found = {
        "LeNet-5, a last batch of three": lambda: make(data, nn.LeNet5(rng=0), 100),
        "LeNet-5, exchanged in pieces": lambda: make(more, nn.LeNet5(rng=0), 550, epochs=1),
        "fewer shards than ranks": lambda: make(data, nn.LeNet5(rng=0), 16, epochs=1),
        "mixed and distorted": lambda: make(data, small_net(), 70, distortion=mixed),
        "averaged, the best kept": lambda: make(data, small_net(), 64, average=0.9, keep="best"),
        "batches of two times shards": lambda: make(more, small_net(), 1060),
        "batch normalization": lambda: make(data, normalized_net(), 90),
        "batch normalization, large": lambda: make(more, normalized_net(), 1060),
        "images in a file": lambda: make(mapped, nn.LeNet5(rng=0), 100),
        "images in a file, mixed": lambda: make(mapped, small_net(), 70, distortion=mixed),
        "images in a file, normalized": lambda: make(mapped, normalized_net(), 90),
        "layers in NumPy": lambda: random_layers_trainer(data),
        "as in 1998": lambda: sdlm_trainer(data, epochs=1),
    }
    for name in ("adamw", "nadam", "adagrad", "rmsprop", "sgd", "lion", "sdlm"):
        choice = optim.OPTIMIZERS[name]
        found[name] = lambda choice=choice: make(data, small_net(), 50, choice.make, epochs=1)
    return found


def outcome(trainer):
    """Return a digest of all results of a training."""
    assert trainer.run()
    result = evaluate(
        trainer.model, trainer.train_set, trainer.preparation, trainer.loss, trainer.ranks
    )
    arrays = [*trainer.model.state_dict().values(), trainer.model.grad_vector]
    sha = hashlib.sha256(json.dumps([trainer.history, result.loss]).encode())
    for array in (*arrays, result.probabilities):
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def outcomes(ranks=None):
    """Return the digest of each case, on some ranks."""
    data = mnist()[0].take(np.arange(COUNT))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        path.write_bytes(data.images.tobytes())
        images = MappedImages(path, 0, COUNT, (1, 28, 28))
        mapped = Dataset(images, data.labels, 10, data.name)
        found = {}
        for name, make_trainer in cases(data, mapped).items():
            trainer = make_trainer()
            if ranks is not None:
                trainer.ranks = ranks
            found[name] = outcome(trainer)
        return found


def main(threads):
    kernels.set_num_threads(threads)
    ranks = open_ranks()
    found = outcomes(ranks)
    ranks.compare(found)
    if ranks.first:
        print(json.dumps({"ranks": ranks.size, "neighbors": ranks.neighbors, "outcomes": found}))
    ranks.leave(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
