"""Second derivatives of whole models: nets, the paper's step sizes, threads, errors."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from second_references import reference_backward

from lenet5c import nn, optim, reference, set_num_threads
from lenet5c.datasets import Preparation, mnist

EPS = np.finfo(np.float32).eps


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape, seed=1):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


def assert_close(actual, expected, eps=16):
    """Within `eps` float32 roundings of each value: sums of nonnegative terms lose no digits."""
    assert actual.dtype == np.float32
    assert_allclose(actual, expected, rtol=eps * EPS, atol=1e-30)


def small_net():
    return nn.Sequential(
        {
            "conv1": nn.Conv2d(1, 2, 3, padding=1, rng=0),
            "act1": nn.Tanh(),
            "pool1": nn.AvgPool2d(2),
            "conv2": nn.Conv2d(2, 3, 2, rng=1),
            "act2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(3, 4, rng=2),
        }
    )


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss()], ids=repr)
def test_a_net_matches_the_reference(loss):
    """Layer by layer in float64; the inputs of the layers are the reference's own."""
    model, samples, labels = small_net(), normal(4, 1, 6, 6), np.array([0, 3, 1, 2])
    counterparts = ["conv2d", "tanh", "avg_pool2d", "conv2d", "relu", "max_pool2d", None, "linear"]
    options = [{"padding": 1}, {}, {"kernel_size": 2}, {}, {}, {"kernel_size": 2}, {}, {}]
    x, backwards = samples.astype(np.float64), []
    for layer, name, option in zip(model.layers.values(), counterparts, options, strict=True):
        if name is None:
            backwards.append(lambda dy, shape=x.shape: [dy.reshape(shape)])
            x = x.reshape(len(x), -1)
            continue
        backwards.append(reference_backward(layer, x, name, option))
        params = [array.astype(np.float64) for array in layer.params.values()]
        x = getattr(reference, name)(x, *params, **option)
    d2 = (
        reference.cross_entropy_second(x)
        if isinstance(loss, nn.CrossEntropyLoss)
        else reference.mse_loss_second(x)
    )
    curvatures = []
    for backward in reversed(backwards):
        d2, *of_params = reference.backward_second(backward, d2)
        curvatures = [*of_params, *curvatures]
    actual = model.second_derivatives(samples, labels, loss)
    assert_allclose(actual, np.concatenate([each.ravel() for each in curvatures]), rtol=2e-5)
    assert list(model.curvatures) == list(model.params)
    for name, expected in zip(model.curvatures, curvatures, strict=True):
        assert_allclose(model.curvatures[name], expected, rtol=2e-5)


