"""A changed bit or a missing part of a model, checkpoint or record is detected."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from own_files import read_header
from safetensors.numpy import save
from trainers import Countdown, selective_trainer

from lenet5c import _files
from lenet5c.datasets import Preparation
from lenet5c.nn import LeNet5
from lenet5c.training import RunError, TrainedModel, open_model, save_model


def flip_bits(path, bits, read):
    """Return the bits of a file that can be flipped without an error of `read`."""
    before, accepted = path.read_bytes(), []
    with open(path, "r+b", buffering=0) as file:
        for bit in bits:
            place = bit // 8
            os.pwrite(file.fileno(), bytes([before[place] ^ 1 << bit % 8]), place)
            try:
                read(path)
                accepted.append(bit)
            except RunError as error:
                assert str(path) in str(error) and "; " in str(error)
            os.pwrite(file.fileno(), before[place : place + 1], place)
    read(path)
    return accepted


def header_bits(path):
    return 8 * (8 + int.from_bytes(path.read_bytes()[:8], "little"))


@pytest.fixture
def model_file(tmp_path):
    model = LeNet5(2, input_size=16, rng=1)
    trained = TrainedModel(model, Preparation((16, 16), std=0.3), ("cat", "dog"))
    save_model(tmp_path / "model.safetensors", trained)
    return tmp_path / "model.safetensors"


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="this system has no pwrite")
def test_a_flipped_bit_of_a_model_is_refused(model_file):
    """Every bit of the header, some of the weights."""
    header, size = header_bits(model_file), 8 * model_file.stat().st_size
    some = np.random.default_rng(0).integers(header, size, 300).tolist()
    bits = [*range(header), *some, header, size - 1]
    assert flip_bits(model_file, bits, open_model) == []


@pytest.fixture
def checkpoint_file(tmp_path, mnist_slice):
    trainer = selective_trainer(mnist_slice[0], epochs=2)
    trainer.stretch_seconds = 0
    trainer.run(stop=Countdown(40))
    trainer.save(tmp_path / "checkpoint.safetensors")
    return tmp_path / "checkpoint.safetensors"


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="this system has no pwrite")
def test_a_flipped_bit_of_a_checkpoint_is_refused(checkpoint_file):
    def read(path):
        _files.read_tensors(path, "checkpoint")

    bits = range(0, header_bits(checkpoint_file), 101)
    assert flip_bits(checkpoint_file, bits, read) == []


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="this system has no pwrite")
@pytest.mark.parametrize("kind", ["config", "summary"])
def test_a_flipped_bit_of_a_record_is_refused(tmp_path, kind):
    path = tmp_path / "record.json"
    values = {"seed": 3, "lr": 0.1, "data": "mnist", "model": {"pooling": "avg"}, "list": [1, None]}
    sha = _files.write_record(path, kind, values)
    assert _files.read_record(path, kind) == (values, sha)
    assert json.loads(path.read_text()).items() >= values.items()

    def read(path):
        _files.read_record(path, kind)

    assert flip_bits(path, range(8 * path.stat().st_size), read) == []


def test_files_that_have_lost_or_gained_bytes_are_refused(model_file, tmp_path):
    _files.write_record(tmp_path / "record", "config", {"seed": 3})
    for path, read in (
        (model_file, open_model),
        (tmp_path / "record", lambda path: _files.read_record(path, "config")),
    ):
        content = path.read_bytes()
        for other in (
            *(content[:count] for count in (0, 1, 8, 20, 70, 200, len(content) // 2)),
            content[:-1],
            content + b"\0",
            content + b" ",
            content + content,
        ):
            if other != content:
                path.write_bytes(other)
                with pytest.raises(RunError, match=path.name):
                    read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b'{\n  "format": "lenet5c config 2",\n  "digest": "' + b"0" * 64 + b'"\n}\n',
            "version 1, got 2",
        ),
        (
            b'{\n  "format": "lenet5c summary 1",\n  "digest": "' + b"0" * 64 + b'"\n}\n',
            "a different or damaged file",
        ),
        (b'{"seed": 3}', "must be the configuration of a run of lenet5c train, got a different"),
        (b'{\n  "format": "lenet5c config 1",\n  "digest": "' + b"0" * 64 + b'"\n}\n', "edited"),
    ],
)
def test_other_records_are_refused_with_what_they_are(tmp_path, content, words):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=words):
        _files.read_record(path, "config")


def forge(path, text, tensors=None):
    """Write a model file with this metadata text, and a valid digest."""
    beginning = f'{{"format": "lenet5c model 3", "digest": "{"0" * 64}", '
    path.write_bytes(_files.seal(save(tensors or {}, {"lenet5c": beginning + text}))[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"a": ' + "[" * 100_000,
        '"a": 1}}',
        '"model": "LeNet5"}',
        f'"a": {"9" * 5000}}}',
        "\ud800}",
    ],
    ids=range(6),
)
def test_forged_metadata_is_a_clear_error(tmp_path, text):
    path = tmp_path / "model.safetensors"
    if "\ud800" in text:
        path.write_bytes(b"\xff" * 300)
    else:
        forge(path, text)
    with pytest.raises(
        RunError, match=r"model\.safetensors must be a (consistent |lenet5c )model file"
    ):
        open_model(path)


def test_a_large_header_is_refused_before_it_is_parsed(tmp_path):
    """60 MB of nested JSON lists would need 1.6 GB."""
    path = tmp_path / "model.safetensors"
    forge(path, '"a": [' + "[]," * 20_000_000 + "0]}")
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match=r"a header of 60,000,\d\d\d bytes"):
            open_model(path)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * path.stat().st_size
    finally:
        tracemalloc.stop()


def test_another_large_file_is_not_even_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.truncate(2**31)
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match="got a different or damaged file"):
            open_model(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_metadata_that_could_not_be_read_again_are_not_written(tmp_path):
    with pytest.raises(RunError, match="at most 8,388,608 bytes .*; train for fewer epochs"):
        _files.write_tensors(tmp_path / "a", "model", {}, {"history": ["x" * 2**23]})
    assert list(tmp_path.iterdir()) == []


def test_the_digest_is_among_the_metadata(model_file):
    assert _files.read_digest(model_file, "model") == read_header(model_file.read_bytes())["digest"]
