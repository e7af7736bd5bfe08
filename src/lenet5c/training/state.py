"""The state of a training: what `Trainer.state` has and `Trainer.load_state` checks."""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

Arrays = dict[str, NDArray[Any]]
State = tuple[dict[str, Any], Arrays]


def take(trainer: "Trainer") -> State:
    """Return the position and history as a JSON-able dict, and arrays by name."""
    optimizer = trainer.optimizer.state_dict()  # type: ignore[attr-defined]
    values = {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "loss_sum": trainer.loss_sum,
        "correct": trainer.correct,
        "history": trainer.history,
        "optimizer_steps": optimizer.pop("steps"),
        "random": {name: rng.bit_generator.state for name, rng in _generators(trainer)},
    }
    parts = {
        "model": trainer.model.state_dict(),
        "optimizer": optimizer,
        "average": {"vector": trainer.average.vector.copy()} if trainer.average else {},
        "best": trainer.best_weights or {},
    }
    arrays = {f"{part}.{name}": each[name] for part, each in parts.items() for name in each}
    return values, arrays


def restore(trainer: "Trainer", values: dict[str, Any], arrays: Arrays) -> None:
    """Bring a trainer to where `take` was called.

    Raises
    ------
    KeyError, TypeError, ValueError
        The state is damaged, or of a trainer with other settings.
    """
    parts: dict[str, Arrays] = {"model": {}, "optimizer": {}, "average": {}, "best": {}}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    _check_position(trainer, values)
    _check_weights(trainer, parts, values["history"])
    generators = dict(_generators(trainer))
    if generators.keys() != values["random"].keys():
        raise ValueError(
            f"random states must be of layers {sorted(generators)}, got {sorted(values['random'])}"
        )
    trainer.model.load_state_dict(parts["model"])
    optimizer = {"steps": values["optimizer_steps"], **parts["optimizer"]}
    trainer.optimizer.load_state_dict(optimizer)  # type: ignore[attr-defined]
    for name, rng in generators.items():
        rng.bit_generator.state = values["random"][name]
    trainer.epoch, trainer.step = values["epoch"], values["step"]
    trainer.history = list(values["history"])
    trainer.loss_sum, trainer.correct = float(values["loss_sum"]), values["correct"]
    if trainer.average:
        trainer.average.vector[:] = parts["average"]["vector"]
    trainer.best_weights = parts["best"] or None


def _check_position(trainer: "Trainer", values: dict[str, Any]) -> None:
    epoch, step, history = values["epoch"], values["step"], values["history"]
    for name, value, most in (
        ("epoch", epoch, trainer.epochs),
        ("step", step, trainer.steps_per_epoch),
        ("correct", values["correct"], len(trainer.train_set)),
    ):
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError(f"{name} must be an integer from 0 to {most}, got {value!r}")
    taken, expected = values["optimizer_steps"], epoch * trainer.steps_per_epoch + step
    if type(taken) is not int or taken != expected:
        raise ValueError(f"optimizer_steps must be {expected}, got {taken!r}")
    if not isfinite(values["loss_sum"]):
        raise ValueError(f"loss_sum must be finite, got {values['loss_sum']!r}")
    if len(history) != epoch or not all(isinstance(row, dict) for row in history):
        raise ValueError(f"history must be of {epoch} epochs, got {len(history)} others")
    if trainer.validation_set is not None and not all(
        isinstance(row.get(name), float)
        for row in history
        for name in ("validation_loss", "validation_accuracy")
    ):
        raise ValueError("history must have figures of the validation set, got rows without")


def _check_weights(trainer: "Trainer", parts: dict[str, Arrays], history: list[Any]) -> None:
    """Refuse an average or best weights that are not as this trainer keeps them."""
    average = {"vector": trainer.average.vector} if trainer.average else {}
    best = trainer.model.state_dict() if trainer.keep == "best" and history else {}
    for part, expected in (("average", average), ("best", best)):
        found = {name: (array.shape, array.dtype) for name, array in parts[part].items()}
        if found != {name: (array.shape, array.dtype) for name, array in expected.items()}:
            raise ValueError(
                f"{part} weights must have this trainer's names and shapes, got others; "
                "make the trainer with the same average and keep"
            )


def _generators(trainer: "Trainer") -> "Iterator[tuple[str, np.random.Generator]]":
    """Yield the random generators of layers such as Dropout, by name."""
    for name, layer in trainer.model.named_layers():
        rng = getattr(layer, "rng", None)
        if isinstance(rng, np.random.Generator):
            yield name, rng
