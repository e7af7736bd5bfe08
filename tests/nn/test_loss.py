"""Losses compared with their reference, also at extreme values; invalid arguments."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import nn, reference

EPS = np.finfo(np.float32).eps


def normal(*shape, seed=0, scale=1):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def labels_for(batch, classes):
    return np.random.default_rng(1).integers(classes, size=batch)


each_shape = pytest.mark.parametrize(
    "batch, classes", [(1, 1), (1, 2), (15, 10), (16, 10), (17, 3), (33, 47), (257, 10), (3, 1000)]
)


@in_one_test
@pytest.mark.parametrize("scale", [1e-3, 1, 30])
@pytest.mark.parametrize("label_smoothing", [0, 0.1, 0.9])
@each_shape
def test_cross_entropy(batch, classes, label_smoothing, scale):
    """Loss and gradient within 8 roundings of 1 (a probability) or of the largest logit."""
    logits, labels = normal(batch, classes, scale=scale), labels_for(batch, classes)
    loss, dlogits = nn.CrossEntropyLoss(label_smoothing=label_smoothing)(logits, labels)
    expected_loss, expected = reference.cross_entropy(logits, labels, label_smoothing)
    assert type(loss) is float
    assert (dlogits.dtype, dlogits.shape) == (np.float32, logits.shape)
    size = max(1, abs(logits).max())
    assert abs(loss - expected_loss) <= 8 * EPS * size
    assert_allclose(dlogits, expected, rtol=0, atol=8 * EPS * size / batch)


@each_shape
def test_mean_squared_error(batch, classes):
    """Two roundings each: of a difference and its square in double, and of the gradient."""
    outputs, target = normal(batch, classes), normal(batch, classes, seed=1)
    loss, doutputs = nn.MSELoss()(outputs, target)
    expected_loss, expected = reference.mse_loss(outputs, target)
    assert type(loss) is float
    assert_allclose(loss, expected_loss, rtol=2 * EPS)
    # The difference of two rounded numbers is rounded, the constant is, and their product.
    assert_allclose(doutputs, expected, rtol=2 * EPS)


def test_mean_squared_error_of_any_shape():
    outputs, target = normal(5, 2, 3, 4), normal(5, 2, 3, 4, seed=1)
    loss, doutputs = nn.MSELoss()(outputs, target)
    expected_loss, expected = reference.mse_loss(outputs, target)
    assert_allclose(loss, expected_loss, rtol=2 * EPS)
    assert_allclose(doutputs, expected, rtol=2 * EPS)


def test_mean_squared_error_of_classes():
    outputs, labels = normal(17, 5), labels_for(17, 5)
    for target in (labels, labels.astype(np.uint8)):
        loss, doutputs = nn.MSELoss()(outputs, target)
        expected_loss, expected = nn.MSELoss()(outputs, np.eye(5, dtype=np.float32)[labels])
        assert loss == expected_loss
        assert_array_equal(doutputs, expected)


@pytest.mark.parametrize("label_smoothing", [0, 0.1])
@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
class TestExtremeLogits:
    """exp would overflow beyond 88; the softmax is shifted by its maximum."""

    def check(self, logits, labels, label_smoothing):
        loss, dlogits = nn.CrossEntropyLoss(label_smoothing=label_smoothing)(logits, labels)
        expected_loss, expected = reference.cross_entropy(logits, labels, label_smoothing)
        assert np.isfinite(loss)
        assert np.all(np.isfinite(dlogits))
        assert_allclose(loss, expected_loss, rtol=4 * EPS, atol=4 * EPS)
        # Probabilities below the smallest float32 come out as that, 1e-38.
        assert_allclose(dlogits, expected, rtol=4 * EPS, atol=EPS / len(labels))

    def test_one_is_larger(self, size, label_smoothing):
        logits = np.zeros((10, 10), np.float32)
        logits[np.arange(10), np.arange(10)] = size
        self.check(logits, np.arange(10), label_smoothing)  # all right
        self.check(logits, np.roll(np.arange(10), 1), label_smoothing)  # all wrong

    def test_one_is_smaller(self, size, label_smoothing):
        logits = np.zeros((17, 10), np.float32)
        logits[:, 3] = -size
        self.check(logits, np.full(17, 3), label_smoothing)
        self.check(logits, np.full(17, 4), label_smoothing)

    def test_both_ends(self, size, label_smoothing):
        logits = size * np.sign(normal(17, 10))
        self.check(logits, labels_for(17, 10), label_smoothing)

    def test_all_equal(self, size, label_smoothing):
        for value in (size, -size):
            loss, dlogits = nn.CrossEntropyLoss(label_smoothing=label_smoothing)(
                np.full((3, 10), value, np.float32), np.arange(3)
            )
            # Differences of numbers near `size`, in double.
            assert_allclose(loss, np.log(10), rtol=4 * EPS, atol=4 * np.finfo(float).eps * size)
            assert_allclose(dlogits[0, 1:], (0.1 - label_smoothing / 10) / 3, rtol=4 * EPS)


@pytest.mark.parametrize("size", [1e4, 1e18])
def test_extreme_errors_of_mse(size):
    outputs = np.full((3, 2), size, np.float32)
    loss, doutputs = nn.MSELoss()(outputs, -outputs)
    assert_allclose(loss, 4 * size**2, rtol=4 * EPS)
    assert_allclose(doutputs, 2 * 2 * size / 6, rtol=4 * EPS)


@each_shape
def test_maximum_likelihood(batch, classes):
    """A sum of penalties in double, and a gradient of one constant."""
    penalties, labels = 100 * abs(normal(batch, classes)), labels_for(batch, classes)
    loss, dpenalties = nn.MLELoss()(penalties, labels)
    expected_loss, expected = reference.mle_loss(penalties, labels)
    assert type(loss) is float
    assert_allclose(loss, expected_loss, rtol=1e-14)
    assert_array_equal(dpenalties, expected.astype(np.float32))


@in_one_test
@pytest.mark.parametrize("scale", [1e-3, 1, 30, 300])
@pytest.mark.parametrize("j", [1e-6, 0.1, 3, 50, 1e6])
@each_shape
def test_maximum_a_posteriori(batch, classes, j, scale):
    """Within 8 roundings of 1 (a probability), or of the largest penalty or j."""
    penalties, labels = abs(normal(batch, classes, scale=scale)), labels_for(batch, classes)
    loss, dpenalties = nn.MAPLoss(j)(penalties, labels)
    expected_loss, expected = reference.map_loss(penalties, labels, j)
    assert type(loss) is float
    assert (dpenalties.dtype, dpenalties.shape) == (np.float32, penalties.shape)
    size = max(1, penalties.max(), j if j < scale else 0)
    assert abs(loss - expected_loss) <= 8 * EPS * size
    assert_allclose(dpenalties, expected, rtol=0, atol=8 * EPS * size / batch)


@pytest.mark.parametrize("j", [0.1, 30, 1e20])
@pytest.mark.parametrize("size", [1e4, 1e30, 3e38])
class TestExtremePenalties:
    """exp(-y) vanishes, and would overflow for y < -88.

    The sums are shifted by the least penalty, or j.
    """

    def check(self, penalties, labels, j):
        loss, dpenalties = nn.MAPLoss(j)(penalties, labels)
        expected_loss, expected = reference.map_loss(penalties, labels, np.float32(j))
        assert np.isfinite(loss)
        assert_allclose(loss, expected_loss, rtol=4 * EPS, atol=4 * EPS)
        assert_allclose(dpenalties, expected, rtol=4 * EPS, atol=EPS / len(labels))

    def test_one_is_larger(self, size, j):
        penalties = np.zeros((10, 10), np.float32)
        penalties[np.arange(10), np.arange(10)] = size
        self.check(penalties, np.arange(10), j)  # all wrong
        self.check(penalties, np.roll(np.arange(10), 1), j)

    def test_one_is_smaller(self, size, j):
        penalties = np.zeros((17, 10), np.float32)
        penalties[:, 3] = -size
        self.check(penalties, np.full(17, 3), j)
        self.check(penalties, np.full(17, 4), j)

    def test_all_are_large(self, size, j):
        """Only the garbage class remains, unless j is larger."""
        self.check(np.full((3, 10), size, np.float32), np.arange(3), j)

    def test_both_ends(self, size, j):
        self.check(size * np.sign(normal(17, 10)), labels_for(17, 10), j)

    def test_maximum_likelihood(self, size, j):
        penalties = size * np.sign(normal(17, 10))
        loss, dpenalties = nn.MLELoss()(penalties, labels_for(17, 10))
        assert_allclose(loss, reference.mle_loss(penalties, labels_for(17, 10))[0], rtol=1e-14)
        assert_array_equal(dpenalties.sum(axis=1), np.full(17, np.float32(1 / 17)))


def test_a_large_j_leaves_no_rubbish_and_a_small_one_little_else():
    """With a very large j the loss is the cross-entropy of the negated penalties.

    With j near 0 and large penalties, the probability of being rubbish is 1, and the loss the
    maximum likelihood's.
    """
    penalties, labels = abs(normal(9, 5, scale=3)), labels_for(9, 5)
    loss, gradient = nn.MAPLoss(1e6)(penalties, labels)
    expected, negative = nn.CrossEntropyLoss()(-penalties, labels)
    assert_allclose(loss, expected, rtol=8 * EPS)
    assert_allclose(gradient, -negative, rtol=8 * EPS, atol=EPS)
    loss, gradient = nn.MAPLoss(1e-6)(penalties + 50, labels)
    expected, constant = nn.MLELoss()(penalties + 50, labels)
    assert_allclose(loss, expected, rtol=8 * EPS)
    assert_allclose(gradient, constant, rtol=EPS, atol=1e-20)


def test_the_second_term_keeps_penalties_from_growing_without_end():
    """Eq. 9: increasing a wrong penalty beyond j has almost no effect."""
    labels = np.zeros(1, int)
    gains = []
    for wrong in (1, 5, 20):
        _, gradient = nn.MAPLoss(5)(np.array([[10, wrong]], np.float32), labels)
        gains.append(-gradient[0, 1])
    assert gains[0] > 0.9
    assert 0.4 < gains[1] < 0.6
    assert gains[2] < 1e-5


@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss(), nn.MSELoss(), nn.MLELoss(), nn.MAPLoss(), nn.MAPLoss(1e9)],
    ids=repr,
)
def test_not_a_number_shows(loss):
    outputs = normal(17, 4)
    outputs[5, labels_for(17, 4)[5]] = np.nan
    value, gradient = loss(outputs, labels_for(17, 4))
    if isinstance(loss, nn.MLELoss):  # whose gradient is a constant
        assert np.isnan(value)
        return
    assert np.isnan(value)
    assert np.isnan(gradient[5]).any()
    assert np.all(np.isfinite(np.delete(gradient, 5, axis=0)))


def test_a_wrong_class_of_not_a_number_shows():
    penalties = normal(17, 4)
    penalties[5] = [np.nan, 1, 2, 3]
    for j in (0.1, 1e9):
        value, gradient = nn.MAPLoss(j)(penalties, np.full(17, 2))
        assert np.isnan(value)
        assert np.isnan(gradient[5]).all()
        assert np.all(np.isfinite(np.delete(gradient, 5, axis=0)))


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
def test_infinite_penalties_show(wrong):
    """A sum of squares that overflows at the label is an infinite loss, with both losses."""
    penalties = abs(normal(17, 4))
    penalties[5, 2] = wrong
    for loss in (nn.MLELoss(), nn.MAPLoss()):
        assert not np.isfinite(loss(penalties, np.full(17, 2))[0])


@pytest.mark.parametrize("smoothing", [0, 0.2])
def test_gradient_of_a_sample_adds_up_to_zero(smoothing):
    """Softmax and target both add up to 1: K roundings of numbers of at most 1."""
    _, dlogits = nn.CrossEntropyLoss(label_smoothing=smoothing)(normal(33, 10), labels_for(33, 10))
    assert_allclose(dlogits.sum(axis=1, dtype=np.float64) * 33, 0, atol=10 * EPS)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MSELoss(),
        nn.MLELoss(),
        nn.MAPLoss(),
    ],
    ids=repr,
)
def test_inputs_stay_as_they_were(loss):
    outputs, labels = normal(17, 4), labels_for(17, 4)
    before = outputs.copy(), labels.copy()
    outputs.flags.writeable = labels.flags.writeable = False
    _, gradient = loss(outputs, labels)
    assert_array_equal(outputs, before[0])
    assert_array_equal(labels, before[1])
    assert gradient.flags.writeable
    assert not np.shares_memory(gradient, outputs)
    assert_array_equal(loss(np.asfortranarray(outputs), labels)[1], gradient)


def test_softmax():
    logits = np.concatenate(
        [normal(9, 5), 1e30 * normal(9, 5, seed=1), np.full((1, 5), -1e30, np.float32)]
    )
    probabilities = nn.softmax(logits)
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    assert probabilities.dtype == np.float32
    assert_allclose(
        probabilities, shifted / shifted.sum(axis=1, keepdims=True), rtol=8 * EPS, atol=EPS
    )


@in_one_test
@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), nn.MSELoss(), nn.MLELoss(), nn.MAPLoss()], ids=repr
)
class TestErrors:
    @pytest.mark.parametrize("wrong", [-1, 4, 300])
    def test_labels_out_of_range(self, loss, wrong):
        with pytest.raises(ValueError, match=rf"labels(?=.*0 to 3).*{wrong}"):
            loss(normal(3, 4), np.array([0, wrong, 3]))

    @pytest.mark.parametrize("wrong", [2**31, 2**32, 2**32 + 1, -(2**32), -(2**63), 2**63 - 1])
    def test_labels_that_do_not_fit_an_int32(self, loss, wrong):
        """They must not wrap round to a valid class."""
        with pytest.raises(ValueError, match="labels"):
            loss(normal(3, 4), np.array([0, wrong, 3]))

    @pytest.mark.parametrize(
        "labels", [np.zeros(2, int), np.zeros(4, int), np.zeros((3, 1), int), np.zeros(3), 0]
    )
    def test_labels_of_another_kind(self, loss, labels):
        with pytest.raises(ValueError, match="labels|target"):
            loss(normal(3, 4), labels)

    def test_outputs_of_another_kind(self, loss):
        with pytest.raises(TypeError, match="^outputs must be .*float64"):
            loss(np.zeros((3, 4)), np.zeros(3, int))
        with pytest.raises(TypeError, match="^outputs must be .*list"):
            loss([[0.0] * 4] * 3, np.zeros(3, int))
        with pytest.raises(ValueError, match=r"^outputs must be .*\(3,\)"):
            loss(np.zeros(3, np.float32), np.zeros(3, int))

    def test_no_samples(self, loss):
        with pytest.raises(ValueError, match="one sample"):
            loss(np.zeros((0, 4), np.float32), np.zeros(0, int))


def test_cross_entropy_of_images_with_a_label_for_each_is_an_error():
    with pytest.raises(
        ValueError, match=r"\(N, classes, ...\) of shape \(3, 4, 1, 1\), got \(3,\)"
    ):
        nn.CrossEntropyLoss()(normal(3, 4, 1, 1), np.zeros(3, int))


@pytest.mark.parametrize("loss", [nn.MLELoss(), nn.MAPLoss()], ids=repr)
@pytest.mark.parametrize("call", ["__call__", "second"])
def test_penalties_of_images_are_an_error(loss, call):
    with pytest.raises(ValueError, match=r"\(N, classes\), got \(3, 4, 1, 1\)"):
        getattr(loss, call)(normal(3, 4, 1, 1), np.zeros(3, int))


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), 1e31])
def test_j_out_of_range(wrong):
    with pytest.raises(ValueError, match="j must be a finite number greater than 0"):
        nn.MAPLoss(wrong)


@pytest.mark.parametrize("wrong", ["true", "", None, 1])
def test_curvature_of_another_kind(wrong):
    with pytest.raises(ValueError, match="curvature must be 'constant' or 'exact'"):
        nn.MAPLoss(curvature=wrong)


@pytest.mark.parametrize("wrong", [-0.1, 1, 2, float("nan"), "0.1", None, [0.1]])
def test_label_smoothing_out_of_range(wrong):
    with pytest.raises(ValueError, match="label_smoothing must be"):
        nn.CrossEntropyLoss(label_smoothing=wrong)


@pytest.mark.parametrize(
    "target", [np.zeros((3, 5), np.float32), np.zeros((4, 4), np.float32), np.float32(0)], ids=str
)
def test_target_of_another_shape(target):
    with pytest.raises(ValueError, match=r"target must have shape \(3, 4\)"):
        nn.MSELoss()(normal(3, 4), target)


def central_differences(derivative, at, h=1e-5):
    """Return the derivative of each element of derivative(at) by the same element of at."""
    diagonal = np.zeros(at.shape)
    for i in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[i] = h
        diagonal[i] = (derivative(at + step)[i] - derivative(at - step)[i]) / (2 * h)
    return diagonal


@pytest.mark.parametrize("label_smoothing", [0, 0.3])
@pytest.mark.parametrize("batch, classes", [(1, 1), (1, 2), (15, 10), (17, 3)])
def test_second_derivatives_of_cross_entropy(batch, classes, label_smoothing):
    logits, labels = normal(batch, classes, scale=3), labels_for(batch, classes)
    loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    dlogits, d2logits = loss.second(logits, labels)
    assert (d2logits.dtype, d2logits.shape) == (np.float32, logits.shape)
    assert_array_equal(dlogits, loss(logits, labels)[1])
    assert_allclose(
        d2logits, reference.cross_entropy_second(logits), rtol=64 * EPS, atol=4 * EPS / batch
    )
    numeric = central_differences(
        lambda at: reference.cross_entropy(at, labels, label_smoothing)[1],
        logits.astype(np.float64),
    )
    assert_allclose(reference.cross_entropy_second(logits), numeric, rtol=1e-6, atol=1e-9)


def test_second_derivatives_of_mean_squared_error():
    outputs, labels = normal(5, 4), labels_for(5, 4)
    doutputs, d2outputs = nn.MSELoss().second(outputs, labels)
    target = np.eye(4)[labels]
    assert_array_equal(doutputs, nn.MSELoss()(outputs, labels)[1])
    assert d2outputs.dtype == np.float32
    assert_allclose(d2outputs, reference.mse_loss_second(outputs), rtol=EPS)
    numeric = central_differences(
        lambda at: reference.mse_loss(at, target)[1], outputs.astype(np.float64)
    )
    assert_allclose(reference.mse_loss_second(outputs), numeric, rtol=1e-6)


@pytest.mark.parametrize("loss", [nn.MLELoss(), nn.MAPLoss(3)], ids=repr)
def test_second_derivatives_of_penalties_are_constants(loss):
    """1 / N and 0, whatever the penalties: what the authors' code does, also for eq. 9."""
    labels = labels_for(5, 4)
    for scale in (1, 100):
        dpenalties, d2penalties = loss.second(abs(normal(5, 4, scale=scale)), labels)
        assert dpenalties.dtype == d2penalties.dtype == np.float32
        assert_array_equal(dpenalties, (np.eye(4)[labels] / 5).astype(np.float32))
        assert_array_equal(d2penalties, np.zeros((5, 4)))


