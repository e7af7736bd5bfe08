"""Naive NumPy twins of every kernel: the specification that the fast ones are tested against.

Everything is float64, NCHW, written as its definition reads: loops over output positions, no cleverness. Backward
functions take the gradient `dy` of the output and return the gradients of the inputs. Their correctness is shown in
`test_reference.py` by central differences. Sizes (`kernel_size`, `stride`, `padding`, `dilation`) are an int or a pair
(vertical, horizontal).

Names: N C H W batch, channels, height, width; O I KH KW weight axes; OH OW output height and width; G groups.
"""

import numpy as np


def pair(size):
    return tuple(size) if np.ndim(size) else (size, size)


def output_shape(size, kernel_size, stride=1, padding=0, dilation=1):
    """(OH, OW): how often a window fits into an image of `size` (H, W), padding included."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, *map(pair, (kernel_size, stride, padding, dilation)))
    )


def _window(oh, ow, kernel_size, stride, dilation):
    """Index of the padded image: the (N, C, KH, KW) elements that output position (oh, ow) sees."""
    (KH, KW), (SH, SW), (DH, DW) = map(pair, (kernel_size, stride, dilation))
    top, left = oh * SH, ow * SW
    return np.s_[:, :, top : top + DH * (KH - 1) + 1 : DH, left : left + DW * (KW - 1) + 1 : DW]


def _pad(x, padding):
    PH, PW = pair(padding)
    return np.pad(np.asarray(x, np.float64), ((0, 0), (0, 0), (PH, PH), (PW, PW)))


def _unpad(x, padding):
    (PH, PW), (H, W) = pair(padding), x.shape[2:]
    return x[:, :, PH : H - PH, PW : W - PW].copy()


# Convolution: y[n, o, oh, ow] = bias[o] + sum over i, kh, kw of weight[o, i, kh, kw] * x[n, i, oh*SH + kh*DH - PH, ...]


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """x (N, C, H, W), weight (O, C/groups, KH, KW), bias (O,) -> y (N, O, OH, OW)."""
    weight = np.asarray(weight, np.float64)
    O, I, KH, KW = weight.shape
    OH, OW = output_shape(x.shape[2:], (KH, KW), stride, padding, dilation)
    padded = _pad(x, padding)
    y = np.zeros((x.shape[0], O, OH, OW))
    for oh in range(OH):
        for ow in range(OW):
            window = padded[_window(oh, ow, (KH, KW), stride, dilation)]
            for g in range(groups):
                i, o = np.s_[g * I : (g + 1) * I], np.s_[g * O // groups : (g + 1) * O // groups]
                y[:, o, oh, ow] = np.einsum("nihw,oihw->no", window[:, i], weight[o])
    if bias is not None:
        y += np.asarray(bias, np.float64)[:, None, None]
    return y


def conv2d_backward(dy, x, weight, stride=1, padding=0, dilation=1, groups=1):
    """dy (N, O, OH, OW) -> dx, dweight, dbias."""
    dy, weight = np.asarray(dy, np.float64), np.asarray(weight, np.float64)
    O, I, KH, KW = weight.shape
    padded = _pad(x, padding)
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    for oh in range(dy.shape[2]):
        for ow in range(dy.shape[3]):
            at = _window(oh, ow, (KH, KW), stride, dilation)
            window, dwindow = padded[at], dpadded[at]  # views
            for g in range(groups):
                i, o = np.s_[g * I : (g + 1) * I], np.s_[g * O // groups : (g + 1) * O // groups]
                dwindow[:, i] += np.einsum("no,oihw->nihw", dy[:, o, oh, ow], weight[o])
                dweight[o] += np.einsum("no,nihw->oihw", dy[:, o, oh, ow], window[:, i])
    return _unpad(dpadded, padding), dweight, dy.sum(axis=(0, 2, 3))


def connected(filters, table):
    """filters (connections, KH, KW), table (C, O) of true and false -> weight (O, C, KH, KW), with zeros between.

    Filters come output by output, and for each those of its inputs in order; where the table is false, there is none.
    """
    C, O = np.shape(table)
    weight, number = np.zeros((O, C, *np.shape(filters)[1:])), 0
    for o in range(O):
        for c in range(C):
            if table[c][o]:
                weight[o, c] = filters[number]
                number += 1
    return weight


def connected_filters(weight, table):
    """The other way round, for a gradient: weight (O, C, KH, KW) -> (connections, KH, KW)."""
    C, O = np.shape(table)
    return np.array([weight[o, c] for o in range(O) for c in range(C) if table[c][o]])


def connected_conv2d(x, filters, bias=None, *, table, **window):
    """A convolution whose output maps see some of the input maps only; filters (connections, KH, KW)."""
    return conv2d(x, connected(filters, table), bias, **window)


def connected_conv2d_backward(dy, x, filters, *, table, **window):
    """dy (N, O, OH, OW) -> dx, dfilters, dbias."""
    dx, dweight, dbias = conv2d_backward(dy, x, connected(filters, table), **window)
    return dx, connected_filters(dweight, table), dbias


def im2col(x, kernel_size, stride=1, padding=0, dilation=1):
    """x (N, C, H, W) -> col (N, C*KH*KW, OH*OW): one column a window."""
    N, C, H, W = x.shape
    KH, KW = pair(kernel_size)
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    padded = _pad(x, padding)
    col = np.zeros((N, C * KH * KW, OH * OW))
    for oh in range(OH):
        for ow in range(OW):
            window = padded[_window(oh, ow, kernel_size, stride, dilation)]
            col[:, :, oh * OW + ow] = window.reshape(N, C * KH * KW)
    return col


def col2im(col, output_size, kernel_size, stride=1, padding=0, dilation=1):
    """col (N, C*KH*KW, OH*OW) -> x (N, C, H, W) with (H, W) = `output_size`: the adjoint of im2col, overlaps added."""
    (H, W), (KH, KW), (PH, PW) = map(pair, (output_size, kernel_size, padding))
    OH, OW = output_shape((H, W), kernel_size, stride, padding, dilation)
    N, C = col.shape[0], col.shape[1] // (KH * KW)
    padded = np.zeros((N, C, H + 2 * PH, W + 2 * PW))
    for oh in range(OH):
        for ow in range(OW):
            window = col[:, :, oh * OW + ow].reshape(N, C, KH, KW)
            padded[_window(oh, ow, kernel_size, stride, dilation)] += window
    return _unpad(padded, padding)


# Pooling. Windows are cut at the border of the image, so the border never wins a maximum (it is -inf) and adds nothing
# to a mean (it is 0).


def _pool_windows(size, kernel_size, stride, padding):
    """For every output position: (oh, ow) and the first and last + 1 row and column of its window in the image."""
    (H, W), (KH, KW), (PH, PW) = map(pair, (size, kernel_size, padding))
    stride = kernel_size if stride is None else stride
    SH, SW = pair(stride)
    OH, OW = output_shape(size, kernel_size, stride, padding)
    for oh in range(OH):
        for ow in range(OW):
            top, left = oh * SH - PH, ow * SW - PW
            yield (oh, ow), (max(top, 0), min(top + KH, H), max(left, 0), min(left + KW, W))


def _pool_output(x_shape, kernel_size, stride, padding):
    stride = kernel_size if stride is None else stride
    return np.zeros((*x_shape[:2], *output_shape(x_shape[2:], kernel_size, stride, padding)))


def max_pool2d(x, kernel_size, stride=None, padding=0):
    """x (N, C, H, W) -> y (N, C, OH, OW). A NaN counts as the largest value."""
    y = _pool_output(x.shape, kernel_size, stride, padding)
    for (oh, ow), (top, bottom, left, right) in _pool_windows(x.shape[2:], kernel_size, stride, padding):
        y[:, :, oh, ow] = x[:, :, top:bottom, left:right].max(axis=(2, 3))
    return y


def max_pool2d_backward(dy, x, kernel_size, stride=None, padding=0):
    """dy (N, C, OH, OW) -> dx: each gradient goes to the first maximum, in row-major order, of its window."""
    dx = np.zeros(x.shape)
    for (oh, ow), (top, bottom, left, right) in _pool_windows(x.shape[2:], kernel_size, stride, padding):
        for n in range(x.shape[0]):
            for c in range(x.shape[1]):
                h, w = divmod(x[n, c, top:bottom, left:right].argmax(), right - left)
                dx[n, c, top + h, left + w] += dy[n, c, oh, ow]
    return dx


def avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    """x (N, C, H, W) -> y (N, C, OH, OW): the sum over KH*KW, or over the elements in the image alone."""
    KH, KW = pair(kernel_size)
    y = _pool_output(x.shape, kernel_size, stride, padding)
    for (oh, ow), (top, bottom, left, right) in _pool_windows(x.shape[2:], kernel_size, stride, padding):
        count = KH * KW if count_include_pad else (bottom - top) * (right - left)
        y[:, :, oh, ow] = x[:, :, top:bottom, left:right].sum(axis=(2, 3), dtype=np.float64) / count
    return y


def avg_pool2d_backward(dy, x_shape, kernel_size, stride=None, padding=0, count_include_pad=True):
    """dy (N, C, OH, OW) -> dx of shape `x_shape`: each gradient is shared out evenly over its window."""
    KH, KW = pair(kernel_size)
    dy, dx = np.asarray(dy, np.float64), np.zeros(x_shape)
    for (oh, ow), (top, bottom, left, right) in _pool_windows(x_shape[2:], kernel_size, stride, padding):
        count = KH * KW if count_include_pad else (bottom - top) * (right - left)
        dx[:, :, top:bottom, left:right] += dy[:, :, oh, ow, None, None] / count
    return dx


# Subsampling (LeCun et al., 1998): windows that do not overlap; rows and columns that fill none are left out


def subsample2d(x, weight, bias, kernel_size=2):
    """x (N, C, H, W), weight and bias (C,) -> y (N, C, OH, OW): weight times the sum of the window, plus bias."""
    KH, KW = pair(kernel_size)
    x = np.asarray(x, np.float64)
    y = np.zeros((*x.shape[:2], x.shape[2] // KH, x.shape[3] // KW))
    for oh, ow in np.ndindex(y.shape[2:]):
        total = x[:, :, oh * KH : (oh + 1) * KH, ow * KW : (ow + 1) * KW].sum(axis=(2, 3))
        y[:, :, oh, ow] = np.asarray(weight, np.float64) * total + bias
    return y


def subsample2d_backward(dy, x, weight, kernel_size=2):
    """dy (N, C, OH, OW) -> dx, dweight, dbias."""
    KH, KW = pair(kernel_size)
    dy, weight = np.asarray(dy, np.float64), np.asarray(weight, np.float64)
    dx, dweight = np.zeros(x.shape), np.zeros(len(weight))
    for oh, ow in np.ndindex(dy.shape[2:]):
        at = np.s_[:, :, oh * KH : (oh + 1) * KH, ow * KW : (ow + 1) * KW]
        g = dy[:, :, oh, ow]
        dx[at] = (weight * g)[:, :, None, None]
        dweight += (g * x[at].sum(axis=(2, 3), dtype=np.float64)).sum(axis=0)
    return dx, dweight, dy.sum(axis=(0, 2, 3))


# Radial basis functions (LeCun et al., 1998, eq. 7)


def rbf(x, codes):
    """x (N, C), codes (O, C) -> y (N, O): the squared distance from each code."""
    return ((np.asarray(x, np.float64)[:, None] - codes) ** 2).sum(axis=2)


def rbf_backward(dy, x, codes):
    """dy (N, O) -> dx."""
    return (2 * np.asarray(dy, np.float64)[:, :, None] * (np.asarray(x, np.float64)[:, None] - codes)).sum(axis=1)


# Dense layers and activations


def linear(x, weight, bias=None):
    """x (N, I), weight (O, I), bias (O,) -> y (N, O)."""
    y = np.asarray(x, np.float64) @ np.asarray(weight, np.float64).T
    return y if bias is None else y + bias


def linear_backward(dy, x, weight):
    """dy (N, O) -> dx, dweight, dbias."""
    dy = np.asarray(dy, np.float64)
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


def relu(x):
    return np.maximum(np.asarray(x, np.float64), 0)


def relu_backward(dy, y):
    """0 at y = 0."""
    return np.asarray(dy, np.float64) * (y > 0)


def sigmoid(x):
    """1 / (1 + exp(-x)), through tanh, which does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, np.float64))


