"""The folder of a run: configuration, metrics, checkpoint, in the end model and summary."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet5c import _files
from lenet5c.errors import RunError
from lenet5c.training import checkpoint, event_file
from lenet5c.training.metrics import format_csv
from lenet5c.training.model_file import MODEL_NAME, TrainedModel, save_model

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config.json of the run in a folder, {} if it is unreadable or names no data.

    For what goes on without it; `RunFolder.read_config` is for what does not.
    """
    try:
        config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
        return config if isinstance(config["data"], str) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def recorded_accuracy(model_file: Path) -> str | None:
    """Return the accuracy in the summary beside a run's model, such as '9958/10000', or None."""
    if model_file.name != MODEL_NAME:
        return None
    try:
        summary = RunFolder(model_file.parent).read_summary()
    except RunError:
        return None
    return f"{summary['test_correct']}/{summary['test_count']}" if summary else None


class RunFolder:
    """The files of a run in one folder, each an attribute such as `config_file`.

    Parameters
    ----------
    path : str or path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.csv_file = self.path / "metrics.csv"
        self.events_file = self.path / event_file.NAME
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.model_file = self.path / MODEL_NAME
        self.summary_file = self.path / "summary.json"

    def create(self, config: dict[str, Any]) -> None:
        """Write the configuration of a new run.

        Raises
        ------
        RunError
            The path is not a folder, cannot be written, or already has a run.
        """
        files = [file for name, file in vars(self).items() if name.endswith("_file")]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if present := [file.name for file in files if file.exists()]:
                raise RunError(
                    f"folder of a new run must be empty, got {self.path}, which already holds a "
                    f"run ({', '.join(present)}); name another folder, or resume the run: --resume"
                )
            _files.write_json(self.config_file, config)
        except OSError as error:
            raise RunError(
                f"folder of a run must be one that can be written, got {self.path}: "
                f"{error.strerror or error}"
            ) from None

    def read_config(self) -> dict[str, Any]:
        """Return the configuration of the run."""
        try:
            config = json.loads(self.config_file.read_text())
            if not isinstance(config, dict):
                raise TypeError("it is not a JSON object")
        except FileNotFoundError:
            raise RunError(
                f"folder to resume must hold a run, got {self.path}, which has no config.json; "
                "leave --resume out to start a run there"
            ) from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.config_file} must be a run's configuration, got one that cannot be read "
                f"({error}); start a new run in another folder"
            ) from None
        return config

    def save_checkpoint(self, trainer: "Trainer") -> None:
        """Write the state of the trainer and its metrics so far."""
        checkpoint.save(self.checkpoint_file, trainer)
        self._write_metrics(trainer.history)

    def load_checkpoint(self, trainer: "Trainer") -> None:
        """Bring the trainer to its last checkpoint, if there is one yet."""
        with suppress(FileNotFoundError):
            checkpoint.load(self.checkpoint_file, trainer)
            # The run may have been killed after the checkpoint and before its metrics.
            self._write_metrics(trainer.history)

    def _write_metrics(self, history: list[dict[str, Any]]) -> None:
        _files.write_json_lines(self.metrics_file, history)
        _files.write_bytes(self.csv_file, format_csv(history).encode())

    def finish(self, trained: TrainedModel, summary: dict[str, Any]) -> None:
        """Write the model, and last the summary, which marks a complete run."""
        save_model(self.model_file, trained)
        _files.write_json(self.summary_file, summary)

    def read_summary(self) -> dict[str, Any] | None:
        """Return the summary of a complete run, None before."""
        if not self.model_file.exists():
            return None
        try:
            summary = json.loads(self.summary_file.read_text())
            correct, count = summary["test_correct"], summary["test_count"]
            if not type(correct) is type(count) is int or not 0 <= correct <= count != 0:
                raise ValueError(f"{correct!r} correct of {count!r}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.summary_file} must be a run's summary, got one that cannot be used "
                f"({error}); delete it and resume again"
            ) from None
        return summary