@pytest.mark.parametrize("j", [0.1, 3, 30])
@pytest.mark.parametrize("batch, classes", [(1, 1), (1, 2), (15, 10), (17, 3)])
def test_exact_second_derivatives_of_maximum_a_posteriori(batch, classes, j):
    penalties, labels = abs(normal(batch, classes, scale=3)), labels_for(batch, classes)
    loss = nn.MAPLoss(j, curvature="exact")
    dpenalties, d2penalties = loss.second(penalties, labels)
    assert (d2penalties.dtype, d2penalties.shape) == (np.float32, penalties.shape)
    assert_array_equal(dpenalties, loss(penalties, labels)[1])
    expected = reference.map_loss_second(penalties, j)
    assert_allclose(d2penalties, expected, rtol=128 * EPS, atol=4 * EPS / batch)
    numeric = central_differences(
        lambda at: reference.map_loss(at, labels, j)[1], penalties.astype(np.float64)
    )
    assert_allclose(expected, numeric, rtol=1e-6, atol=1e-9)


@in_one_test
@pytest.mark.parametrize("batch", [1, 4, 5, 6, 16, 33, 1025, 3000])
@pytest.mark.parametrize("kind", nn.LOSSES)
def test_the_value_alone_has_the_bits_of_a_call(kind, batch):
    """With single samples, tiles, and several batches of shards."""
    loss = nn.LOSSES[kind]()
    outputs, labels = normal(batch, 7, scale=3), labels_for(batch, 7)
    assert loss.value(outputs, labels) == loss(outputs, labels)[0]


def test_the_value_alone_with_label_smoothing_and_of_images():
    outputs, labels = normal(17, 7), labels_for(17, 7)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    assert loss.value(outputs, labels) == loss(outputs, labels)[0]
    images, target = normal(17, 2, 3, 4), normal(17, 2, 3, 4, seed=1)
    assert nn.MSELoss().value(images, target) == nn.MSELoss()(images, target)[0]


@pytest.mark.parametrize("kind", nn.LOSSES)
def test_the_value_of_no_samples_or_of_unknown_classes_is_an_error(kind):
    loss = nn.LOSSES[kind]()
    with pytest.raises(ValueError, match="one sample"):
        loss.value(np.zeros((0, 4), np.float32), np.zeros(0, int))
    with pytest.raises(ValueError, match="labels"):
        loss.value(np.zeros((2, 4), np.float32), np.array([0, 4]))
