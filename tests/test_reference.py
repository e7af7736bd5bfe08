"""The reference is right: central differences for every backward, hand-computed values, agreement with PyTorch."""

import numpy as np
import pytest
import reference
from numpy.testing import assert_allclose, assert_array_equal

# (x, weight, options): strides, paddings, dilations, groups, kernels and images that are not square
CONVOLUTIONS = [
    ((2, 1, 5, 5), (1, 1, 1, 1), {}),
    ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    ((1, 2, 7, 6), (3, 2, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 2, 6, 8), (2, 2, 2, 3), {"stride": (1, 3), "padding": (2, 0)}),
    ((1, 2, 8, 7), (2, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    ((2, 4, 5, 6), (6, 2, 3, 3), {"groups": 2, "stride": (2, 1), "padding": (1, 2)}),
    ((2, 3, 5, 5), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    ((1, 3, 7, 7), (6, 1, 2, 3), {"groups": 3, "stride": 2, "padding": 1, "dilation": 2}),
    ((1, 2, 5, 5), (1, 2, 1, 2), {"stride": 3, "padding": 2}),
    ((2, 1, 4, 6), (3, 1, 4, 6), {}),
]

# (x, options)
POOLINGS = [
    ((2, 3, 6, 4), {"kernel_size": 2}),
    ((1, 2, 7, 5), {"kernel_size": 2}),
    ((2, 2, 7, 6), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 8), {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0)}),
    ((2, 1, 5, 5), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ((1, 1, 7, 8), {"kernel_size": 2, "stride": 3, "padding": 1}),
    ((1, 2, 3, 5), {"kernel_size": (3, 5)}),
]

# (x, options)
UNFOLDINGS = [
    ((2, 3, 5, 4), {"kernel_size": 2}),
    ((1, 2, 7, 6), {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)}),
    ((2, 2, 8, 7), {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (1, 2)}),
    ((1, 1, 5, 5), {"kernel_size": 1, "stride": 3}),
]

MATRICES = [(5, 3), (2, 7)]
IMAGES = [(4, 3, 2, 3), (2, 1, 5, 2)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def numeric_gradient(f, x, dy, h=1e-5):
    """Central differences of sum(f(x) * dy) along every element of x."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = h
        gradient[at] = np.sum((f(x + step) - f(x - step)) * dy) / (2 * h)
    return gradient


def assert_gradient(actual, f, x, dy=1.0):
    expected = numeric_gradient(f, x, dy)
    assert actual.shape == x.shape
    assert_allclose(actual, expected, rtol=1e-7, atol=1e-8 * max(1, np.abs(expected).max()))


def distinct(rng, shape):
    """Values further apart than a difference step, none of them 0, so that no maximum and no sign changes."""
    count = np.prod(shape)
    return 0.01 * (rng.permutation(count).reshape(shape) - count // 2 + 0.5)


class TestGradients:
    @pytest.mark.parametrize("shape, weight_shape, options", CONVOLUTIONS)
    def test_conv2d(self, rng, shape, weight_shape, options):
        x, weight, bias = map(rng.standard_normal, (shape, weight_shape, weight_shape[0]))
        dy = rng.standard_normal(reference.conv2d(x, weight, bias, **options).shape)
        dx, dweight, dbias = reference.conv2d_backward(dy, x, weight, **options)
        assert_gradient(dx, lambda x: reference.conv2d(x, weight, bias, **options), x, dy)
        assert_gradient(dweight, lambda weight: reference.conv2d(x, weight, bias, **options), weight, dy)
        assert_gradient(dbias, lambda bias: reference.conv2d(x, weight, bias, **options), bias, dy)

    @pytest.mark.parametrize("shape, options", POOLINGS)
    def test_max_pool2d(self, rng, shape, options):
        x = distinct(rng, shape)
        dy = rng.standard_normal(reference.max_pool2d(x, **options).shape)
        dx = reference.max_pool2d_backward(dy, x, **options)
        assert_gradient(dx, lambda x: reference.max_pool2d(x, **options), x, dy)

    @pytest.mark.parametrize("count_include_pad", [True, False])
    @pytest.mark.parametrize("shape, options", POOLINGS)
    def test_avg_pool2d(self, rng, shape, options, count_include_pad):
        options = options | {"count_include_pad": count_include_pad}
        x = rng.standard_normal(shape)
        dy = rng.standard_normal(reference.avg_pool2d(x, **options).shape)
        dx = reference.avg_pool2d_backward(dy, shape, **options)
        assert_gradient(dx, lambda x: reference.avg_pool2d(x, **options), x, dy)

    @pytest.mark.parametrize("shape, options", UNFOLDINGS)
    def test_im2col_and_col2im(self, rng, shape, options):
        x = rng.standard_normal(shape)
        dcol = rng.standard_normal(reference.im2col(x, **options).shape)
        dx = reference.col2im(dcol, shape[2:], **options)
        assert_gradient(dx, lambda x: reference.im2col(x, **options), x, dcol)

    def test_linear(self, rng):
        x, weight, bias, dy = map(rng.standard_normal, ((4, 3), (5, 3), 5, (4, 5)))
        dx, dweight, dbias = reference.linear_backward(dy, x, weight)
        assert_gradient(dx, lambda x: reference.linear(x, weight, bias), x, dy)
        assert_gradient(dweight, lambda weight: reference.linear(x, weight, bias), weight, dy)
        assert_gradient(dbias, lambda bias: reference.linear(x, weight, bias), bias, dy)

    def test_connected_conv2d(self, rng):
        table = [[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]]
        x, filters, bias = map(rng.standard_normal, ((2, 3, 5, 6), (7, 3, 2), 4))
        options = {"table": table, "stride": (1, 2), "padding": 1}
        dy = rng.standard_normal(reference.connected_conv2d(x, filters, bias, **options).shape)
        dx, dfilters, dbias = reference.connected_conv2d_backward(dy, x, filters, **options)
        assert_gradient(dx, lambda x: reference.connected_conv2d(x, filters, bias, **options), x, dy)
        assert_gradient(dfilters, lambda filters: reference.connected_conv2d(x, filters, bias, **options), filters, dy)
        assert_gradient(dbias, lambda bias: reference.connected_conv2d(x, filters, bias, **options), bias, dy)

    @pytest.mark.parametrize("shape, kernel_size", [((2, 3, 4, 6), 2), ((1, 2, 7, 5), (3, 2)), ((2, 1, 3, 4), (1, 4))])
    def test_subsample2d(self, rng, shape, kernel_size):
        x, weight, bias = map(rng.standard_normal, (shape, shape[1], shape[1]))
        dy = rng.standard_normal(reference.subsample2d(x, weight, bias, kernel_size).shape)
        dx, dweight, dbias = reference.subsample2d_backward(dy, x, weight, kernel_size)
        assert_gradient(dx, lambda x: reference.subsample2d(x, weight, bias, kernel_size), x, dy)
        assert_gradient(dweight, lambda weight: reference.subsample2d(x, weight, bias, kernel_size), weight, dy)
        assert_gradient(dbias, lambda bias: reference.subsample2d(x, weight, bias, kernel_size), bias, dy)

    def test_rbf(self, rng):
        x, codes, dy = map(rng.standard_normal, ((4, 3), (5, 3), (4, 5)))
        assert_gradient(reference.rbf_backward(dy, x, codes), lambda x: reference.rbf(x, codes), x, dy)

    @pytest.mark.parametrize("options", [{}, {"amplitude": -0.5, "slope": 3}])
    def test_scaled_tanh(self, rng, options):
        x, dy = rng.standard_normal((2, 3, 7))
        backward = reference.scaled_tanh_backward(dy, reference.scaled_tanh(x, **options), **options)
        assert_gradient(backward, lambda x: reference.scaled_tanh(x, **options), x, dy)

    @pytest.mark.parametrize("j", [0.1, 3, 30])
    def test_losses_of_penalties(self, rng, j):
        penalties, labels = rng.uniform(0, 10, (4, 6)), np.array([0, 5, 2, 2])
        assert_gradient(reference.mle_loss(penalties, labels)[1], lambda y: reference.mle_loss(y, labels)[0], penalties)
        assert_gradient(
            reference.map_loss(penalties, labels, j)[1], lambda y: reference.map_loss(y, labels, j)[0], penalties)

    @pytest.mark.parametrize("shape", MATRICES + IMAGES)
    @pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
    def test_activation(self, rng, name, shape):
        forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
        x, dy = 10 * distinct(rng, shape), rng.standard_normal(shape)
        assert_gradient(backward(dy, forward(x)), forward, x, dy)

    @pytest.mark.parametrize("label_smoothing", [0, 0.1, 1])
    def test_cross_entropy(self, rng, label_smoothing):
        logits, labels = 3 * rng.standard_normal((4, 6)), np.array([0, 5, 2, 2])
        _, dlogits = reference.cross_entropy(logits, labels, label_smoothing)
        assert_gradient(dlogits, lambda z: reference.cross_entropy(z, labels, label_smoothing)[0], logits)

    @pytest.mark.parametrize("shape", MATRICES + IMAGES)
    def test_mse(self, rng, shape):
        pred, target = map(rng.standard_normal, (shape, shape))
        _, dpred = reference.mse(pred, target)
        assert_gradient(dpred, lambda pred: reference.mse(pred, target)[0], pred)

    @pytest.mark.parametrize("eps", [1e-5, 0.1])
    @pytest.mark.parametrize("shape", [(5, 3), (7, 2), *IMAGES])
    def test_batch_norm(self, rng, shape, eps):
        x, weight, bias, dy = map(rng.standard_normal, (shape, shape[1], shape[1], shape))
        dx, dweight, dbias = reference.batch_norm_backward(dy, x, weight, eps)
        assert_gradient(dx, lambda x: reference.batch_norm(x, weight, bias, eps), x, dy)
        assert_gradient(dweight, lambda weight: reference.batch_norm(x, weight, bias, eps), weight, dy)
        assert_gradient(dbias, lambda bias: reference.batch_norm(x, weight, bias, eps), bias, dy)


class TestByHand:
    X = np.arange(1.0, 10).reshape(1, 1, 3, 3)

    def test_conv2d(self):
        weight = np.array([[[[1.0, 2], [3, 4]]]])
        y = reference.conv2d(self.X, weight, np.array([0.5]))
        assert_array_equal(y, [[[[37.5, 47.5], [67.5, 77.5]]]])  # correlation: 1*1 + 2*2 + 4*3 + 5*4 + 0.5, ...
        assert_array_equal(reference.conv2d(self.X, weight, dilation=2), [[[[1 + 6 + 21 + 36]]]])
        assert_array_equal(reference.conv2d(self.X, weight, stride=3, padding=1), [[[[4, 9], [14, 9]]]])

    def test_conv2d_groups_keep_channels_apart(self):
        x = np.array([1.0, 10, 100, 1000]).reshape(1, 4, 1, 1)
        weight = np.array([[1.0, 2], [3, 4]]).reshape(2, 2, 1, 1)
        assert_array_equal(reference.conv2d(x, weight, groups=2).ravel(), [21, 4300])

    def test_conv2d_backward(self):
        dx, dweight, dbias = reference.conv2d_backward(np.ones((1, 1, 2, 2)), self.X, np.array([[[[1.0, 2], [3, 4]]]]))
        assert_array_equal(dx, [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]])
        assert_array_equal(dweight, [[[[12, 16], [24, 28]]]])
        assert_array_equal(dbias, [4])

    def test_max_pool2d(self):
        assert_array_equal(reference.max_pool2d(self.X, 2), [[[[5]]]])
        assert_array_equal(reference.max_pool2d(-self.X, 2, padding=1), [[[[-1, -2], [-4, -5]]]])

    def test_max_pool2d_ties_go_to_the_first(self):
        dx = reference.max_pool2d_backward(np.array([[[[1.0, 2], [3, 4]]]]), np.zeros((1, 1, 3, 3)), 2, 1)
        assert_array_equal(dx, [[[[1, 2, 0], [3, 4, 0], [0, 0, 0]]]])

    def test_max_pool2d_border_never_takes_the_gradient(self):
        dx = reference.max_pool2d_backward(np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), -np.inf), 2, padding=1)
        assert_array_equal(dx, [[[[1]]]])

    def test_avg_pool2d(self):
        assert_array_equal(reference.avg_pool2d(self.X, 2), [[[[3]]]])
        assert_array_equal(reference.avg_pool2d(self.X, 2, padding=1), [[[[0.25, 1.25], [2.75, 7]]]])
        y = reference.avg_pool2d(self.X, 2, padding=1, count_include_pad=False)
        assert_array_equal(y, [[[[1, 2.5], [5.5, 7]]]])
        dx = reference.avg_pool2d_backward(np.full((1, 1, 1, 1), 4.0), (1, 1, 3, 3), 2)
        assert_array_equal(dx, [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]])

    def test_im2col_and_col2im(self):
        col = reference.im2col(self.X, 2)
        assert_array_equal(col, [[[1, 2, 4, 5], [2, 3, 5, 6], [4, 5, 7, 8], [5, 6, 8, 9]]])
        assert_array_equal(reference.col2im(col, (3, 3), 2), self.X * [[1, 2, 1], [2, 4, 2], [1, 2, 1]])

    def test_linear(self):
        x, weight, bias = np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6]]), np.array([10.0, 20])
        assert_array_equal(reference.linear(x, weight, bias), [[21, 37]])

    def test_activations_far_out(self):
        x = np.array([-1e4, 0, 1e4])
        assert_array_equal(reference.relu(x), [0, 0, 1e4])
        assert_array_equal(reference.sigmoid(x), [0, 0.5, 1])
        assert_array_equal(reference.tanh(x), [-1, 0, 1])

    def test_losses(self):
        loss, dlogits = reference.cross_entropy(np.zeros((2, 4)), np.array([1, 3]))
        assert_allclose(loss, np.log(4))
        assert_allclose(dlogits, np.array([[1, -3, 1, 1], [1, 1, 1, -3]]) / 8)
        loss, _ = reference.cross_entropy(np.array([[1e4, 0.0]]), np.array([1]))
        assert loss == 1e4
        loss, dpred = reference.mse(np.array([[1.0, 2]]), np.array([[0.0, 4]]))
        assert loss == 2.5
        assert_array_equal(dpred, [[1, -2]])

    def test_batch_norm(self):
        y = reference.batch_norm(np.array([[1.0], [3.0]]), weight=[2.0], bias=[10.0], eps=0)
        assert_array_equal(y, [[8], [12]])

    def test_sgd_step(self):
        p, v = reference.sgd_step(1.0, 0.5, 2.0, lr=0.1, momentum=0.5, weight_decay=0.5)
        assert (p, v) == pytest.approx((0.8, 2))
        p, v = reference.sgd_step(1.0, 0.5, 2.0, lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.5)
        assert (p, v) == pytest.approx((0.8, 2))
        p, v = reference.sgd_step(1.0, 0.5, 2.0, lr=0.1, momentum=0.5, nesterov=True)
        assert (p, v) == pytest.approx((0.875, 1.5))

    def test_first_adam_step_is_the_learning_rate(self):
        p, m, v = reference.adam_step(1.0, -8.0, 0.0, 0.0, t=1, lr=0.01, eps=0)
        assert (p, m, v) == pytest.approx((1.01, -0.8, 0.064))
        p, _, _ = reference.adam_step(1.0, -8.0, 0.0, 0.0, t=1, lr=0.01, eps=0, weight_decay=0.5, decoupled=True)
        assert p == pytest.approx(1.005)


def agree(actual, expected):
    """`expected`: a tensor of the same values, up to the rounding of float64."""
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape
    assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


class TestAgainstPyTorch:
    @pytest.mark.parametrize("shape, weight_shape, options", CONVOLUTIONS)
    def test_conv2d(self, torch, rng, shape, weight_shape, options):
        arrays = [rng.standard_normal(size) for size in (shape, weight_shape, weight_shape[0])]
        leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = torch.nn.functional.conv2d(*leaves, **options)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.conv2d(*arrays, **options), y)
        for gradient, leaf in zip(reference.conv2d_backward(dy, *arrays[:2], **options), leaves):
            agree(gradient, leaf.grad)

    @pytest.mark.parametrize("values", ["distinct", "ties"])
    @pytest.mark.parametrize("shape, options", POOLINGS)
    def test_max_pool2d(self, torch, rng, shape, options, values):
        x = distinct(rng, shape) if values == "distinct" else rng.integers(-2, 2, shape).astype(float)
        leaf = torch.tensor(x, requires_grad=True)
        y = torch.nn.functional.max_pool2d(leaf, **options)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.max_pool2d(x, **options), y)
        agree(reference.max_pool2d_backward(dy, x, **options), leaf.grad)

    @pytest.mark.parametrize("count_include_pad", [True, False])
    @pytest.mark.parametrize("shape, options", POOLINGS)
    def test_avg_pool2d(self, torch, rng, shape, options, count_include_pad):
        options = options | {"count_include_pad": count_include_pad}
        x = rng.standard_normal(shape)
        leaf = torch.tensor(x, requires_grad=True)
        y = torch.nn.functional.avg_pool2d(leaf, **options)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.avg_pool2d(x, **options), y)
        agree(reference.avg_pool2d_backward(dy, shape, **options), leaf.grad)

    @pytest.mark.parametrize("shape, options", UNFOLDINGS)
    def test_im2col_and_col2im(self, torch, rng, shape, options):
        x = rng.standard_normal(shape)
        col = torch.nn.functional.unfold(torch.tensor(x), **options)
        agree(reference.im2col(x, **options), col)
        agree(
            reference.col2im(col.numpy(), shape[2:], **options),
            torch.nn.functional.fold(col, shape[2:], **options),
        )

    def test_linear(self, torch, rng):
        arrays = [rng.standard_normal(size) for size in ((4, 3), (5, 3), 5)]
        leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = torch.nn.functional.linear(*leaves)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.linear(*arrays), y)
        for gradient, leaf in zip(reference.linear_backward(dy, *arrays[:2]), leaves):
            agree(gradient, leaf.grad)

    @pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
    def test_activation(self, torch, rng, name):
        x, dy = rng.standard_normal((2, 20))
        x[0] = 0
        leaf = torch.tensor(x, requires_grad=True)
        y = getattr(torch, name)(leaf)
        y.backward(torch.tensor(dy))
        agree(getattr(reference, name)(x), y)
        agree(getattr(reference, f"{name}_backward")(dy, getattr(reference, name)(x)), leaf.grad)

    @pytest.mark.parametrize("label_smoothing", [0, 0.1, 1])
    def test_cross_entropy(self, torch, rng, label_smoothing):
        logits, labels = 30 * rng.standard_normal((5, 7)), rng.integers(7, size=5)
        leaf = torch.tensor(logits, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels), label_smoothing=label_smoothing)
        expected.backward()
        loss, dlogits = reference.cross_entropy(logits, labels, label_smoothing)
        agree(loss, expected)
        agree(dlogits, leaf.grad)

    def test_mse(self, torch, rng):
        pred, target = rng.standard_normal((2, 4, 3))
        leaf = torch.tensor(pred, requires_grad=True)
        expected = torch.nn.functional.mse_loss(leaf, torch.tensor(target))
        expected.backward()
        loss, dpred = reference.mse(pred, target)
        agree(loss, expected)
        agree(dpred, leaf.grad)

    @pytest.mark.parametrize("shape", MATRICES + IMAGES)
    def test_batch_norm(self, torch, rng, shape):
        arrays = [rng.standard_normal(size) for size in (shape, shape[1], shape[1])]
        leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = torch.nn.functional.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=1e-3)
        dy = rng.standard_normal(y.shape)
        y.backward(torch.tensor(dy))
        agree(reference.batch_norm(*arrays, eps=1e-3), y)
        for gradient, leaf in zip(reference.batch_norm_backward(dy, *arrays[:2], eps=1e-3), leaves):
            agree(gradient, leaf.grad)

    @pytest.mark.parametrize("momentum, nesterov", [(0, False), (0.9, False), (0.9, True)])
    @pytest.mark.parametrize("weight_decay", [0, 0.1])
    def test_sgd(self, torch, rng, momentum, nesterov, weight_decay):
        options = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        p, v = rng.standard_normal(6), np.zeros(6)
        leaf = torch.tensor(p, requires_grad=True)
        optimizer = torch.optim.SGD([leaf], **options)
        for g in rng.standard_normal((4, 6)):
            leaf.grad = torch.tensor(g)
            optimizer.step()
            p, v = reference.sgd_step(p, g, v, **options)
            agree(p, leaf)

    @pytest.mark.parametrize("name, decoupled", [("Adam", False), ("AdamW", True)])
    @pytest.mark.parametrize("weight_decay", [0, 0.1])
    def test_adam(self, torch, rng, name, decoupled, weight_decay):
        options = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": weight_decay}
        p, m, v = rng.standard_normal(6), np.zeros(6), np.zeros(6)
        leaf = torch.tensor(p, requires_grad=True)
        optimizer = getattr(torch.optim, name)([leaf], **options)
        for t, g in enumerate(rng.standard_normal((4, 6)), start=1):
            leaf.grad = torch.tensor(g)
            optimizer.step()
            p, m, v = reference.adam_step(p, g, m, v, t, decoupled=decoupled, **options)
            agree(p, leaf)