def sigmoid_backward(dy, y):
    return np.asarray(dy, np.float64) * y * (1 - y)


def tanh(x):
    return np.tanh(np.asarray(x, np.float64))


def tanh_backward(dy, y):
    return np.asarray(dy, np.float64) * (1 - y * y)


def scaled_tanh(x, amplitude=1.7159, slope=2 / 3):
    return amplitude * np.tanh(slope * np.asarray(x, np.float64))


def scaled_tanh_backward(dy, y, amplitude=1.7159, slope=2 / 3):
    return np.asarray(dy, np.float64) * amplitude * slope * (1 - (y / amplitude) ** 2)


# Losses: the mean and its gradient


def cross_entropy(logits, labels, label_smoothing=0):
    """logits (N, K), labels (N,) int -> mean loss, dlogits. The target is one-hot mixed with the uniform 1/K."""
    logits = np.asarray(logits, np.float64)
    N, K = logits.shape
    target = (1 - label_smoothing) * np.eye(K)[labels] + label_smoothing / K
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(target * log_p).sum() / N, (np.exp(log_p) - target) / N


def mse(pred, target):
    """pred and target of any one shape -> mean over all elements, dpred."""
    error = np.asarray(pred, np.float64) - target
    return np.mean(error**2), 2 * error / error.size