class TestLeNet5Of1998:
    """The whole net at its smallest size, layer by layer in float64, eq. 25 and 27."""

    LOSSES = [nn.MLELoss(), nn.MAPLoss(0.1), nn.MAPLoss(100.0, "exact"), nn.MAPLoss(0.1, "exact")]

    def expected(self, model, samples, labels, loss):
        counterparts = {
            nn.ScaledTanh: "scaled_tanh",
            nn.Subsample2d: "subsample2d",
            nn.Linear: "linear",
        }
        x, backwards = samples.astype(np.float64), []
        *layers, output = model.layers.values()
        for layer in layers:
            params = [array.astype(np.float64) for array in layer.params.values()]
            if isinstance(layer, nn.Flatten):
                backwards.append(lambda dy, shape=x.shape: [dy.reshape(shape)])
                x = x.reshape(len(x), -1)
                continue
            name, options = counterparts.get(type(layer), "conv2d"), {}
            if name == "conv2d" and layer.connection_table is not None:
                name, options = "connected_conv2d", {"table": layer.connection_table}
            backwards.append(reference_backward(layer, x, name, options))
            x = getattr(reference, name)(x, *params, **options)
        codes = output.buffers["codes"].astype(np.float64)
        y = reference.rbf(x, codes)
        N, distance = len(x), x[:, None] - codes
        dy, d2y = reference.mle_loss(y, labels)[1], np.zeros(y.shape)
        if getattr(loss, "curvature", "") == "exact":
            dy, d2y = reference.map_loss(y, labels, loss.j)[1], reference.map_loss_second(y, loss.j)
        d2 = (4 * d2y[:, :, None] * distance**2).sum(axis=1) + 2 * dy.sum(axis=1, keepdims=True)
        if getattr(loss, "curvature", "") != "exact":
            assert_allclose(d2, 2 / N)  # of the mean loss
        curvatures = []
        for backward in reversed(backwards):
            d2, *of_params = reference.backward_second(backward, d2)
            curvatures = [*of_params, *curvatures]
        return curvatures

    @pytest.mark.parametrize(
        "loss, batch",
        list(zip(LOSSES, (1, 1, 2, 1), strict=True)),
        ids=["mle", "map", "map-exact", "map-exact-small"],
    )
    def test_matches_the_reference(self, loss, batch):
        model = nn.LeNet5_1998(input_size=16, rng=3)
        model["output"].buffers["codes"] *= np.float32(0.2)  # so that classes compete
        samples, labels = normal(batch, 1, 16, 16, seed=4), np.array([3, 8])[:batch]
        curvatures = self.expected(model, samples, labels, loss)
        model.second_derivatives(samples, labels, loss)
        for name, expected in zip(model.curvatures, curvatures, strict=True):
            # Those of a loss that is not constant may cancel, down to below zero.
            assert_allclose(
                model.curvatures[name],
                expected,
                rtol=5e-5,
                atol=5e-5 * abs(expected).max(),
                err_msg=name,
            )

    @pytest.mark.parametrize("threads", [2, 3])
    def test_bits_do_not_depend_on_threads(self, threads):
        samples, labels = lenet_data(130)
        model, offset = nn.LeNet5_1998(rng=0), np.full((1, 32, 32), -0.1, np.float32)
        samples = nn.Samples(samples, scale=0.005, offset=offset)
        for loss in self.LOSSES:
            set_num_threads(1)
            expected = model.second_derivatives(samples, labels, loss).tobytes()
            set_num_threads(threads)
            assert model.second_derivatives(samples, labels, loss).tobytes() == expected


def first_step_sizes(init, seed):
    """Step sizes of the paper's first epoch: eta over mu plus the curvature of 500 samples."""
    train, _ = mnist()
    train = train.take(np.arange(500))
    preparation = Preparation(size=(32, 32), mean=0.1 / 1.275, std=1 / 1.275)
    offset = preparation.offset(1)
    assert_allclose(
        [offset.min(), 255 * preparation.scale + offset.max()], [-0.1, 1.175], rtol=1e-6
    )
    model = nn.LeNet5_1998(init=init, rng=seed)
    optimizer = optim.SDLM(model, 5e-4, mu=0.02)
    images = preparation.fit_images(train.images)
    samples = nn.Samples(images, scale=preparation.scale, offset=offset)
    optimizer.estimate(samples, train.labels, nn.MLELoss())
    return model, optimizer.step_sizes()


class TestStepSizesOfThePaper:
    """The paper quotes 7e-5 to 0.016 for its first pass."""

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_as_printed(self, seed):
        """With U(-2.4 / F, 2.4 / F) they differ, with the same extremes for every seed.

        The least are those of F6's biases, whose curvature is 2 (A S)^2, as their units are in the
        middle of the tangent. The greatest are eta / mu, where the curvature is next to nothing.
        """
        model, sizes = first_step_sizes("printed", seed)
        assert_allclose(sizes.min(), 1.896e-4, rtol=1e-3)
        end = model.store.offset(model["f6"], "bias")
        assert_allclose(sizes[end : end + 84], 1.896e-4, rtol=5e-3)
        assert sizes.argmin() in range(end, end + 84)
        assert_allclose(sizes.max(), 0.0250, rtol=1e-2)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_as_fitted(self, seed):
        _, sizes = first_step_sizes("fitted", seed)
        assert 6.5e-5 < sizes.min() < 8.6e-5
        assert 0.0105 < sizes.max() < 0.0165


