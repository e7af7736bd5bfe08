"""Checkpoints: a trainer loads one completely, or is unchanged."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from lenet5c import nn, optim
from lenet5c.datasets import Dataset, Preparation
from lenet5c.errors import UserError
from lenet5c.training import Trainer
from lenet5c.training.run_folder import RunFolder
from torture.fuzz.support import MutateBytes
from torture.fuzz.targets import model

KIND = "checkpoint"
MAX_LENGTH = 1 << 15

folder = RunFolder(model.path.parent)
folder.config_digest = "0" * 64
model.path = folder.checkpoint_file


def make_trainer(optimizer: str = "Adam", keep: str = "best", average: float = 0.5) -> Trainer:
    """Return a small trainer with everything that a checkpoint can contain."""
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2, rng=0), nn.BatchNorm1d(2))
    images = np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2)
    data = Dataset(images, np.arange(6, dtype=np.int32) % 2, 2)
    return Trainer(
        net,
        getattr(optim, optimizer)(net, 0.01),
        optim.Constant(0.01),
        nn.CrossEntropyLoss(),
        Preparation(size=(2, 2)),
        data,
        data,
        batch_size=2,
        epochs=4,
        average=average,
        keep=keep,
    )


def take(trainer: Trainer) -> tuple[str, dict[str, Any]]:
    """Return the state of a trainer, to compare and to restore."""
    values, arrays = trainer.state()
    return json.dumps(values), {name: array.copy() for name, array in arrays.items()}


trainer = make_trainer()
before = take(trainer)
unchanged = (before[0], {name: array.tobytes() for name, array in before[1].items()})


def read(data: bytes) -> None:
    """Resume from a checkpoint; check that a rejected one has changed nothing."""
    global trainer
    if not model.write(data, KIND):
        return
    try:
        folder.load_checkpoint(trainer)
        folder.write_metrics(trainer.history)
        repr(trainer.history)
        trainer.load_state(json.loads(before[0]), before[1])
    except UserError:
        check_unchanged()
        raise
    except BaseException:
        trainer = make_trainer()
        raise


def check_unchanged() -> None:
    """Raise an error if the trainer is not in its initial state."""
    global trainer
    values, arrays = trainer.state()
    if (json.dumps(values), {name: array.tobytes() for name, array in arrays.items()}) != unchanged:
        trainer = make_trainer()
        raise AssertionError("a refused checkpoint has changed the trainer")


def seeds() -> Iterator[bytes]:
    """Yield checkpoints of the beginning, of a step within an epoch, and of the end."""
    for stop in (0, 1, 2, 5, 20):
        other = make_trainer()
        steps = iter(range(stop))
        other.run(stop=lambda steps=steps: next(steps, None) is None)
        folder.save_checkpoint(other)
        yield model.describe(KIND)
    yield model.RAW + folder.checkpoint_file.read_bytes()
    folder.save_checkpoint(make_trainer("SGD", "last", 0.0))
    yield model.describe(KIND)


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the content of the checkpoint."""
    return model.mutate(data, random, mutate_bytes)