def mle_loss(penalties, labels):
    """penalties (N, K), labels (N,) int -> mean penalty at the label, its gradient (LeCun et al., 1998, eq. 8)."""
    penalties = np.asarray(penalties, np.float64)
    N, K = penalties.shape
    return penalties[np.arange(N), labels].mean(), np.eye(K)[labels] / N


def map_loss(penalties, labels, j):
    """The same, with log(exp(-j) + sum exp(-penalties)) added (eq. 9)."""
    penalties = np.asarray(penalties, np.float64)
    N, K = penalties.shape
    every = np.concatenate([penalties, np.full((N, 1), float(j))], axis=1)
    least = every.min(axis=1, keepdims=True)
    powers = np.exp(least - every)
    total = powers.sum(axis=1, keepdims=True)
    loss = penalties[np.arange(N), labels] - least[:, 0] + np.log(total[:, 0])
    return loss.mean(), (np.eye(K)[labels] - powers[:, :-1] / total) / N


# Batch normalisation as in training: statistics of the batch, variance without Bessel's correction


def _batch_statistics(x, eps):
    axes = (0, *range(2, x.ndim))
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    return axes, (x - mean) / np.sqrt(var + eps), np.sqrt(var + eps)


def batch_norm(x, weight, bias, eps=1e-5):
    """x (N, C) or (N, C, H, W), weight and bias (C,) -> y like x."""
    x = np.asarray(x, np.float64)
    _, normal, std = _batch_statistics(x, eps)
    return normal * np.reshape(weight, std.shape) + np.reshape(bias, std.shape)