def lenet_data(count=250):
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, 1, 32, 32)).astype(np.uint8), rng.integers(0, 10, count)


def test_the_mean_over_chunks_is_the_mean_over_samples():
    samples, labels = lenet_data()
    model, loss = nn.LeNet5(activation="tanh", rng=0), nn.CrossEntropyLoss()
    pixels = samples.astype(np.float32) * np.float32(1 / 255) + np.zeros(
        samples.shape[1:], np.float32
    )
    whole = model.second_derivatives(pixels, labels, loss).copy()
    y = model.forward(pixels, training=True)
    model.backward_second(loss.second(y, labels)[1])
    assert_allclose(whole, model.curvature_vector, rtol=64 * EPS, atol=1e-12)

    index = np.random.default_rng(4).permutation(250)[:130]
    chosen = model.second_derivatives(pixels[index], labels[index], loss).copy()
    offset = np.zeros(samples.shape[1:], np.float32)
    packed = model.second_derivatives(
        nn.Samples(samples, index, 1 / 255, offset), labels[index], loss
    )
    assert_array_equal(packed, chosen)


@pytest.mark.parametrize("activation, pooling", [("relu", "max"), ("tanh", "avg")])
def test_bits_do_not_depend_on_threads(activation, pooling):
    samples, labels = lenet_data()
    model = nn.LeNet5(activation=activation, pooling=pooling, rng=0)
    offset = np.zeros(samples.shape[1:], np.float32)
    results = []
    for threads in (1, 2, 3, 8):
        set_num_threads(threads)
        results.append(
            model.second_derivatives(
                nn.Samples(samples, scale=1 / 255, offset=offset), labels, nn.CrossEntropyLoss()
            ).tobytes()
        )
    assert len(set(results)) == 1


def test_nothing_is_negative():
    """Most pixels are black; Winograd's sums of such terms would sometimes round below zero."""
    samples, labels = lenet_data(100)
    samples[:, :, :, 4:28] = 0
    model = nn.LeNet5(rng=0)
    offset = np.zeros(samples.shape[1:], np.float32)
    curvature = model.second_derivatives(
        nn.Samples(samples, offset=offset), labels, nn.CrossEntropyLoss()
    )
    assert curvature.min() >= 0
    assert np.isfinite(curvature).all() and curvature.max() > 0


class TestWhatIsLeftAlone:
    def model(self):
        return nn.Sequential(
            nn.Linear(5, 6, rng=0),
            nn.BatchNorm1d(6),
            nn.Tanh(),
            nn.Dropout(0.5, rng=1),
            nn.Sequential(nn.Linear(6, 4, rng=2), nn.ReLU()),
            nn.Linear(4, 3, rng=3),
        )

    def test_everything_but_curvatures(self):
        model = self.model()
        model.train_step(normal(9, 5), np.arange(9) % 3, nn.CrossEntropyLoss())
        grads, state, random = (model.grad_vector.copy(), model.state_dict(), model[3].rng_state)
        first = model.second_derivatives(
            normal(9, 5), np.arange(9) % 3, nn.CrossEntropyLoss()
        ).copy()
        assert_array_equal(model.grad_vector, grads)
        assert model[3].rng_state == random
        for name, array in model.state_dict().items():
            assert_array_equal(array, state[name])
        again = model.second_derivatives(normal(9, 5), np.arange(9) % 3, nn.CrossEntropyLoss())
        assert_array_equal(again, first)

    def test_also_when_it_fails(self):
        model = self.model()
        state, random = model.state_dict(), model[3].rng_state
        with pytest.raises(ValueError, match="labels"):
            model.second_derivatives(normal(9, 5), np.full(9, 3), nn.CrossEntropyLoss())
        assert model[3].rng_state == random
        for name, array in model.state_dict().items():
            assert_array_equal(array, state[name])

    def test_a_copy_has_curvatures_of_its_own(self):
        model = self.model()
        model.second_derivatives(normal(9, 5), np.arange(9) % 3, nn.CrossEntropyLoss())
        counterpart = copy.deepcopy(model)
        assert not counterpart.curvature_vector.any()
        assert model.curvature_vector.any()


