"""Window settings in all forms, and output sizes."""

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.kernels.shapes import (
    MAX_SETTING,
    choice,
    pair,
    pool2d_output_size,
    setting,
    window_and_size,
)


class TestPadding:
    @pytest.mark.parametrize(
        "padding, before, size",
        [
            (0, (0, 0), (5, 6)),
            ("valid", (0, 0), (5, 6)),
            (1, (1, 1), (7, 8)),
            ((1, 0), (1, 0), (7, 6)),
            ([1, 0], (1, 0), (7, 6)),
            (np.array([1, 0]), (1, 0), (7, 6)),
            (((1, 2), (0, 1)), (1, 0), (8, 7)),
            ([[1, 2], [0, 1]], (1, 0), (8, 7)),
            (((0, 2), 1), (0, 1), (7, 8)),
            ("same", (1, 1), (7, 8)),
        ],
        ids=str,
    )
    def test_forms(self, padding, before, size):
        window, out = window_and_size((7, 8), 3, 1, padding)
        assert window == ((3, 3), (1, 1), before, (1, 1))
        assert out == size

    @pytest.mark.parametrize(
        "padding, before, size",
        [(0, 0, 5), (1, 1, 7), ((1,), 1, 7), ((2, 1), 2, 8), (((2, 1),), 2, 8), ("same", 1, 7)],
        ids=str,
    )
    def test_forms_of_one_axis(self, padding, before, size):
        window, out = window_and_size((7,), (3,), 1, padding)
        assert window == ((3,), (1,), (before,), (1,))
        assert out == (size,)

    @in_one_test
    @pytest.mark.parametrize("length", range(1, 12))
    @pytest.mark.parametrize("kernel_size", range(1, 6))
    @pytest.mark.parametrize("stride", range(1, 5))
    def test_same_divides_by_the_stride(self, length, kernel_size, stride):
        for dilation in (1, 2, 3):
            reach = dilation * (kernel_size - 1) + 1
            for ceil_mode in (False, True):
                (_, _, (before,), _), (out,) = window_and_size(
                    (length,), kernel_size, stride, "same", dilation, ceil_mode=ceil_mode
                )
                assert out == -(-length // stride)
                padding = max(0, (out - 1) * stride + reach - length)
                assert before == padding // 2  # the odd one comes last

    @in_one_test
    @pytest.mark.parametrize(
        "padding",
        [-1, (1, -1), (1,), (1, 2, 3), ((1, 2),), ((1, 2, 3), (1, 2)), "SAME", "full", None, 1.0,
         (1.0, 1.0), ((1, 1.5), (0, 0)), ("a", "b"), "ab", b"ab", {}, (((1,), 1), 1),
         MAX_SETTING + 1, True, (1, True), ((0, False), 1)],
        ids=str,
    )  # fmt: skip
    def test_others_are_refused(self, padding):
        with pytest.raises(ValueError, match="^padding must be .*got "):
            window_and_size((5, 5), 3, 1, padding)


@in_one_test
@pytest.mark.parametrize("name", ["kernel_size", "stride", "dilation"])
@pytest.mark.parametrize(
    "value",
    [0, (1, 0), (1,), (1, 1, 1), ((1, 1), (1, 1)), "same", None, 1.0, 2**70, True, (1, True)],
)
def test_other_settings_are_refused(name, value):
    settings = {"kernel_size": 2, "stride": 1, "padding": 0, "dilation": 1} | {name: value}
    with pytest.raises(ValueError, match=f"^{name} must be .*got "):
        window_and_size((5, 5), **settings)


def test_what_was_computed_once_is_refused_in_another_form():
    """1.0 == 1, also as a key of a cache."""
    window_and_size((5, 5), (2, 2), (1, 1), (1, 1))
    for at in range(3):
        settings = [(2, 2), (1, 1), (1, 1)]
        settings[at] = tuple(map(float, settings[at]))
        with pytest.raises(ValueError, match="must be"):
            window_and_size((5, 5), *settings)


def test_a_setting_is_the_key_of_a_cache():
    same = [(2, 3), [2, 3], np.array([2, 3]), (np.int64(2), True + 2), (2, np.array(3))]
    for value in same:
        key = setting("stride", value)
        assert key == (2, 3) and {type(each) for each in key} == {int}
    assert setting("padding", "same") == "same" and setting("stride", None) is None
    assert type(setting("stride", np.int8(3))) is int
    with pytest.raises(
        ValueError, match="^stride must be an integer or a tuple of integers, got True"
    ):
        setting("stride", True)


class TestCeilMode:
    @in_one_test
    @pytest.mark.parametrize("length", range(3, 13))
    @pytest.mark.parametrize("stride", range(1, 5))
    @pytest.mark.parametrize("padding", [0, 1])
    @pytest.mark.parametrize("dilation", [1, 2])
    def test_against_torch(self, torch, length, stride, padding, dilation):
        if length + 2 * padding < 2 * dilation + 1:
            return
        settings = 3, stride, padding, dilation
        y = torch.nn.functional.max_pool1d(torch.zeros(1, 1, length), *settings, ceil_mode=True)
        _, size = window_and_size((length,), *settings, ceil_mode=True, pooling=True)
        assert size == y.shape[2:]

    def test_no_window_begins_behind_the_image(self):
        assert window_and_size((4,), 1, 3, 0, ceil_mode=True)[1] == (2,)
        assert window_and_size((5,), 1, 3, 0, ceil_mode=True)[1] == (2,)
        assert window_and_size((5,), 2, 4, (0, 1), ceil_mode=True)[1] == (2,)
        assert window_and_size((4,), 2, 4, (0, 1), ceil_mode=True)[1] == (1,)


def test_a_pooling_window_touches_the_image():
    assert pool2d_output_size((1, 1), 3, 1, 2) == (3, 3)
    assert window_and_size((1, 1), 3, 1, ((0, 2), (2, 0)), pooling=True)[1] == (1, 1)
    for padding in (3, (0, 3), ((0, 3), (0, 0))):
        with pytest.raises(ValueError, match="^padding must be less than the window, 3 x 3"):
            window_and_size((5, 5), 3, 1, padding, pooling=True)
    assert window_and_size((5, 5), 3, 1, 4, 2, pooling=True)[1] == (9, 9)


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^kernel_size must fit .*4 pixels of width.*covers 5"):
        window_and_size((9, 4), 3, 1, 0, 2)
    with pytest.raises(ValueError, match=r"^kernel_size must fit .*4 pixels of length"):
        window_and_size((4,), 5, 1, 0)
    with pytest.raises(ValueError, match="padded input"):
        window_and_size((4, 4), 2, 1, 2**30)


def test_pair():
    assert pair(2, "stride", 1) == pair([2, 2], "stride", 1) == (2, 2)
    with pytest.raises(ValueError, match="^stride must be an integer of at least 1, or two"):
        pair((0, 1), "stride", 1)


def test_choice():
    assert choice("layout", "rows", ("columns", "rows")) == "rows"
    for value in ("row", None, ["rows"], np.array(["rows"]), b"rows"):
        with pytest.raises(ValueError, match='^layout must be "columns" or "rows", got '):
            choice("layout", value, ("columns", "rows"))
