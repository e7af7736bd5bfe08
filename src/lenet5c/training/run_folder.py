"""The folder of a run: configuration, metrics, checkpoint, and in the end the model and a summary."""

import json
from pathlib import Path

from lenet5c import _files
from lenet5c.errors import RunError
from lenet5c.training import event_file
from lenet5c.training.metrics import csv_text
from lenet5c.training.model_file import MODEL_NAME, save_model


def read_record(path):
    """The config.json of the run in a folder, where it can be read and names the run's data; else {}.

    For what goes on without it; `RunFolder.read_config` is for what does not.
    """
    try:
        config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
        return config if isinstance(config["data"], str) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def recorded_accuracy(model_file):
    """Return what the summary beside a run's model says, such as '9958/10000', or None."""
    if model_file.name != MODEL_NAME:
        return None
    try:
        summary = RunFolder(model_file.parent).read_summary()
    except RunError:
        return None
    return summary and f"{summary['test_correct']}/{summary['test_count']}"


class RunFolder:
    """config.json, metrics.jsonl and .csv, checkpoint.safetensors, model.safetensors and summary.json in one directory."""

    def __init__(self, path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.csv_file = self.path / "metrics.csv"
        self.events_file = self.path / event_file.NAME
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.model_file = self.path / MODEL_NAME
        self.summary_file = self.path / "summary.json"

    def create(self, config):
        """Start a new run here.

        Raises
        ------
        RunError
            The path is no directory, cannot be written, or holds a run already.
        """
        files = (
            self.config_file,
            self.metrics_file,
            self.csv_file,
            self.events_file,
            self.checkpoint_file,
            self.model_file,
            self.summary_file,
        )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            present = [file.name for file in files if file.exists()]
            if present:
                raise RunError(
                    f"{self.path} already holds a run ({', '.join(present)}); name another folder, or go on with "
                    f"that run by --resume"
                )
            _files.write_json(self.config_file, config)
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be a run folder: {error.strerror or error}"
            ) from None

    def read_config(self):
        """The configuration of the run that is here."""
        try:
            config = json.loads(self.config_file.read_text())
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no run to resume; leave --resume out to start one there"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"{self.config_file} cannot be read ({error}); start a new run in another folder"
            ) from None
        if not isinstance(config, dict):
            raise RunError(
                f"{self.config_file} is not a run's configuration; start a new run in another folder"
            )
        return config

    def save_checkpoint(self, trainer, config):
        """Write where the trainer stands, and its metrics so far."""
        values, arrays = trainer.state()
        _files.write_tensors(
            self.checkpoint_file, "checkpoint", arrays, {"config": config, "state": values}
        )
        self._write_metrics(trainer.history)

    def load_checkpoint(self, trainer, config):
        """Bring the trainer to where the checkpoint was taken; False if there is none yet."""
        try:
            arrays, metadata = _files.read_tensors(self.checkpoint_file, "checkpoint")
        except FileNotFoundError:
            return False
        if metadata.get("config") != config:
            raise RunError(
                f"{self.checkpoint_file} belongs to another run than config.json beside it"
            )
        try:
            trainer.load_state(metadata["state"], arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{self.checkpoint_file} does not fit the model of this run: {error}"
            ) from None
        # The run may have been killed after the checkpoint and before its metrics.
        self._write_metrics(trainer.history)
        return True

    def _write_metrics(self, history):
        _files.write_json_lines(self.metrics_file, history)
        _files.write_bytes(self.csv_file, csv_text(history).encode())

    def finish(self, trained, summary):
        """Write the model and the summary; the summary comes last, so that it marks a complete run."""
        save_model(self.model_file, trained)
        _files.write_json(self.summary_file, summary)

    def read_summary(self):
        """The summary of a complete run, None before."""
        if not self.model_file.exists():
            return None
        try:
            summary = json.loads(self.summary_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"{self.summary_file} cannot be read ({error}); delete it and resume again"
            ) from None
        counts = (
            [summary.get(name) for name in ("test_correct", "test_count")]
            if isinstance(summary, dict)
            else []
        )
        if (
            [type(count) for count in counts] != [int, int]
            or not 0 <= counts[0] <= counts[1]
            or counts[1] == 0
        ):
            raise RunError(
                f"{self.summary_file} is not a run's summary; delete it and resume again"
            )
        return summary