class Probe(nn.Layer):
    """Identity layer that stores its input."""

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy

    def backward_second(self, d2y, dy=None):
        self.given = dy
        return d2y


def test_only_the_last_layer_is_given_the_first_derivatives():
    first, last = Probe(), Probe()
    model = nn.Sequential(first, nn.Sequential(nn.Linear(3, 2, rng=0), last))
    x, labels = normal(4, 3), np.array([0, 1, 1, 0])
    model.second_derivatives(x, labels, nn.CrossEntropyLoss())
    assert_array_equal(
        last.given, nn.CrossEntropyLoss()(model.forward(x, training=True), labels)[1]
    )
    assert first.given is None


def test_a_layer_of_ones_own_may_have_curvatures():
    class Scale(nn.Layer):
        def __init__(self):
            self.params["factor"] = np.full(1, 3)

        def forward(self, x, training=False):
            self.x = x
            return x * self.params["factor"]

        def backward_second(self, d2y, dy=None):
            self.curvatures["factor"] = np.sum(d2y * self.x**2, keepdims=True).reshape(1)
            return d2y * self.params["factor"] ** 2

    model = nn.Sequential(Scale(), nn.Flatten())
    x = normal(4, 1)
    curvature = model.second_derivatives(x, np.zeros(4, int), nn.MSELoss())
    assert_allclose(curvature, [2 * np.mean(x**2)], rtol=4 * EPS)


class TestErrors:
    def test_no_backward_second(self):
        class Mine(nn.Layer):
            def forward(self, x, training=False):
                return x

        with pytest.raises(
            NotImplementedError, match="Mine has no backward_second; implement it, or .* SDLM"
        ):
            nn.Sequential(nn.Linear(2, 2, rng=0), Mine()).second_derivatives(
                normal(3, 2), np.zeros(3, int), nn.CrossEntropyLoss()
            )

    @pytest.mark.parametrize(
        "layer",
        [
            nn.Conv2d(1, 2, 3),
            nn.Subsample2d(2),
            nn.RBF(),
            nn.ScaledTanh(),
            nn.Linear(3, 2),
            nn.ReLU(),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.BatchNorm1d(2),
            nn.Sequential(nn.Linear(3, 2)),
        ],
        ids=repr,
    )
    def test_no_forward(self, layer):
        with pytest.raises(RuntimeError, match=r"forward\(x, training=True\)"):
            layer.backward_second(positive(1, 2))

    @pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.BatchNorm1d(3)], ids=repr)
    def test_wrong_shape(self, layer):
        layer.forward(normal(4, 3), training=True)
        with pytest.raises(ValueError, match=r"d2y must be float32 .*\(4, .*got float32 \(4, 7\)"):
            layer.backward_second(positive(4, 7))

    def test_wrong_shape_of_new_layers(self):
        layer = nn.RBF(normal(3, 4))
        layer.forward(normal(5, 4), training=True)
        with pytest.raises(
            ValueError, match=r"d2y must be float32 .*\(5, 3\).*got float32 \(5, 2\)"
        ):
            layer.backward_second(positive(5, 2))
        with pytest.raises(
            ValueError, match=r"dy must be float32 .*\(5, 3\).*got float64 \(5, 3\)"
        ):
            layer.backward_second(positive(5, 3), np.zeros((5, 3)))
        layer = nn.Subsample2d(2)
        layer.forward(normal(3, 2, 5, 5), training=True)
        with pytest.raises(
            ValueError, match=r"d2y must be float32 .*\(3, 2, 2, 2\).*got float32 \(3, 2, 3, 2\)"
        ):
            layer.backward_second(positive(3, 2, 3, 2))

    def test_no_samples(self):
        with pytest.raises(ValueError, match="samples must have at least one sample, got none"):
            nn.Sequential(nn.Linear(3, 2)).second_derivatives(
                normal(0, 3), np.zeros(0, int), nn.CrossEntropyLoss()
            )
