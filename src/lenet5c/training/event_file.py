"""The figures of a run in a file that TensorBoard shows while it grows. TensorFlow is not needed."""

import os
import struct
import time
from pathlib import Path

from lenet5c._optional import require

NAME = "events.out.tfevents.lenet5c"  # TensorBoard looks for 'tfevents'
TAGS = {
    "train_loss": "Loss/train",
    "validation_loss": "Loss/val",
    "train_accuracy": "Accuracy/train",
    "validation_accuracy": "Accuracy/val",
    "test_accuracy": "Accuracy/test",
    "lr": "Learning rate",
}


class EventFile:
    """Loss, accuracy and learning rate by epoch, in TensorBoard's format.

    The file is appended to after each epoch, as TensorBoard keeps it open. What a killed run left half written, or
    wrote of an epoch that its checkpoint does not know, is dropped by `begin`, so that each epoch is there once.

    Parameters
    ----------
    path : str or Path
        The file; its name should contain 'tfevents'.

    Raises
    ------
    MissingExtraError
        The package `tensorboard` is not installed.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.Event, self.DecodeError = self.check()

    @staticmethod
    def check():
        """Import what is needed, or raise MissingExtraError.

        That is TensorBoard's messages alone: neither its plugins nor its stand-in for TensorFlow.
        """
        messages = require("tensorboard.compat.proto.event_pb2", "tensorboard", "event files")
        return messages.Event, require(
            "google.protobuf.message", "tensorboard", "event files"
        ).DecodeError

    def begin(self, history):
        """Make the file one of exactly these epochs; those that it has keep the time at which they were written."""
        times = self._times()
        now = time.time()
        start = self.Event(wall_time=times.get(0, now), file_version="brain.Event:2")
        content = record(start.SerializeToString())
        for row in history:
            content += self._record(row, times.get(row["epoch"], now))
        # Changed in place, and only from where it differs: a TensorBoard that has it open goes on reading.
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            same = len(os.path.commonprefix([content, file.read()]))
            file.truncate(same)
            file.seek(same)
            file.write(content[same:])

    def add(self, row):
        """Append the row of an epoch."""
        with open(self.path, "ab") as file:
            file.write(self._record(row, time.time()))

    def _record(self, row, wall_time):
        event = self.Event(wall_time=wall_time, step=row["epoch"])
        for name, tag in TAGS.items():
            if name in row:
                event.summary.value.add(tag=tag, simple_value=row[name])
        return record(event.SerializeToString())

    def _times(self):
        """epoch -> when it was written, of an existing file up to the first record that is damaged; 0 is its start."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        times = {}
        for data in records(content):
            try:
                event = self.Event.FromString(data)
            except self.DecodeError:
                break
            times.setdefault(event.step, event.wall_time)
        return times


def record(data):
    """Bytes in the frame of a TFRecord: length, its checksum, the bytes, their checksum."""
    length = struct.pack("<Q", len(data))
    return (
        length
        + struct.pack("<I", masked_crc32c(length))
        + data
        + struct.pack("<I", masked_crc32c(data))
    )


def records(content):
    """The bytes in each frame, up to the first that is damaged or cut short."""
    position = 0
    while position + 16 <= len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        end = position + 12 + length
        if end + 4 > len(content):
            return
        data = content[position + 12 : end]
        if record(data) != content[position : end + 4]:
            return
        yield data
        position = end + 4


def masked_crc32c(data):
    """The checksum of TFRecords: CRC-32C (Castagnoli), turned by 15 bits, plus a constant.

    Examples
    --------
    >>> from lenet5c.training.event_file import crc32c
    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _table_entry(value):
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_table_entry(value) for value in range(256)]
