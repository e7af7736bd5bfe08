"""Inputs of a program: bytes, indices, read-only arrays, errors, Python threads, memory."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from lenet5c.kernels.engine._program import Program
from one_test import in_one_test
from processes import HANGING
from programs import (
    SMOOTH,
    TILES,
    any_model,
    backward,
    bits,
    draw_labels,
    each_isa,
    forward,
    train_step,
)

from lenet5c.kernels.engine import lowering
from lenet5c.kernels.engine.samples import Samples


@each_isa
class TestBytes:
    """uint8 samples are converted to float32 during packing, as by NumPy."""

    model = SMOOTH["lenet5"]

    def draw(self):
        rng = np.random.default_rng(2)
        params = self.model.draw(1)[0]
        images = rng.integers(256, size=(50, self.model.plan.input_size), dtype=np.uint8)
        offset = rng.standard_normal(self.model.plan.input_size).astype(np.float32)
        scale = 1 / 77.7
        index = rng.integers(50, size=33)
        floats = images.astype(np.float32) * np.float32(scale) + offset
        return params, images, (scale, offset), index, floats

    def test_forward(self, isa):
        params, images, conversion, index, floats = self.draw()
        program = self.model.program(isa)
        expected = forward(program, params, floats)
        samples = Samples(images, None, *conversion)
        assert bits(forward(program, params, samples)) == bits(expected)
        for samples in (Samples(images, index, *conversion), Samples(floats, index)):
            assert bits(forward(program, params, samples, 2)) == bits(expected[index])

    def test_train_step(self, isa):
        params, images, conversion, index, floats = self.draw()
        program = self.model.program(isa)
        labels = draw_labels(self.model, 33)
        expected = bits(*train_step(program, params, floats[index], labels))
        for samples, threads in (
            (Samples(floats, index), 1),
            (Samples(images, index, *conversion), 2),
            (Samples(images[index], None, *conversion), 1),
        ):
            assert bits(*train_step(program, params, samples, labels, threads)) == expected

    def test_read_only_arrays(self, isa):
        params, images, conversion, index, _ = self.draw()
        program = self.model.program(isa)
        expected = forward(program, params, Samples(images, index, *conversion))
        for array in (params, images, index, conversion[1]):
            array.flags.writeable = False
        samples = Samples(images, index, *conversion)
        assert bits(forward(program, params, samples)) == bits(expected)


class TestErrors:
    model = SMOOTH["lenet5"]

    def call(self, name="train_step", **changes):
        """Make a valid call on 5 samples with some arguments changed."""
        params, x, dy = self.model.draw(5)
        inputs = {"samples": x, "params": params, "num_threads": 1}
        grads = np.full_like(params, 7)
        if name == "forward":
            inputs |= {"out": np.empty((5, 10), np.float32)}
        elif name == "backward":
            inputs |= {"dy": dy, "grads": grads, "dx": None}
        else:
            inputs |= {"labels": np.zeros(5, np.int32), "grads": grads}
        getattr(self.model.program(), name)(**inputs | changes)

    @pytest.mark.parametrize("name", ["forward", "backward", "train_step"])
    def test_none_for_a_valid_call(self, name):
        self.call(name)

    @pytest.mark.parametrize("name", ["forward", "train_step"])
    @pytest.mark.parametrize("wrong", [-1, 5, 2**40, -(2**63)])
    def test_index_out_of_range(self, name, wrong):
        samples = Samples(np.zeros((5, 144), np.float32), np.array([0, 4, 1, 0, 2]))
        samples.index[3] = wrong  # after it was checked
        with pytest.raises(IndexError, match=rf"index must be from 0 to 4, got {wrong} at 3"):
            self.call(name, samples=samples)

    @pytest.mark.parametrize("wrong", [-1, 10, 2**31 - 1, -(2**31)])
    def test_labels_out_of_range(self, wrong):
        with pytest.raises(ValueError, match=rf"labels must be from 0 to 9, got {wrong} at 2"):
            self.call(labels=np.array([0, 9, wrong, 0, 0], np.int32))

    @pytest.mark.parametrize(
        "name, changes, message",
        [
            (
                "forward",
                {"samples": np.zeros((5, 143), np.float32)},
                "samples must have 144 values.* 143",
            ),
            ("forward", {"samples": np.zeros((5, 144), np.uint8)}, "offset.* 144 values"),
            ("forward", {"out": np.empty((4, 10), np.float32)}, "out"),
            ("forward", {"out": np.empty((5, 11), np.float32)}, "out"),
            ("forward", {"params": np.zeros(9, np.float32)}, "params"),
            ("backward", {"dy": np.zeros((4, 10), np.float32)}, "dy"),
            ("backward", {"dy": np.zeros((5, 9), np.float32)}, "dy"),
            ("backward", {"dx": np.zeros((5, 143), np.float32)}, "dx"),
            ("backward", {"params": np.zeros(9, np.float32)}, "params"),
            ("backward", {"grads": np.zeros(9, np.float32)}, "grads"),
            ("train_step", {"grads": np.zeros(9, np.float32)}, "grads"),
            ("train_step", {"labels": np.zeros(4, np.int32)}, "labels must have 5 values, got 4"),
            ("train_step", {"out": np.empty((5, 11), np.float32)}, "out"),
            ("train_step", {"dx": np.empty((4, 144), np.float32)}, "dx"),
            ("train_step", {"loss": "hinge"}, "'hinge'"),
            ("train_step", {"loss": "mse"}, r"targets.* \(5, 10\)"),
            ("train_step", {"loss": "mse", "targets": np.zeros((5, 9), np.float32)}, "targets"),
            (
                "train_step",
                {"samples": np.zeros((0, 144), np.float32), "labels": np.zeros(0, np.int32)},
                "one sample",
            ),
        ],
    )
    def test_wrong_sizes(self, name, changes, message):
        with pytest.raises(ValueError, match=message):
            self.call(name, **changes)


@in_one_test
@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("batch", [1, 15, 16, 17])
@each_isa
def test_samples_of_any_size_go_into_a_tile_and_back(size, batch, isa):
    """A program without ops: floats are unchanged, bytes are scaled and shifted as by NumPy."""
    program = Program(lowering.lower((size,), []), TILES[isa])
    rng = np.random.default_rng(0)
    params, out = np.zeros(0, np.float32), np.full((batch + 1, size), np.nan, np.float32)
    floats = rng.standard_normal((batch, size)).astype(np.float32)
    program.forward(floats, params, out[:batch], 1)
    assert out[:batch].tobytes() == floats.tobytes()
    bytes_, offset = rng.integers(256, size=(batch, size), dtype=np.uint8), floats[0]
    scale = np.float32(1 / 77)
    program.forward(Samples(bytes_, None, scale, offset), params, out[:batch], 1)
    assert out[:batch].tobytes() == (bytes_.astype(np.float32) * scale + offset).tobytes()
    assert np.isnan(out[batch]).all()


@in_one_test
@any_model
def test_no_samples(model):
    params, x, dy = model.draw(0)
    program = model.program()
    assert forward(program, params, x).shape == dy.shape
    dx, grads = backward(program, params, x, dy)
    assert dx.shape == x.shape
    assert not grads.any()


@pytest.mark.parametrize("name", ["lenet5", "lenet5 of 1998"])
def test_one_program_in_several_python_threads(name):
    """Each call has its own workspace; a few samples are run one by one concurrently."""
    model = SMOOTH[name]
    program = model.program()
    jobs = [
        (*model.draw(batch, seed=batch), draw_labels(model, batch)) for batch in (1, 4, 17, 100)
    ]

    def run(job, threads):
        params, x, dy, labels = job
        return bits(
            forward(program, params, x, threads),
            *backward(program, params, x, dy, threads, by_sample=True),
            *train_step(program, params, x, labels, threads, by_sample=True),
        )

    expected = [run(job, 1) for job in jobs]
    results = [[] for _ in jobs]
    start = threading.Barrier(len(jobs))

    def work(i):
        start.wait()
        results[i] += [run(jobs[i], threads) for threads in (1, 2) * 10]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for got, wanted in zip(results, expected, strict=True):
        assert len(got) == 20
        assert all(result == wanted for result in got)


PEAK_MEMORY = """
import resource, sys
import numpy as np
from lenet5c import nn
batch = int(sys.argv[1])
images, offset = np.ones((8192, 1, 28, 28), np.uint8), np.zeros((1, 28, 28), np.float32)
labels, index = np.zeros(8192, np.int64), np.arange(8192)
model, loss = nn.LeNet5(input_size=28, padding=(2, 0)), nn.CrossEntropyLoss()
for _ in range(2):
    samples = nn.Samples(images, index[:batch], 1 / 255, offset)
    model.train_step(samples, labels[:batch], loss)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak if sys.platform == "darwin" else peak * 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_memory_of_a_training_step_does_not_grow_with_the_batch():
    def peak(batch):
        command = [sys.executable, "-c", PEAK_MEMORY, str(batch)]  # minutes, emulated
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env=dict(os.environ),
            timeout=HANGING,
        )
        return int(done.stdout)

    # The activations of 8192 samples are 300 MB, their images as float32 26 MB. Two runs of the
    # same differ by some hundred kB; labels as int32 and a loss a tile are 40 kB.
    assert peak(8192) - peak(64) < 4 * 2**20