def batch_norm_backward(dy, x, weight, eps=1e-5):
    """dy like x -> dx, dweight, dbias."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    axes, normal, std = _batch_statistics(x, eps)
    dnormal = dy * np.reshape(weight, std.shape)
    along_mean = dnormal.mean(axis=axes, keepdims=True)
    along_std = (dnormal * normal).mean(axis=axes, keepdims=True)
    dx = (dnormal - along_mean - normal * along_std) / std
    return dx, (dy * normal).sum(axis=axes), dy.sum(axis=axes)


# Optimisers: one step, in PyTorch's formulas


def sgd_step(p, g, v, lr, momentum=0, nesterov=False, weight_decay=0):
    """Parameter, gradient, velocity (zeros before the first step) -> new p, v."""
    g = g + weight_decay * p
    v = momentum * v + g
    step = g + momentum * v if nesterov else v
    return p - lr * step, v


def adam_step(p, g, m, v, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, decoupled=False):
    """Parameter, gradient, moments (zeros before the first step), t = 1, 2, ... -> new p, m, v.

    Adam adds the weight decay to the gradient; AdamW (`decoupled`) shrinks the parameter.
    """
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def adagrad_step(p, g, s, lr, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
    """Parameter, gradient, sum of squares (initial_accumulator_value before the first step) -> new p, s."""
    g = g + weight_decay * p
    s = s + g**2
    return p - lr * g / (np.sqrt(s) + eps), s


def rmsprop_step(p, g, s, v, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0):
    """Parameter, gradient, mean square and velocity (zeros before the first step) -> new p, s, v."""
    g = g + weight_decay * p
    s = alpha * s + (1 - alpha) * g**2
    v = momentum * v + g / (np.sqrt(s) + eps)
    return p - lr * v, s, v


def sdlm_step(p, g, h, lr, mu=0.02):
    """Parameter, gradient, second derivative -> new p (LeCun et al., 1998, eq. 18 and 21)."""
    return p - lr / (mu + h) * g


# Second derivatives, diagonal, in the Gauss-Newton approximation (LeCun et al., 1998, eq. 25 and 27)


def backward_second(backward, d2y):
    """`backward(dy)` -> gradients; d2y like dy -> of each gradient the sum over outputs i of d2y_i (dy_i / dz)^2.

    z is an input or a parameter. An output reads a shared weight once, so that its square is that of eq. 25.
    """
    d2y = np.asarray(d2y, np.float64)
    totals = None
    for at in np.ndindex(d2y.shape):
        dy = np.zeros(d2y.shape)
        dy[at] = 1
        terms = [d2y[at] * derivative**2 for derivative in backward(dy)]
        totals = terms if totals is None else [total + term for total, term in zip(totals, terms)]
    return totals


def cross_entropy_second(logits):
    """The second derivative of the mean loss by each logit: p (1 - p) / N, whatever the labels."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p * (1 - p) / len(logits)


