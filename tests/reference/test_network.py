"""The two nets, written out, compared with the models."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lenet5c import nn, reference

EPS = np.finfo(np.float32).eps


def samples(rng, count, side):
    return rng.standard_normal((count, 1, side, side)).astype(np.float32), rng.integers(
        10, size=count
    )


def assert_close(actual, expected, eps=64):
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual - expected) <= eps * EPS * np.linalg.norm(expected)


def assert_directional(loss, params, grads, rng):
    """Compare gradients with the slope of the loss along a random direction, for each parameter."""
    for name, gradient in grads.items():
        direction, h = rng.standard_normal(gradient.shape), 1e-6
        ahead, behind = (
            loss(params | {name: params[name] + sign * h * direction}) for sign in (1, -1)
        )
        slope = np.sum(gradient * direction)
        assert_allclose((ahead - behind) / (2 * h), slope, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("side, padding, pooling", [(32, 0, "avg"), (28, 2, "max"), (28, 2, "avg")])
def test_lenet5(rng, side, padding, pooling):
    model = nn.LeNet5(input_size=side, padding=(padding, 0), pooling=pooling, rng=0)
    x, labels = samples(rng, 3, side)
    logits, values = reference.lenet5(x, model.params, padding, pooling)
    assert list(values) == ["x", *model.layers]
    assert_close(model.forward(x, training=True), logits)
    _loss, dlogits = reference.cross_entropy(logits, labels)
    dx, grads = reference.lenet5_backward(dlogits, model.params, values, padding, pooling)
    assert_close(model.backward(dlogits.astype(np.float32)), dx)
    assert set(grads) == set(model.grads)
    for name, gradient in grads.items():
        assert_close(model.grads[name], gradient)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_gradients_of_lenet5(rng, pooling):
    params = {name: array.astype(float) for name, array in nn.LeNet5(rng=0).params.items()}
    x, labels = samples(rng, 2, 32)

    def loss(params):
        return reference.cross_entropy(reference.lenet5(x, params, 0, pooling)[0], labels)[0]

    logits, values = reference.lenet5(x, params, 0, pooling)
    _, dlogits = reference.cross_entropy(logits, labels)
    grads = reference.lenet5_backward(dlogits, params, values, 0, pooling)[1]
    assert_directional(loss, params, grads, rng)


class TestLeNet5Of1998:
    def net(self):
        model = nn.LeNet5_1998(rng=0)
        table, codes = model["c3"].connection_table, model["output"].buffers["codes"]
        return model, table, codes

    def test_is_the_model(self, rng):
        model, table, codes = self.net()
        x, labels = samples(rng, 3, 32)
        penalties, values = reference.lenet5_1998(x, model.params, table, codes)
        assert list(values) == ["x", *model.layers]
        assert_close(model.forward(x, training=True), penalties)
        _, dpenalties = reference.mle_loss(penalties, labels)
        dx, grads = reference.lenet5_1998_backward(dpenalties, model.params, table, codes, values)
        assert_close(model.backward(dpenalties.astype(np.float32)), dx)
        assert set(grads) == set(model.grads)
        for name, gradient in grads.items():
            assert_close(model.grads[name], gradient)

    def test_gradients(self, rng):
        model, table, codes = self.net()
        params = {name: array.astype(float) for name, array in model.params.items()}
        x, labels = samples(rng, 2, 32)

        def loss(params):
            penalties, _ = reference.lenet5_1998(x, params, table, codes)
            return reference.map_loss(penalties, labels, j=100)[0]

        penalties, values = reference.lenet5_1998(x, params, table, codes)
        _, dpenalties = reference.map_loss(penalties, labels, j=100)
        grads = reference.lenet5_1998_backward(dpenalties, params, table, codes, values)[1]
        assert_directional(loss, params, grads, rng)

    @pytest.mark.parametrize("loss", [nn.MLELoss(), nn.MAPLoss(100.0, "exact")], ids=repr)
    def test_second_derivatives_are_the_models(self, rng, loss):
        model, table, codes = self.net()
        x, labels = samples(rng, 3, 32)
        penalties, values = reference.lenet5_1998(x, model.params, table, codes)
        if not isinstance(loss, nn.MAPLoss):
            dpenalties = reference.mle_loss(penalties, labels)[1]
            d2penalties = reference.mle_loss_second(penalties)
        else:
            dpenalties = reference.map_loss(penalties, labels, 100)[1]
            d2penalties = reference.map_loss_second(penalties, 100)
        _, curvatures = reference.lenet5_1998_backward_second(
            d2penalties, dpenalties, model.params, table, codes, values
        )
        model.second_derivatives(x, labels, loss)
        assert set(curvatures) == set(model.curvatures)
        for name, curvature in curvatures.items():
            assert_close(model.curvatures[name], curvature, eps=256)
