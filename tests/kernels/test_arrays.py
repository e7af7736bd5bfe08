"""Arrays accepted by the functions, and the dtype of a computation."""

import array
import datetime

import numpy as np
import pytest
from case_names import name_of
from numpy.testing import assert_array_equal

from lenet5c import kernels
from lenet5c.kernels.arrays import (
    check_out,
    deliver,
    plain_arrays,
    real_arrays,
    with_batch,
    work_array,
)

VALUES = [[0, 1, 2], [3, 4, 5]]


class Interface:
    """Supports only one protocol for arrays."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Array(Interface):
    def __array__(self, dtype=None, copy=None):
        return self.value


class DLPack:
    def __init__(self, value):
        self.value = value

    def __dlpack__(self, **options):
        return self.value.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.value.__dlpack_device__()


def taken(**named):
    """Return the arrays used by a function, copied if necessary."""
    dtype, is_plain, *arrays = real_arrays(**named)
    assert all(a is None or type(a) is np.ndarray for a in arrays)
    copied = plain_arrays(dtype, **dict(zip(named, arrays, strict=True)))
    assert not is_plain or all(a is b for a, b in zip(arrays, copied, strict=True))
    return copied


def shifted(a):
    """Return a copy at an odd address."""
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


class TestDtype:
    @pytest.mark.parametrize(
        "dtypes, expected",
        [
            ("f4", "f4"),
            ("f8", "f8"),
            ("f2", "f4"),
            ("?", "f4"),
            *((dtype, "f4") for dtype in ("i1", "u1", "i2", "u2")),
            *((dtype, "f8") for dtype in ("i4", "u4", "i8", "u8")),
            ("f4 f8", "f8"),
            ("f8 f4", "f8"),
            ("f4 u1", "f4"),
            ("u1 f8 f4", "f8"),
            ("i4 f4", "f8"),
            (">f4", "f4"),
            ("f4 >f8", "f8"),
        ],
    )
    def test_is_that_of_numpy_but_at_least_float32(self, dtypes, expected):
        given = {f"x{i}": np.array(VALUES, dtype) for i, dtype in enumerate(dtypes.split())}
        for result, value in zip(taken(**given), given.values(), strict=True):
            assert type(result) is np.ndarray
            assert result.dtype == np.dtype(expected) and result.dtype.isnative
            assert result.flags.aligned
            assert_array_equal(result, value)

    def test_none_has_none(self):
        for x in (np.ones(2, np.float32), np.ones(2, np.uint8)):
            x, bias = taken(x=x, bias=None)
            assert x.dtype == np.float32 and bias is None

    def test_the_first_must_be_there(self):
        with pytest.raises(TypeError, match="^x must be an array of real numbers, got None"):
            real_arrays(x=None, weight=np.ones(2))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_fits_is_not_copied(self, dtype):
        x, w = np.ones((2, 3), dtype), np.ones((4, 6), dtype)[1:3]
        w.flags.writeable = False
        assert all(a is b for a, b in zip(taken(x=x, w=w), (x, w), strict=True))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_what_is_not_contiguous_is_copied(self, dtype):
        x, w = np.ones((2, 3), dtype), np.arange(24, dtype=dtype).reshape(4, 6)[::2, ::-2]
        same, result = taken(x=x, w=w)
        assert same is x and result.flags.c_contiguous
        assert_array_equal(result, w)

    def test_misaligned_is_copied(self):
        for dtype in (np.float32, np.float64):
            x = shifted(np.array(VALUES, dtype))
            (result,) = taken(x=x)
            assert result.flags.aligned and result.dtype == dtype
            assert_array_equal(result, VALUES)


class TestCopies:
    """Results are allocated after all checks, and named if they are too large."""

    VAST = np.broadcast_to(np.float32(0), (2**14, 2**12, 128, 128))  # 4 TiB as a copy

    def test_of_no_room_are_named(self, monkeypatch):
        def require(*arguments):
            raise MemoryError("out of memory")

        monkeypatch.setattr(np, "require", require)
        x = np.broadcast_to(np.uint8(1), (2, 3, 8, 8))
        words = (
            r"^x must fit in memory as a contiguous array of float32, got the shape \(2, 3, 8, 8"
        )
        calls = [
            lambda: kernels.conv2d(x, np.ones((2, 3, 3, 3), np.float32)),
            lambda: kernels.conv_transpose2d(x, np.ones((3, 2, 3, 3), np.float32)),
            lambda: kernels.im2col(x, 3),
            lambda: kernels.max_pool2d(x, 2),
            lambda: kernels.avg_pool2d(x, 2),
            lambda: kernels.softmax(x),
        ]
        for call in calls:
            with pytest.raises(MemoryError, match=words):
                call()

    def test_beyond_all_memory_are_refused(self):
        x = np.broadcast_to(np.uint8(1), (2**20, 2**12, 128, 128))
        for call in (kernels.softmax, lambda x: kernels.max_pool2d(x, 128)):
            with pytest.raises(ValueError, match="^x of shape .* would have"):
                call(x)

    def test_are_not_made_where_something_does_not_fit(self):
        x, small = self.VAST, np.ones((1, 3, 3, 3), np.float32)
        calls = {
            "weight must have": lambda: kernels.conv2d(x, small),
            "dy must have": lambda: kernels.conv2d_backward(small, x, np.ones((1, 2**12, 3, 3))),
            "kernel_size must fit": lambda: kernels.max_pool2d(x, 129),
            "dy must": lambda: kernels.max_pool2d_backward(small, x, 2),
            "padding must": lambda: kernels.avg_pool2d(x, 2, padding=2),
            "axis must": lambda: kernels.log_softmax(x, axis=4),
            "the column matrix": lambda: kernels.im2col(x, 64),
            "col must have": lambda: kernels.col2im(x[:, :, 0], (8, 8), 3),
            "out must have": lambda: kernels.conv2d(
                x, np.ones((1, 2**12, 3, 3), np.float32), out=small
            ),
        }
        for words, call in calls.items():
            with pytest.raises(ValueError, match=f"^{words}"):
                call()


@pytest.mark.parametrize(
    "value",
    [
        VALUES,
        np.array(VALUES, np.float64).tolist(),
        np.array(VALUES).view(np.matrix),
        memoryview(np.array(VALUES, np.float32)),
        Array(value=np.array(VALUES, np.float32)),
        Interface(
            base=(base := np.array(VALUES, np.float32)),
            __array_interface__=base.__array_interface__,
        ),
        DLPack(np.array(VALUES, np.float32)),
        [array.array("f", row) for row in VALUES],
        np.array(VALUES, np.float32).view(np.memmap),
    ],
    ids=lambda value: type(value).__name__,
)
def test_takes_whatever_numpy_reads(value):
    (result,) = taken(x=value)
    assert type(result) is np.ndarray
    assert_array_equal(result, VALUES)


def test_takes_tensors(torch):
    tensor = torch.tensor(VALUES, dtype=torch.float32)
    (result,) = taken(x=tensor)
    assert result.dtype == np.float32 and np.may_share_memory(result, tensor.numpy())
    assert_array_equal(taken(x=tensor.T)[0], np.transpose(VALUES))


def test_a_tensor_with_a_gradient_is_refused(torch):
    with pytest.raises(TypeError, match="^x must be .*Tensor.*detach it first$"):
        real_arrays(x=torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="^x must be .*Tensor"):
        real_arrays(x=torch.ones(2, dtype=torch.bfloat16))


@pytest.mark.parametrize("name", ["h5py", "zarr", "pyarrow"])
def test_takes_arrays_of_other_libraries(name, tmp_path):
    module = pytest.importorskip(name)
    if name == "h5py":
        with module.File(tmp_path / "file.h5", "w") as file:
            (result,) = taken(x=file.create_dataset("x", data=np.array(VALUES, "f4")))
    else:
        make = {"zarr": lambda x: module.array(x), "pyarrow": lambda x: module.Tensor.from_numpy(x)}
        (result,) = taken(x=make[name](np.array(VALUES, np.float32)))
    assert_array_equal(result, VALUES)


class Failing:
    def __array__(self, dtype=None, copy=None):
        raise OSError("the file is gone")


@pytest.mark.parametrize(
    "value, words",
    [
        (np.ones(2, np.complex64), "complex64"),
        (np.ones(2, np.longdouble), np.dtype(np.longdouble).name),
        (np.array([None, 1]), "object"),
        (np.array(["a"]), "<U1"),
        (np.zeros(2, "M8[s]"), "datetime64"),
        (np.zeros(2, [("a", "f4")]), "a"),
        ([[1, 2], [3]], "list"),
        ([1j], "complex128"),
        ("text", "str"),
        (b"bytes", "bytes"),
        (object(), "object"),
        ({}, "dict"),
        (datetime.datetime_CAPI, "PyCapsule"),
        (Failing(), "Failing.*the file is gone"),
    ],
    ids=lambda value: name_of(repr(value))[:30],
)
def test_all_else_is_refused_by_name(value, words):
    with pytest.raises(TypeError, match=f"^weight must be an array of real numbers.*{words}"):
        real_arrays(x=np.ones(2), weight=value)


def test_masks_are_refused():
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for value in (masked, Array(value=masked)):
        with pytest.raises(TypeError, match=r"^x must.*without a mask.*x\.filled\(0\)$"):
            real_arrays(x=value)
    with pytest.raises(TypeError, match="^out must.*without a mask"):
        check_out("out", masked, (2,), np.float64)


class TestBatch:
    def test_is_added_to_a_sample(self):
        x = np.ones((3, 4, 5))
        batch, single = with_batch("x", x, 4)
        assert single and batch.shape == (1, 3, 4, 5) and batch.base is x
        again, single = with_batch("x", batch, 4)
        assert again is batch and not single

    @pytest.mark.parametrize(
        "value, words",
        [
            (None, "got None"),
            (np.ones((2, 2)), r"got the shape \(2, 2\)"),
            (np.ones((1,) * 5), "got the shape"),
            (np.ones((1, 2, 0, 3)), "not be empty.*got the shape"),
            (np.ones((2, 0, 3)), r"not be empty, got the shape \(2, 0, 3\)"),
        ],
    )
    def test_other_shapes_are_refused(self, value, words):
        with pytest.raises(ValueError, match=f"^x must .*{words}"):
            with_batch("x", value, 4)

    def test_no_samples_are_a_batch(self):
        assert with_batch("x", np.ones((0, 1, 2, 3)), 4)[0].shape == (0, 1, 2, 3)


class TestOut:
    @pytest.mark.parametrize("make", [np.empty, lambda s, d: np.empty(s[::-1], d).T], ids="CF")
    def test_of_a_sample_has_no_batch_axis(self, make):
        out = make((3, 4), np.float32)
        work = work_array(out, (1, 3, 4), np.float32, ())
        work[...] = np.arange(12).reshape(1, 3, 4)
        assert deliver(work, out, single=True) is out
        assert_array_equal(out, np.arange(12).reshape(3, 4))

    def test_is_a_new_array_where_it_would_overwrite_an_input(self):
        memory = np.arange(14, dtype=np.float32)
        out, x = memory[:12].reshape(3, 4), memory[2:]
        work = work_array(out, (1, 3, 4), np.float32, (x, None))
        assert not np.may_share_memory(work, memory)
        work[...] = 7
        assert deliver(work, out, single=True) is out
        assert np.all(out == 7)

    def test_is_made_if_there_is_none(self):
        work = work_array(None, (1, 3, 4), np.float32, ())
        assert deliver(work, None) is work
        assert deliver(work, None, single=True).shape == (3, 4)
