"""State of a training, for `Trainer.state` and `Trainer.load_state`."""

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

Arrays = dict[str, NDArray[Any]]
State = tuple[dict[str, Any], Arrays]
ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy")
PARTS = ("model", "optimizer", "average", "best")


def take(trainer: "Trainer") -> State:
    """Return the position and history as a JSON-able dict, and arrays by name."""
    optimizer = trainer.optimizer.state_dict()  # type: ignore[attr-defined]
    layers = trainer.model.random_layers()
    values = {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "loss_sum": trainer.loss_sum,
        "correct": trainer.correct,
        "history": trainer.history,
        "optimizer_steps": optimizer.pop("steps"),
        "random": {name: layer.rng_state for name, layer in layers.items()},
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
    """Restore a trainer to the state of `take`; leave it unchanged on error.

    Raises
    ------
    ValueError
        If the state is damaged, or of a trainer with other settings.
    """
    before = take(trainer)
    if type(values) is not dict or values.keys() != before[0].keys():
        raise ValueError(f"state must have the keys {sorted(before[0])}, got {_short(values)}")
    _check_position(trainer, values)
    _check_history(trainer, values["history"], values["epoch"])
    _check_random(trainer, values["random"])
    _check_arrays(trainer, arrays, before[1], bool(values["history"]))
    try:
        _apply(trainer, values, arrays)
    except BaseException:  # Ctrl-C, or an error of a custom optimizer
        _apply(trainer, *before)
        raise


def _apply(trainer: "Trainer", values: dict[str, Any], arrays: Arrays) -> None:
    parts: dict[str, Arrays] = {part: {} for part in PARTS}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = array
    optimizer = {"steps": values["optimizer_steps"], **parts["optimizer"]}
    trainer.optimizer.load_state_dict(optimizer)  # type: ignore[attr-defined]
    trainer.model.load_state_dict(parts["model"])
    for name, layer in trainer.model.random_layers().items():
        layer.rng_state = values["random"][name]
    trainer.epoch, trainer.step = values["epoch"], values["step"]
    trainer.history = list(values["history"])
    trainer.loss_sum, trainer.correct = values["loss_sum"], values["correct"]
    if trainer.average:
        trainer.average.vector[:] = parts["average"]["vector"]
    trainer.best_weights = parts["best"] or None


def _check_position(trainer: "Trainer", values: dict[str, Any]) -> None:
    for name, most in (
        ("epoch", trainer.epochs),
        ("step", trainer.steps_per_epoch),
        ("correct", len(trainer.train_set)),
    ):
        if type(values[name]) is not int or not 0 <= values[name] <= most:
            raise ValueError(f"{name} must be an integer from 0 to {most}, got {values[name]!r}")
    taken = values["epoch"] * trainer.steps_per_epoch + values["step"]
    if type(values["optimizer_steps"]) is not int or values["optimizer_steps"] != taken:
        raise ValueError(f"optimizer_steps must be {taken}, got {values['optimizer_steps']!r}")
    if not (isinstance(values["loss_sum"], float) and isfinite(values["loss_sum"])):
        raise ValueError(f"loss_sum must be a finite float, got {_short(values['loss_sum'])}")


def _check_history(trainer: "Trainer", history: Any, epochs: int) -> None:
    """Reject a history without a row for each epoch with the metrics of this trainer."""
    if type(history) is not list or len(history) != epochs:
        raise ValueError(f"history must be a list of {epochs} rows, got {_short(history)}")
    figures = ["lr", "train_loss", "train_accuracy"]
    validated = trainer.validation_set is not None
    figures += ["validation_accuracy"] if validated else []
    for epoch, row in enumerate(history, 1):
        place = {"epoch": epoch, "step": epoch * trainer.steps_per_epoch}
        if not (
            type(row) is dict
            and all(type(row.get(name)) is int and row[name] == place[name] for name in place)
            and all(_is_number(row.get(name)) for name in figures)
            and _is_number(row.get("test_accuracy", 0))
            # It may be infinite even if the training loss is not.
            and (not validated or isinstance(row.get("validation_loss"), float))
            and all(0 <= row[name] <= 1 for name in row if name in ACCURACIES)
        ):
            raise ValueError(
                f"history must have {', '.join([*place, *figures])} for epoch {epoch}, got "
                f"{_short(row)}"
            )


def _check_random(trainer: "Trainer", states: Any) -> None:
    """Reject random states that a layer would not accept, or would silently change."""
    layers = trainer.model.random_layers()
    if type(states) is not dict or layers.keys() != states.keys():
        raise ValueError(f"random states must have the keys {sorted(layers)}, got {_short(states)}")
    for name, layer in layers.items():
        before, state = layer.rng_state, states[name]
        assert before is not None
        try:
            layer.rng_state = state
            fits = _as_text(layer.rng_state) == _as_text(state)
            if "bit_generator" in before:
                # A flag, and the increment of a congruential generator, which must be odd.
                fits &= state.get("has_uint32", 0) in (0, 1)
                fits &= state["state"].get("inc", 1) % 2 == 1
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
            fits = False
        finally:
            layer.rng_state = before
        if not fits:
            kind = before.get("bit_generator", type(layer).__name__)
            raise ValueError(f"random state of {name} must be one of {kind}, got {_short(state)}")


def _check_arrays(trainer: "Trainer", arrays: Arrays, own: Arrays, begun: bool) -> None:
    """Reject arrays with other names or shapes than this trainer, or with non-finite values."""
    expected = {name: array for name, array in own.items() if not name.startswith("best.")}
    if trainer.keep == "best" and begun:
        expected |= {f"best.{name}": array for name, array in trainer.model.state_dict().items()}
    kinds, kinds_expected = (
        {name: (array.shape, array.dtype) for name, array in each.items()}
        for each in (arrays, expected)
    )
    for name in sorted(kinds.keys() | kinds_expected.keys()):
        if kinds.get(name) != kinds_expected.get(name):
            raise ValueError(
                f"{name.partition('.')[0]} weights must have this trainer's names and shapes, got "
                f"different ones ({_short(name)}); create the trainer with the same settings"
            )
        # The optimizer checks its own.
        checked = arrays[name].dtype.kind == "f" and not name.startswith("optimizer.")
        if checked and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} must have finite values, got NaN or infinity")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) < 1e300


def _as_text(state: Any) -> str:
    """Return the state of a generator as JSON, which distinguishes 1 from 1.0 and True."""
    return json.dumps(state, sort_keys=True, default=np.ndarray.tolist)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