def mse_second(pred):
    """That of the mean squared error."""
    return np.full(np.shape(pred), 2 / np.size(pred))


# Distortion: image (C, H, W) of grey levels -> the same shape, each pixel from where the inverse of a random map leads
# to. Random numbers are hashes: of the sample's key and the number of the draw, 64 bits by splitmix64; of the key and
# the number of the pixel, 32 bits, for the noise of elastic fields.

GOLDEN, WORD = 0x9E3779B97F4A7C15, 2**64


def _hash_bits(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def distortion_keys(seed, epoch, count):
    """The keys of the first samples of a data set."""
    stream = int(np.random.SeedSequence([seed, 3, epoch]).generate_state(1, np.uint64)[0])
    return [_hash_bits((stream + (sample + 1) * GOLDEN) % WORD) for sample in range(count)]


def _draw_bits(key, number):
    return _hash_bits((key + (number + 1) * GOLDEN) % WORD)


def distortion_draws(key, settings):
    """What happens to the sample with this key: factors of both axes and of the width, degrees, pixels."""
    share = [(_draw_bits(key, number) >> 11) / 2**53 for number in range(8)]
    signed = [2 * each - 1 for each in share]
    return {
        "distorted": share[0] < settings["probability"],
        "flipped": share[1] < settings["flip"],
        "right": signed[2] * settings["translation"],
        "down": signed[3] * settings["translation"],
        "scaling": 1 + signed[4] * settings["scaling"],
        "squeeze": 1 + signed[5] * settings["squeeze"],
        "shear": signed[6] * settings["shear"],
        "rotation": signed[7] * settings["rotation"],
    }


def distortion_noise(key, H, W):
    """(2, H, W) in [-1, 1): a hash of 32 bits of the place."""
    before, between = _draw_bits(key, 8) % 2**32, _draw_bits(key, 8) >> 32
    noise = np.empty((2, H, W))
    for y in range(H):
        for axis in range(2):
            for x in range(W):
                n = ((2 * y + axis) * W + x + before) % 2**32
                n = (n ^ n >> 16) * 0x7FEB352D % 2**32
                n = ((n ^ n >> 15) + between) * 0x846CA68B % 2**32
                noise[axis, y, x] = ((n ^ n >> 16) >> 8) / 2**23 - 1
    return noise


def distortion_field(key, settings, H, W):
    """(2, H, W): by how many pixels the elastic field moves each place, to the right and down; zero outside."""
    sigma = settings["elastic_sigma"]
    radius = int(np.ceil(3 * sigma))
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    gaussian /= gaussian.sum()
    noise = np.pad(distortion_noise(key, H, W), ((0, 0), (radius, radius), (radius, radius)))
    field = np.zeros((2, H, W))
    for i, vertical in enumerate(gaussian):
        for j, horizontal in enumerate(gaussian):
            field += vertical * horizontal * noise[:, i : i + H, j : j + W]
    return settings["elastic"] * field


def distort(image, key, settings):
    """image (C, H, W) -> the distorted image, and how far its pixels would change with the map's entries off by 1."""
    image = np.asarray(image, np.float64)
    C, H, W = image.shape
    draws = distortion_draws(key, settings)
    if not draws["distorted"]:
        return image.copy(), 0
    angle = np.radians(draws["rotation"])
    stretch = np.diag([draws["scaling"] * draws["squeeze"], draws["scaling"] / draws["squeeze"]])
    shear = np.array([[1, draws["shear"]], [0, 1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(rotation @ shear @ stretch)
    centre = np.array([(W - 1) / 2, (H - 1) / 2])
    moved = np.array([draws["right"], draws["down"]])
    field = distortion_field(key, settings, H, W) if settings["elastic"] else np.zeros((2, H, W))
    framed = np.pad(image, ((0, 0), (1, 2), (1, 2)))
    out = np.empty_like(image)
    for y in range(H):
        for x in range(W):
            u, v = inverse @ (np.array([x, y]) - centre - moved)
            u = (-u if draws["flipped"] else u) + centre[0] + field[0, y, x]
            v = v + centre[1] + field[1, y, x]
            u, v = np.clip(u, -1, W) + 1, np.clip(v, -1, H) + 1
            i, j = int(v), int(u)
            top = framed[:, i, j] + (u - j) * (framed[:, i, j + 1] - framed[:, i, j])
            bottom = framed[:, i + 1, j] + (u - j) * (framed[:, i + 1, j + 1] - framed[:, i + 1, j])
            out[:, y, x] = top + (v - i) * (bottom - top)
    reach = abs(inverse).max() * (max(H, W) + settings["translation"]) + abs(field).max()
    return out, 255 * reach


def map_loss_second(penalties, j):
    """That of eq. 9 by each penalty: p (1 - p) / N."""
    penalties = np.asarray(penalties, np.float64)
    p = np.exp(-penalties) / (np.exp(-j) + np.exp(-penalties).sum(axis=1, keepdims=True))
    return p * (1 - p) / len(penalties)
