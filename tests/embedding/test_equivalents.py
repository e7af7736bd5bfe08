"""The equivalents of functions of other libraries in docs/howto/embedding.md.

Each is held beside the function it stands for where that is installed, else written out.
"""

import numpy as np
import pytest

from lenet5c import kernels, reference

k = kernels
N, C, H, W, O, KH, KW = 3, 4, 9, 8, 6, 3, 2


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


x, weight, bias = values(N, C, H, W), values(O, C, KH, KW, seed=1), values(O, seed=2)


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_pytorch():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    t, tw, tb = map(torch.from_numpy, (x, weight, bias))
    same(k.conv2d(x, weight, bias, 2, 1, 1, 1), F.conv2d(t, tw, tb, 2, 1, 1, 1))
    turned = values(C, O // 2, KH, KW, seed=3)
    arguments = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 1}
    same(
        k.conv_transpose2d(x, turned, bias, **arguments),
        F.conv_transpose2d(t, torch.from_numpy(turned), tb, **arguments),
    )
    for ours, theirs in zip(
        k.max_pool2d(x, 3, 2, 1, 1, True, True),
        F.max_pool2d(t, 3, 2, 1, 1, True, True),
        strict=True,
    ):
        same(ours, theirs)
    arguments = {"stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}
    same(k.avg_pool2d(x, 3, **arguments), F.avg_pool2d(t, 3, **arguments))
    same(k.global_avg_pool2d(x).reshape(N, C), F.adaptive_avg_pool2d(t, 1).reshape(N, C))
    same(k.global_max_pool2d(x).reshape(N, C), F.adaptive_max_pool2d(t, 1).reshape(N, C))
    columns = k.im2col(x, (KH, KW), 2, 1, 1)
    same(columns, F.unfold(t, (KH, KW), 1, 1, 2))
    same(
        k.col2im(columns, (H, W), (KH, KW), 2, 1, 1),
        F.fold(torch.from_numpy(columns), (H, W), (KH, KW), 1, 1, 2),
    )
    lines, filters = values(N, C, H), values(O, C, KH, seed=4)
    same(
        k.conv1d(lines, filters, bias, 2, 1),
        F.conv1d(torch.from_numpy(lines), torch.from_numpy(filters), tb, 2, 1),
    )
    same(k.max_pool1d(lines, 2), F.max_pool1d(torch.from_numpy(lines), 2))
    same(k.avg_pool1d(lines, 2), F.avg_pool1d(torch.from_numpy(lines), 2))


def test_softmax_of_pytorch():
    torch = pytest.importorskip("torch")
    F, t = torch.nn.functional, torch.from_numpy(x)
    same(k.softmax(x, 1), F.softmax(t, 1))
    same(k.log_softmax(x, 1), F.log_softmax(t, 1))


def cs231n_columns(x, fh, fw, padding, stride):
    """im2col_indices: (C fh fw, OH OW N), samples innermost."""
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))), (fh, fw), axis=(2, 3)
    )[:, :, ::stride, ::stride]
    return windows.transpose(1, 4, 5, 2, 3, 0).reshape(x.shape[1] * fh * fw, -1)


def test_columns_of_cs231n():
    col = cs231n_columns(x, KH, KW, 1, 2)
    same(k.im2col(x, (KH, KW), 2, 1).transpose(1, 2, 0).reshape(C * KH * KW, -1), col)
    same(
        k.col2im(col.reshape(C * KH * KW, -1, N).transpose(2, 0, 1), (H, W), (KH, KW), 2, 1),
        reference.col2im(reference.im2col(x, (KH, KW), 2, 1), (H, W), (KH, KW), 2, 1),
    )


def test_layers_of_cs231n():
    expected = reference.conv2d(x, weight, bias, 2, 1)
    same(k.conv2d(x, weight, bias, 2, 1), expected)
    for ours, theirs in zip(
        k.conv2d_backward(expected, x, weight, 2, 1),
        reference.conv2d_backward(expected, x, weight, 2, 1),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    pooled = reference.max_pool2d(x, (3, 2), 2)
    same(k.max_pool2d(x, (3, 2), 2), pooled)
    same(
        k.max_pool2d_backward(pooled, x, (3, 2), 2),
        reference.max_pool2d_backward(pooled, x, (3, 2), 2),
    )


def test_rows_of_textbooks():
    rows = reference.im2col(x, (KH, KW), 2, 1).transpose(0, 2, 1).reshape(-1, C * KH * KW)
    same(k.im2col(x, (KH, KW), 2, 1, layout="rows"), rows)
    same(
        k.col2im(rows, (H, W), (KH, KW), 2, 1, layout="rows"),
        reference.col2im(reference.im2col(x, (KH, KW), 2, 1), (H, W), (KH, KW), 2, 1),
    )


def test_keras():
    last, kernel = x.transpose(0, 2, 3, 1), weight.transpose(2, 3, 1, 0)
    y = k.conv2d(last, kernel, bias, 2, "same", data_format="NHWC")
    assert y.shape == (N, -(-H // 2), -(-W // 2), O)
    # Keras pads the odd row and column at the end.
    padding = ((1, 1), (0, 0))
    same(y.transpose(0, 3, 1, 2), k.conv2d(x, kernel.transpose(3, 2, 0, 1), bias, 2, padding))
    depthwise = values(KH, KW, C, 2, seed=5)
    y = k.conv2d(last, depthwise.reshape(KH, KW, 1, C * 2), groups=C, data_format="NHWC")
    same(y[..., 5], k.conv2d(x[:, 2:3], depthwise[None, None, :, :, 2, 1])[:, 0])
    dense = values(H * W * C, O, seed=6)
    ours = dense.reshape(H, W, C, -1).transpose(2, 0, 1, 3).reshape(C * H * W, -1)
    same(x.reshape(N, -1) @ ours, last.reshape(N, -1) @ dense)
    same(
        k.max_pool2d(last, 2, 2, "same", data_format="NHWC").transpose(0, 3, 1, 2),
        k.max_pool2d(x, 2, 2, ((0, 1), (0, 0))),
    )


def test_onnx():
    top, left, bottom, right = 1, 0, 2, 1
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    same(
        k.conv2d(x, weight, padding=((top, bottom), (left, right))),
        reference.conv2d(padded, weight),
    )
    y, indices = k.max_pool2d(x, 2, return_indices=True)
    whole = indices + H * W * np.arange(N * C).reshape(N, C, 1, 1)
    same(x.ravel()[whole], y)


def test_scipy():
    signal = pytest.importorskip("scipy.signal")
    image, kernel = values(H, W), values(KH, KW, seed=1)
    same(k.conv2d(image[None], kernel[None, None])[0], signal.correlate2d(image, kernel, "valid"))
    same(
        k.conv2d(image[None], kernel[None, None, ::-1, ::-1])[0],
        signal.convolve2d(image, kernel, "valid"),
    )
