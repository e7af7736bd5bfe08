"""Folder of a run: configuration, metrics, checkpoint, model and summary."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lenet5c import _files
from lenet5c.errors import RunError
from lenet5c.training import checkpoint, event_file, summary
from lenet5c.training.metrics import format_csv
from lenet5c.training.model_file import MODEL_NAME, TrainedModel, save_model

if TYPE_CHECKING:
    from lenet5c.training.trainer import Trainer

MAX_METRICS = 2**26  # maximum bytes of a metrics file


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the config.json of the run in a folder, {} if there is none.

    Raises
    ------
    RunError
        If it is damaged, or does not contain the data.
    """
    file = RunFolder(path).config_file
    if not os.path.lexists(file):
        return {}
    config, _ = _files.read_record(file, "config")
    if not isinstance(config.get("data"), str):
        raise RunError(f"{file} must contain the data of the run, got {config.get('data')!r}")
    return config


def recorded_accuracy(model_file: Path) -> str | None:
    """Return the accuracy in the summary next to a run's model, such as '9965/10000', or None."""
    if model_file.name != MODEL_NAME:
        return None
    try:
        found = summary.read_summary(model_file.parent)
    except RunError:
        return None
    return f"{found['test_correct']}/{found['test_count']}" if found else None


class RunFolder:
    """Folder of a run; its files are attributes such as `config_file`.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    config_digest : str
        Digest of config.json, once read or written; stored in the summary to detect mixed files of
        two runs.
    run_digest : str
        Result of `digest_run`, once config.json is read or written; stored in checkpoints.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.csv_file = self.path / "metrics.csv"
        self.events_file = self.path / event_file.NAME
        self.checkpoint_file = self.path / "checkpoint.safetensors"
        self.model_file = self.path / MODEL_NAME
        self.summary_file = self.path / summary.NAME
        self.start_file = self.path / "start.safetensors"
        self.teacher_file = self.path / "teacher.safetensors"
        self.lock_path = self.path / ".lenet5c.lock"
        self.config_digest = self.run_digest = ""

    @property
    def files(self) -> list[Path]:
        """All files that a run may write."""
        return [file for name, file in vars(self).items() if name.endswith("_file")]

    @contextmanager
    def lock(
        self, on_message: Callable[[str], object] | None = None, names: tuple[str, ...] = ()
    ) -> Iterator[None]:
        """Create the folder if necessary, and lock it for this process.

        The lock file is removed afterwards; that of a killed process does not block others.
        Temporary files of killed runs are removed, including those of additional files `names`.
        `on_message` is called if the file system does not support locks.

        Raises
        ------
        RunError
            If another process holds the lock, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file, locked = self._open_lock()
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            if locked:
                own = [file.name for file in self.files]
                _files.remove_temporaries(self.path, [*own, *names])
            elif on_message:
                on_message(
                    f"{self.path} is on a file system without locks: other runs are not kept from "
                    f"using it"
                )
            yield
        finally:
            with suppress(OSError):
                self.lock_path.unlink()
            with suppress(OSError):  # failure is harmless
                file.close()

    def tidy(self) -> None:
        """Remove the remains of a process that was killed while unlocking the folder."""
        if self.lock_path.exists():
            with suppress(RunError), self.lock():
                pass

    def is_locked(self) -> bool:
        """Return True if another process currently holds the lock."""
        if not self.lock_path.exists():
            return False
        with suppress(OSError), _files.open_to_change(self.lock_path) as file:
            return _files.try_lock(file.fileno()) is False
        return False

    def _open_lock(self) -> tuple[BinaryIO, bool]:
        """Open the lock file and try to lock it; return it and None without file system locks."""
        while True:
            file = _files.open_to_change(self.lock_path)
            locked = _files.try_lock(file.fileno())
            if locked is False:
                with file:
                    number = file.read(20).strip()
                holder = f"process {number.decode()}" if number.isdigit() else "another process"
                raise RunError(
                    f"folder must be used by one run at a time, got {self.path}, which {holder} is "
                    "using; wait for it, or choose another folder"
                )
            with suppress(FileNotFoundError):
                # The previous holder may have removed it after it was opened here.
                if os.path.samestat(os.fstat(file.fileno()), os.lstat(self.lock_path)):
                    break
            file.close()
        with suppress(OSError):  # a full disk; the number is only used in messages
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            os.write(file.fileno(), b"%d\n" % os.getpid())
        return file, locked is True

    def create(self, config: dict[str, Any], overwrite: bool = False) -> None:
        """Write the configuration of a new run; the folder should be locked.

        If `overwrite`, the files of an existing run are deleted first.

        Raises
        ------
        RunError
            If the folder cannot be written, or already contains a run.
        """
        present = [file for file in self.files if os.path.lexists(file)]
        if present and not overwrite:
            names = ", ".join(file.name for file in present)
            raise RunError(
                f"folder of a new run must be empty, got {self.path}, which already holds a run "
                f"({names}); choose another folder, resume the run with --resume, or replace it "
                "with --overwrite"
            )
        try:
            # The summary marks a complete run, so it is deleted first.
            for file in reversed(present):
                file.unlink()
            self._write_config(config)
            _files.sync_folder(self.path.parent)
        except OSError as error:
            raise self._unwritable(error) from None

    def lengthen(self, config: dict[str, Any]) -> None:
        """Write a configuration with more epochs, so that a finished run can be continued.

        The folder should be locked. The previous model is kept until the run is finished again.
        """
        self.summary_file.unlink(missing_ok=True)
        self._write_config(config)

    def keep(self, file: Path, model: Path) -> None:
        """Copy a model needed by the run, the initial model or the teacher, as one of `files`."""
        _files.write_bytes(file, _files.read_bytes(model, _files.MAX_TENSORS))

    def _write_config(self, config: dict[str, Any]) -> None:
        self.config_digest = _files.write_record(self.config_file, "config", config)
        self.run_digest = digest_run(config)

    def _unwritable(self, error: OSError) -> RunError:
        where = f"{self.lock_path.name}: " if os.path.islink(self.lock_path) else ""
        return RunError(
            f"folder of a run must be writable, got {self.path}: {where}{error.strerror or error}"
        )

    def read_config(self) -> dict[str, Any]:
        """Return the configuration of the run.

        Raises
        ------
        RunError
            If there is none, or it is damaged or was edited.
        """
        try:
            config, self.config_digest = _files.read_record(self.config_file, "config")
        except FileNotFoundError:
            raise RunError(
                f"folder to resume must hold a run, got {self.path}, which has no config.json; "
                "omit --resume to start a run there"
            ) from None
        self.run_digest = digest_run(config)
        return config

    def save_checkpoint(self, trainer: "Trainer") -> None:
        """Write the state of the trainer and its metrics so far."""
        checkpoint.save(self.checkpoint_file, trainer, config=self.run_digest)
        self.write_metrics(trainer.history)

    def load_checkpoint(self, trainer: "Trainer") -> bool:
        """Restore the trainer from the last checkpoint; return True if there is one.

        Raises
        ------
        RunError
            If the checkpoint is damaged or of another run; the trainer is unchanged.
        """
        try:
            checkpoint.load(self.checkpoint_file, trainer, config=self.run_digest)
        except FileNotFoundError:
            return False
        return True

    def has_results(self) -> bool:
        """Return True if files exist that are written after the first checkpoint."""
        later = (self.metrics_file, self.csv_file, self.model_file, self.summary_file)
        return any(os.path.lexists(file) for file in later)

    def write_metrics(self, history: list[dict[str, Any]], durable: bool = False) -> None:
        """Write the metrics, unless the files are up to date.

        They are rewritten from the checkpoint of a killed run, so they need not survive a power
        failure before the run is finished.
        """
        for file, content in (
            (self.metrics_file, _format_lines(history)),
            (self.csv_file, format_csv(history).encode()),
        ):
            before = None
            with suppress(OSError):
                before = _files.read_bytes(file, MAX_METRICS)
            if before != content or durable:
                _files.write_bytes(file, content, durable)

    def finish(
        self, trained: TrainedModel, values: dict[str, Any], history: list[dict[str, Any]]
    ) -> None:
        """Write the model, and finally the summary, which marks a complete run."""
        self.write_metrics(history, durable=True)
        files = {
            self.config_file.name: self.config_digest,
            self.metrics_file.name: _files.digest(_format_lines(history)),
            MODEL_NAME: save_model(self.model_file, trained),
        }
        _files.write_record(self.summary_file, "summary", values | {"files": files})

    def read_summary(self, history: list[dict[str, Any]] | None = None) -> dict[str, Any] | None:
        """Return the summary of a complete run as passed to `finish`, else None.

        Parameters
        ----------
        history : list of dict, optional
            History of the run's checkpoint, compared with that of the summary.

        Raises
        ------
        RunError
            If the summary or the model is damaged, or files belong to different runs.
        """
        found = summary.read_summary(self.path)
        if found is None:
            return None
        wanted = found.pop("files")
        with suppress(FileNotFoundError):
            config = _files.read_digest(self.config_file, "config")
            if config != wanted.get(self.config_file.name):
                raise RunError(
                    f"{self.config_file} must be the configuration of the run in {summary.NAME}, "
                    "got that of another run; restore it, or start a run in another folder"
                )
        if history and _files.digest(_format_lines(history)) != wanted.get(self.metrics_file.name):
            raise RunError(
                f"{self.checkpoint_file} must be the last checkpoint of the run in {summary.NAME}, "
                f"got a different one; restore it, or delete {self.summary_file} and resume the run"
            )
        return found


def digest_run(config: dict[str, Any]) -> str:
    """Return the digest of a configuration without its epochs, which may be increased later."""
    kept = {name: value for name, value in config.items() if name != "epochs"}
    return _files.digest(json.dumps(kept, sort_keys=True))


def _format_lines(history: list[dict[str, Any]]) -> bytes:
    """Return the rows of a history as JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in history).encode()
