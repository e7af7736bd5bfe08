"""TensorBoard event files of a run, without TensorFlow."""

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lenet5c import _files
from lenet5c._optional import require

MAXIMUM = 2**26  # maximum bytes of a file to continue
NAME = "events.out.tfevents.lenet5c"  # TensorBoard looks for 'tfevents'
TAGS = {
    "train_loss": "Loss/train",
    "validation_loss": "Loss/val",
    "train_accuracy": "Accuracy/train",
    "validation_accuracy": "Accuracy/val",
    "test_accuracy": "Accuracy/test",
    "lr": "Learning rate",
}
Row = dict[str, Any]


class EventFile:
    """Loss, accuracy and learning rate by epoch, in TensorBoard's format.

    The file is appended to after each epoch, while TensorBoard may have it open. `begin` removes
    incomplete records of a killed run and epochs after its checkpoint, so that each epoch occurs
    once. Records are written and read by TensorBoard's own code; its EventFileWriter is not used,
    since it starts a new file in each session.

    Parameters
    ----------
    path : str or path-like
        The file; its name should contain 'tfevents'.

    Raises
    ------
    MissingExtraError
        If the package `tensorboard` is not installed.
    OSError
        In `begin` and `add`, if the file cannot be written, is a link or not a file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._messages, self._writers, self._readers, self._errors, self._protobuf = self.check()

    @staticmethod
    def check() -> list[Any]:
        """Import and return the required modules, or raise MissingExtraError."""
        names = (
            "tensorboard.compat.proto.event_pb2",
            "tensorboard.summary.writer.record_writer",
            "tensorboard.compat.tensorflow_stub.pywrap_tensorflow",
            "tensorboard.compat.tensorflow_stub.errors",
            "google.protobuf.message",
        )
        return [require(name, "tensorboard", "event files") for name in names]

    def begin(self, history: Sequence[Row]) -> None:
        """Make the file contain exactly these epochs; existing ones keep their wall time."""
        times: dict[int, float] = {}
        with _files.name_errors(self.path):
            for event in self._read():
                times.setdefault(event.step, event.wall_time)
        now = time.time()
        start = self._messages.Event(wall_time=times.get(0, now), file_version="brain.Event:2")
        events = [start, *(self._event(row, times.get(row["epoch"], now)) for row in history)]
        content = b"".join(map(self._frame, events))
        # Changed in place, from the first difference, because TensorBoard may have it open.
        with suppress(FileNotFoundError):
            if _files.read_bytes(self.path, MAXIMUM) == content:
                return  # a finished run may be on a read-only disk
        with _files.name_errors(self.path), _files.open_to_change(self.path) as file:
            before = file.read(MAXIMUM)
            pairs = enumerate(zip(content, before, strict=False))
            shorter = min(len(content), len(before))
            same = next((place for place, (new, old) in pairs if new != old), shorter)
            os.ftruncate(file.fileno(), same)  # retried after a signal
            file.seek(same)
            file.write(content[same:])

    def add(self, row: Row) -> None:
        """Append the row of an epoch."""
        with _files.name_errors(self.path), _files.open_to_change(self.path) as file:
            file.seek(0, io.SEEK_END)
            file.write(self._frame(self._event(row, time.time())))

    def _event(self, row: Row, wall_time: float) -> Any:
        event = self._messages.Event(wall_time=wall_time, step=row["epoch"])
        for name, tag in TAGS.items():
            if name in row:
                event.summary.value.add(tag=tag, simple_value=row[name])
        return event

    def _frame(self, event: Any) -> bytes:
        file = io.BytesIO()
        self._writers.RecordWriter(file).write(event.SerializeToString())
        return file.getvalue()

    def _read(self) -> Iterator[Any]:
        """Yield the events of an existing file up to the first damaged record."""
        if not self.path.exists():
            return
        _files.open_regular(self.path, MAXIMUM).close()  # the reader would block on a pipe
        reader = self._readers.PyRecordReader_New(str(self.path))
        try:
            while True:
                reader.GetNext()
                yield self._messages.Event.FromString(reader.record())
        except (self._errors.OpError, self._protobuf.DecodeError):
            return
        finally:
            reader.file_handle.close()
