"""Checkpoint files to resume training in another process."""

import json
import os
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from lenet5c import _files
from lenet5c.datasets.mapped import blocks
from lenet5c.errors import RunError
from lenet5c.nn import Sequential, describe

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

PLAIN = (bool, int, float, str, tuple)


def save(
    path: str | os.PathLike[str],
    trainer: "Trainer",
    with_data: bool = False,
    config: str | None = None,
) -> None:
    """Write the state of a trainer and the settings it depends on.

    Parameters
    ----------
    path : str or path-like
    trainer : Trainer
    with_data : bool
        Also record a digest of the images (about 0.1 s for MNIST) and of teachers; a run has
        digests of its data and teacher in config.json.
    config : str, optional
        Digest of the run's configuration, see `run_folder.digest_run`.
    """
    values, arrays = trainer.state()
    metadata = {"config": config, "settings": _describe(trainer, with_data), "state": values}
    _files.write_tensors(path, "checkpoint", arrays, metadata)


def load(path: str | os.PathLike[str], trainer: "Trainer", config: str | None = None) -> None:
    """Restore a trainer from a checkpoint with the same settings.

    The checkpoint may have been saved with fewer epochs; a schedule that depends on the total
    number of steps, such as a cosine, then continues as that of the longer training.

    Parameters
    ----------
    path : str or path-like
    trainer : Trainer
    config : str, optional
        Digest of the configuration of the run to which the checkpoint must belong.

    Raises
    ------
    FileNotFoundError
    RunError
        If the file is damaged, not a checkpoint, or of another training; the trainer is unchanged.
    """
    arrays, metadata = _files.read_tensors(path, "checkpoint")
    if config is not None and metadata.get("config") != config:
        raise RunError(
            f"{path} must belong to the run whose config.json is in the same folder, got a "
            "checkpoint of another run; restore it, or start a run in another folder"
        )
    saved = metadata.get("settings")
    if not isinstance(saved, dict):
        raise RunError(f"{path} must be a checkpoint with settings, got {saved!r}")
    own = _describe(trainer, with_data=saved.get("data_digest") is not None)
    epochs = saved.get("epochs")
    longer = type(epochs) is int and epochs < trainer.epochs
    for name in own:
        if longer and (name == "epochs" or (name == "schedule" and config is not None)):
            continue  # stored in the configuration of the run
        if saved.get(name) != own[name]:
            raise RunError(
                f"{path} must come from a training with {name} {_short(own[name])}, got "
                f"{_short(saved.get(name))}; create the trainer with the same settings"
            )
    try:
        trainer.load_state(metadata.get("state", {}), arrays)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise RunError(f"{path} must fit this trainer: {error}") from None


def _describe(trainer: "Trainer", with_data: bool) -> dict[str, Any]:
    """Return all settings, other than the state, that affect training, in JSON form."""
    model, optimizer = trainer.model, trainer.optimizer
    settings = {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, PLAIN) and name not in ("lr", "steps")
    }
    sets = [trainer.train_set, *([trainer.validation_set] if trainer.validation_set else [])]
    parts: list[Any] = []
    for each in sets:
        parts += [str(each.images.shape), blocks(each.images), each.labels]
        parts += [more for more in (each.sample_weight, each.targets) if more is not None]
    described = {
        "epochs": trainer.epochs,
        "batch_size": trainer.batch_size,
        "seed": trainer.seed,
        "order": trainer.order,
        "keep": trainer.keep,
        "patience": trainer.patience,
        "average": trainer.average.decay if trainer.average else 0.0,
        "model": _describe_model(model),
        "loss": repr(trainer.loss),
        "optimizer": [type(optimizer).__name__, settings],
        "schedule": _describe_schedule(trainer.schedule),
        "preparation": trainer.preparation.to_dict(),
        "distortion": trainer.distortion.to_dict() if trainer.distortion else None,
        "images": [len(each) for each in sets],
        "data_digest": _files.digest(*parts) if with_data else None,
        "teachers": trainer.targets.digest() if with_data else None,
    }
    return json.loads(json.dumps(described))


def _describe_model(model: Sequential) -> Any:
    """Return the description of a model, or the names and classes of its layers."""
    try:
        return describe(model)
    except ValueError:
        return {name: type(layer).__name__ for name, layer in model.named_layers()}


def _describe_schedule(schedule: Any) -> str:
    """Return an object of the package with its settings, or the class name of another object.

    The total number of steps is omitted, as it follows from the epochs.
    """
    if is_dataclass(schedule):
        given = [(each.name, getattr(schedule, each.name)) for each in fields(schedule)]
        told = ", ".join(f"{name}={value!r}" for name, value in given if name != "total")
        return f"{type(schedule).__name__}({told})"
    return getattr(schedule, "__qualname__", type(schedule).__qualname__)


def _short(value: object) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else str(value)
    return text if len(text) <= 120 else text[:117] + "..."
