"""`Trainer.save` and `Trainer.load`: a training as a file, to go on with in another process."""

import hashlib
import json
from dataclasses import is_dataclass

from lenet5c import _files
from lenet5c.errors import RunError

PLAIN = (bool, int, float, str, tuple)


def save(trainer, path):
    """As `Trainer.save` has it."""
    values, arrays = trainer.state()
    _files.write_tensors(
        path, "checkpoint", arrays, {"settings": settings(trainer), "state": values}
    )


def load(trainer, path):
    """As `Trainer.load` has it."""
    arrays, metadata = _files.read_tensors(path, "checkpoint")
    # A run folder's checkpoint has its configuration instead, which does not describe a trainer.
    saved, own = metadata.get("settings"), settings(trainer)
    if isinstance(saved, dict):
        for name in sorted(own):
            if saved.get(name) != own[name]:
                raise RunError(
                    f"{path} is of a training with {name} {_short(saved.get(name))}, this one has {_short(own[name])}: "
                    f"make the trainer as that one was made"
                )
    before = trainer.state()
    try:
        trainer.load_state(metadata["state"], arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        trainer.load_state(*before)  # it may have come to the optimiser only
        raise RunError(f"{path} does not fit this trainer: {error}") from None


def settings(trainer):
    """All that decides how the training goes on, besides its state, as JSON has it."""
    optimizer = {
        name: value for name, value in vars(trainer.optimizer).items() if isinstance(value, PLAIN)
    }
    described = {
        "epochs": trainer.epochs,
        "batch_size": trainer.batch_size,
        "seed": trainer.seed,
        "order": trainer.order,
        "keep": trainer.keep,
        "patience": trainer.patience,
        "average": trainer.average.decay if trainer.average else 0.0,
        "loss": repr(trainer.loss),
        "optimizer": [
            type(trainer.optimizer).__name__,
            {k: v for k, v in optimizer.items() if k not in ("lr", "steps")},
        ],
        "schedule": _described(trainer.schedule),
        "preparation": trainer.preparation.to_dict(),
        "distortion": trainer.distortion.to_dict() if trainer.distortion else None,
        "train_set": _digest(trainer.train_set),
        "validation_set": None
        if trainer.validation_set is None
        else _digest(trainer.validation_set),
    }
    return json.loads(json.dumps(described))


def _described(thing):
    """One of ours with its settings; of a user's own function or object the name alone, as its address changes."""
    return (
        repr(thing)
        if is_dataclass(thing)
        else getattr(thing, "__qualname__", type(thing).__qualname__)
    )


def _digest(dataset):
    digest = hashlib.sha256(str(dataset.images.shape).encode())
    digest.update(dataset.images.data)
    digest.update(dataset.labels.data)
    return f"{len(dataset)} images, {digest.hexdigest()[:16]}"


def _short(value):
    text = (
        "none"
        if value is None
        else json.dumps(value)
        if isinstance(value, (dict, list))
        else str(value)
    )
    return text if len(text) <= 120 else text[:117] + "..."
