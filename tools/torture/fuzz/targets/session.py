"""Requests of the page of the demo: a sequence of calls of its session."""

import base64
from collections.abc import Iterator
from random import Random

import numpy as np

from lenet5c.datasets import Dataset, Source
from lenet5c.demo import server
from lenet5c.demo.session import Session
from lenet5c.demo.tuning import Tuning
from lenet5c.errors import UserError
from lenet5c.training import open_model
from torture.fuzz.support import MutateBytes, clear, dump_json, make_folder, mutate_json, parse_json

MAX_LENGTH = 2048
MAX_CALLS = 4

Tuning.start = lambda self: None  # a training of seconds, and threads
images = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), np.uint8)
data_set = Dataset(images, np.arange(20, dtype=np.int32) % 10, 10)
folder = make_folder()
session = Session(open_model(), "best", folder / "samples", lambda: Source(data_set, data_set))


def read(data: bytes) -> None:
    """Make calls, each with a path and a request, on a session in its initial state."""
    calls = parse_json(data)
    if not isinstance(calls, list):
        return
    if any(folder.iterdir()):
        clear(folder)
    session.trained, session.number = session.original, 0
    session.tuning, session.kept = None, None
    refused = None
    for call in calls[:MAX_CALLS]:
        if isinstance(call, list) and len(call) == 2 and isinstance(call[1], dict):
            try:
                make_call(*call)
            except UserError as error:
                refused = error
    if refused:
        raise refused


def make_call(path: object, request: dict[str, object]) -> None:
    """Call a method of the session as its server does."""
    if path in server.CALLS if isinstance(path, str) else False:
        result = getattr(session, str(path)[1:])(request)
        dump_json(result if isinstance(result, dict) else result[0])


def seeds() -> Iterator[bytes]:
    """Yield each call alone, and images that are saved, used for training and deleted."""
    image = base64.b64encode(images[0].tobytes()).decode()
    for path in sorted(server.CALLS):
        yield dump_json([[path, {}]])
        yield dump_json([[path, {"image": image, "label": 3}]])
    yield dump_json([["/test_image", {"wrong": True}], ["/test_image", {"wrong": 1}]])
    saved = ["/save_sample", {"image": image, "label": 1}]
    yield dump_json([saved, ["/start_tuning", {"epochs": 2}], ["/stop_tuning", {}]])
    yield dump_json([saved, ["/delete_sample", {}], ["/delete_sample", {}]])
    yield dump_json([saved, ["/read_samples", {}]])


def large() -> Iterator[bytes]:
    """Yield images that are too large, and invalid base64."""
    for text in ("A" * 1_000_000, "é" * 300_000, "=" * 1_000_000):
        yield dump_json([["/save_sample", {"image": text, "label": 1}]])


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the calls and their requests."""
    return mutate_json(data, random, mutate_bytes)
