"""What the page of the demo can ask for: calls of its session, one after another."""

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
MOST_CALLS = 4

Tuning.start = lambda self: None  # a training of seconds, and threads
images = np.random.default_rng(0).integers(0, 256, (20, 1, 28, 28), np.uint8)
data_set = Dataset(images, np.arange(20, dtype=np.int32) % 10, 10)
folder = make_folder()
session = Session(open_model(), "best", folder / "samples", lambda: Source(data_set, data_set))


def read(data: bytes) -> None:
    """Make calls, each of a path and a request, on a session that is as in the beginning."""
    calls = parse_json(data)
    if not isinstance(calls, list):
        return
    if any(folder.iterdir()):
        clear(folder)
    session.reader, session.tuning, session.kept = session.original, None, None
    refused = None
    for call in calls[:MOST_CALLS]:
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
    """Yield each call alone, and drawings that are saved, learned and deleted."""
    strokes = [[0.5, 0.2, 1, 0.5, 0.8, 1], [0.2, 0.5, 0.5, 0.8, 0.5, 3]]
    transform = {
        "width": 3,
        "shift_x": 1,
        "shift_y": -2,
        "rotation": 30,
        "scale": 0.9,
        "noise": 0.1,
    }
    drawn = {"strokes": strokes, "transform": transform}
    for path in sorted(server.CALLS):
        yield dump_json([[path, {}]])
        yield dump_json([[path, drawn | {"label": 3}]])
    yield dump_json([["/answer", {"test": 3, "transform": transform}]])
    yield dump_json([["/answer", {"strokes": []}], ["/answer", {"strokes": [[0.5, 0.5, 1]]}]])
    yield dump_json([["/test_digit", {"wrong": True}], ["/test_digit", {"wrong": 1}]])
    saved = ["/save_sample", {"strokes": strokes, "label": 1}]
    yield dump_json([saved, ["/start_tuning", {"epochs": 2}], ["/stop_tuning", {}]])
    yield dump_json([saved, ["/delete_sample", {}], ["/delete_sample", {}]])
    yield dump_json([["/answer", {"strokes": [[1e308, -1e308, 1e308] * 3]}]])


def large() -> Iterator[bytes]:
    """Yield drawings of as many points as are taken, spread widely and thick."""
    random = np.random.default_rng(0)
    for width in (0.6, 6):
        for count in (1, 2000):
            points = random.uniform([-9, -9, 0], [9, 9, 9], (20_000 // count, 3)).ravel().tolist()
            request = {"strokes": [points] * count, "transform": {"width": width}, "label": 1}
            yield dump_json([["/answer", request]])
    yield dump_json([["/answer", {"strokes": [[1] * 3] * 300_000}]])


def mutate(data: bytes, random: Random, mutate_bytes: MutateBytes) -> bytes:
    """Change the calls and their requests."""
    return mutate_json(data, random, mutate_bytes)
