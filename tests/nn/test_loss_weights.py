"""Losses with weights, ignored labels, reductions, soft targets and maps: the reference."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import nn, reference, set_num_threads

EPS = np.finfo(np.float32).eps
BATCHES = [1, 3, 6, 16, 33, 257]
REDUCTIONS = ["mean", "sum", "none"]


def normal(*shape, seed=0, scale=3):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def draw(batch, classes=7, ignored=None, probabilities=False):
    """Return outputs, targets, class weights and sample weights, some of both 0."""
    rng = np.random.default_rng(batch)
    target = rng.integers(classes, size=batch)
    if probabilities:
        target = rng.dirichlet(np.ones(classes), size=batch)
    elif ignored is not None:
        target[rng.random(batch) < 0.3] = ignored
        target[0] = 1  # not all of them
    weight, sample_weight = rng.uniform(0, 3, classes), rng.uniform(0, 2, batch)
    weight[3], sample_weight[1::5] = 0, 0
    return normal(batch, classes), target, weight, sample_weight


def agree(loss, gradient, expected, expected_gradient, total):
    """Within a few roundings of a logit or a probability, weighted; float32 rounds the target."""
    assert isinstance(loss, float) or loss.dtype == np.float64
    assert gradient.dtype == np.float32
    assert_allclose(loss, expected, rtol=16 * EPS, atol=32 * EPS)
    assert_allclose(gradient, expected_gradient, rtol=16 * EPS, atol=16 * EPS / total)


@in_one_test
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("batch", BATCHES)
def test_cross_entropy(batch, smoothing, reduction):
    for by_class, by_sample, ignored, soft in product((0, 1), (0, 1), (-100, 3), (0, 1)):
        logits, target, weight, sample_weight = draw(batch, 7, ignored, soft)
        weight = weight if by_class else None
        sample_weight = sample_weight if by_sample else None
        options = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        loss = nn.CrossEntropyLoss(**options, label_smoothing=smoothing)
        expected = reference.cross_entropy(
            logits, target, smoothing, **options, sample_weight=sample_weight
        )
        total = batch if reduction == "mean" else 1
        agree(*loss(logits, target, sample_weight), *expected, total / 10)
        value = loss.value(logits, target, sample_weight)
        assert_array_equal(value, loss(logits, target, sample_weight)[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_negative_log_likelihood(batch, reduction):
    for by_class, by_sample, ignored in product((0, 1), (0, 1), (-100, 3)):
        logits, labels, weight, sample_weight = draw(batch, 7, ignored)
        log_p = reference.log_softmax(logits).astype(np.float32)
        weight = weight if by_class else None
        sample_weight = sample_weight if by_sample else None
        options = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        loss = nn.NLLLoss(**options)
        expected = reference.nll_loss(log_p, labels, **options, sample_weight=sample_weight)
        agree(*loss(log_p, labels, sample_weight), *expected, 1)
        entropy = nn.CrossEntropyLoss(**options).value(logits, labels, sample_weight)
        assert_allclose(loss.value(log_p, labels, sample_weight), entropy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("batch", BATCHES)
def test_other_losses(batch, reduction):
    penalties, labels, _, sample_weight = draw(batch)
    penalties = abs(penalties)
    for weight in (None, sample_weight):
        options = {"reduction": reduction, "sample_weight": weight}
        expected = reference.mle_loss(penalties, labels, **options)
        agree(*nn.MLELoss(reduction)(penalties, labels, weight), *expected, 1)
        expected = reference.map_loss(penalties, labels, 2, **options)
        agree(*nn.MAPLoss(2, reduction=reduction)(penalties, labels, weight), *expected, 1)
        expected = reference.mse_loss(penalties, np.eye(7)[labels], **options)
        agree(*nn.MSELoss(reduction)(penalties, labels, weight), *expected, 1)
        images, target = normal(batch, 2, 3, 4), normal(batch, 2, 3, 4, seed=1)
        expected = reference.mse_loss(images, target, **options)
        agree(*nn.MSELoss(reduction)(images, target, weight), *expected, 1)


def all_losses(reduction="mean"):
    return [
        nn.CrossEntropyLoss(reduction=reduction),
        nn.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1),
        nn.CrossEntropyLoss(np.arange(1, 8) / 4, reduction=reduction),
        nn.NLLLoss(reduction=reduction),
        nn.MSELoss(reduction),
        nn.MLELoss(reduction),
        nn.MAPLoss(2, reduction=reduction),
    ]


@in_one_test
@pytest.mark.parametrize("loss", all_losses(), ids=repr)
@pytest.mark.parametrize("batch", BATCHES)
class TestSampleWeights:
    def test_of_1_have_the_bits_of_none(self, loss, batch):
        outputs, labels, _, _ = draw(batch)
        value, gradient = loss(outputs, labels)
        weighted, weighted_gradient = loss(outputs, labels, np.ones(batch))
        assert weighted == value
        assert weighted_gradient.tobytes() == gradient.tobytes()

    def test_of_0_and_of_2_are_samples_that_are_absent_and_there_twice(self, loss, batch):
        outputs, labels, _, _ = draw(batch)
        weight = np.arange(batch) % 3
        weight[0] = 1
        value, gradient = loss(outputs, labels, weight)
        repeated = np.repeat(np.arange(batch), weight)
        expected, parts = loss(outputs[repeated], labels[repeated])
        assert_allclose(value, expected, rtol=1e-13)
        summed = np.zeros(gradient.shape)
        np.add.at(summed, repeated, parts)
        assert_allclose(gradient, summed, rtol=4 * EPS, atol=1e-12)

    def test_of_0_hide_outputs_that_are_not_finite(self, loss, batch):
        outputs, labels, _, _ = draw(batch + 2)
        outputs[1], outputs[-1] = np.nan, np.inf
        weight = np.ones(batch + 2, np.float32)
        weight[[1, -1]] = 0
        value, gradient = loss(outputs, labels, weight)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))
        assert not gradient[[1, -1]].any()


@pytest.mark.parametrize("loss", all_losses("none"), ids=repr)
def test_the_losses_of_samples_are_those_of_each_alone(loss):
    outputs, labels, _, weight = draw(33)
    losses, gradient = loss(outputs, labels, weight)
    assert losses.shape == (33,)
    for n in range(33):
        one, one_gradient = loss(outputs[n : n + 1], labels[n : n + 1], weight[n : n + 1])
        assert one[0] == losses[n]
        assert_array_equal(one_gradient[0], gradient[n])


def test_ignored_outputs_are_not_looked_at():
    outputs, labels, _, _ = draw(33, ignored=-100)
    outputs[labels == -100] = np.nan
    value, gradient = nn.CrossEntropyLoss()(outputs, labels)
    is_left = labels != -100
    expected, expected_gradient = nn.CrossEntropyLoss()(outputs[is_left], labels[is_left])
    assert_allclose(value, expected, rtol=1e-14)
    assert_allclose(gradient[is_left], expected_gradient, rtol=2 * EPS)
    assert not gradient[~is_left].any()


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize("batch", [3, 20])
def test_a_mean_of_nothing_is_not_a_number_and_its_gradient_0(kind, batch):
    outputs, labels = normal(batch, 4), np.full(batch, -100)
    for target, options, weight in (
        (labels, {}, None),
        (np.zeros(batch, int), {}, np.zeros(batch)),
        (np.zeros(batch, int), {"weight": [0, 1, 1, 1]}, None),
    ):
        value, gradient = kind(**options)(outputs, target, weight)
        assert np.isnan(value)
        assert not gradient.any()
        value, gradient = kind(reduction="sum", **options)(outputs, target, weight)
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_probabilities_of_one_hot_are_labels(classes):
    logits, labels = normal(17, classes), np.random.default_rng(0).integers(classes, size=17)
    for smoothing in (0, 0.1):
        loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        value, gradient = loss(logits, labels)
        soft, soft_gradient = loss(logits, np.eye(classes)[labels])
        assert_allclose(soft, value, rtol=1e-6, atol=1e-6)
        assert_allclose(soft_gradient, gradient, rtol=0, atol=8 * EPS / 17)


def test_logits_of_minus_infinity_mask_classes():
    """If the target is 0, also with class weights and a term for each class."""
    logits, labels, weight, _ = draw(17)
    labels[labels == 2] = 4
    logits[:, 2] = -np.inf
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight)):
        value, gradient = loss(logits, labels)
        assert np.isfinite(value)
        assert_allclose(gradient[:, 2], 0, atol=1e-30)


# Fewer places than a tile has, and more, side by side or over the end of a map.
@pytest.mark.parametrize("places", [(1, 1), (5,), (3, 4), (2, 3, 2), (37,), (6, 8)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_outputs_of_more_axes(places, reduction):
    """(N, K, d1, ...) are as many samples as there are places, in the order of the labels."""
    rng = np.random.default_rng(0)
    outputs, labels = normal(4, 7, *places), rng.integers(7, size=(4, *places))
    labels[1] = -100
    weight, by_sample, by_place = rng.random(7), rng.random(4), rng.random((4, *places))
    rows = np.moveaxis(outputs, 1, -1).reshape(-1, 7)
    repeated = np.repeat(by_sample, np.prod(places))
    soft = np.moveaxis(rng.dirichlet(np.ones(7), size=(4, *places)), -1, 1)
    for kind, target in product((nn.CrossEntropyLoss, nn.NLLLoss), (labels, soft)):
        if kind is nn.NLLLoss and target is soft:
            continue
        loss = kind(weight, reduction=reduction)
        flat = target.ravel() if target is labels else np.moveaxis(soft, 1, -1).reshape(-1, 7)
        for given, of_rows in ((None, None), (by_sample, repeated), (by_place, by_place.ravel())):
            value, gradient = loss(outputs, target, given)
            expected, expected_gradient = loss(rows, flat, of_rows)
            assert np.shape(value) == (labels.shape if reduction == "none" else ())
            assert_array_equal(np.ravel(value), expected)
            assert gradient.shape == outputs.shape
            assert_array_equal(np.moveaxis(gradient, 1, -1).reshape(-1, 7), expected_gradient)
            assert_array_equal(loss.value(outputs, target, given), value)
            first, second = loss.second(outputs, target, given)
            expected = loss.second(rows, flat, of_rows)
            assert_array_equal(first, gradient)
            assert_array_equal(np.moveaxis(second, 1, -1).reshape(-1, 7), expected[1])


def test_maps_have_the_same_bits_at_any_thread_count():
    rng = np.random.default_rng(0)
    outputs, labels = normal(5, 21, 63, 65), rng.integers(21, size=(5, 63, 65))
    soft = abs(normal(5, 21, 63, 65, seed=1))
    expected = None
    try:
        for threads in (1, 2, 3):
            set_num_threads(threads)
            results = [
                *nn.CrossEntropyLoss()(outputs, labels),
                *nn.CrossEntropyLoss()(outputs, soft),
            ]
            actual = [np.asarray(each).tobytes() for each in results]
            expected = expected or actual
            assert actual == expected
    finally:
        set_num_threads(None)


@pytest.mark.parametrize("shape", [(0, 4, 3), (3, 4, 0), (0, 4)])
def test_maps_without_a_place_are_refused(shape):
    outputs, labels = np.zeros(shape, np.float32), np.zeros((shape[0], *shape[2:]), int)
    for call in (nn.CrossEntropyLoss(), nn.NLLLoss().value):
        with pytest.raises(ValueError, match="^outputs must have at least one sample, got"):
            call(outputs, labels)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("by_sample", [False, True])
def test_second_derivatives(by_sample, reduction):
    logits, labels, weight, sample_weight = draw(33, ignored=-100)
    sample_weight = sample_weight if by_sample else None
    options = {"reduction": reduction, "sample_weight": sample_weight}
    for by_class, smoothing, soft in product((None, weight), (0, 0.1), (False, True)):
        target = draw(33, probabilities=True)[1] if soft else labels
        loss = nn.CrossEntropyLoss(by_class, reduction=reduction, label_smoothing=smoothing)
        first, second = loss.second(logits, target, sample_weight)
        expected = reference.cross_entropy_second(
            logits, target, smoothing, weight=by_class, **options
        )
        assert_array_equal(first, loss(logits, target, sample_weight)[1])
        assert_allclose(second, expected, rtol=64 * EPS, atol=EPS)
    labels = np.maximum(labels, 0)
    for loss, expected in (
        (nn.NLLLoss(weight, reduction=reduction), reference.nll_loss_second(logits)),
        (nn.MSELoss(reduction), reference.mse_loss_second(logits, **options)),
        (nn.MLELoss(reduction), reference.mle_loss_second(logits)),
        (nn.MAPLoss(2, "exact", reduction), reference.map_loss_second(logits, 2, **options)),
    ):
        first, second = loss.second(logits, labels, sample_weight)
        assert_array_equal(first, loss(logits, labels, sample_weight)[1])
        assert_allclose(second, expected, rtol=64 * EPS, atol=EPS)


class TestAgainstTorch:
    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("smoothing", [0, 0.1])
    @pytest.mark.parametrize("places", [(), (3,), (2, 4)], ids=str)
    def test_cross_entropy(self, places, smoothing, reduction):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        logits = normal(19, 7, *places)
        labels = rng.integers(7, size=(19, *places))
        labels[rng.random(labels.shape) < 0.2] = 2
        soft = np.moveaxis(rng.dirichlet(np.ones(7), size=(19, *places)), -1, 1)
        weights = (None, rng.uniform(0, 2, 7))
        for target, weight, ignored in product((labels, soft), weights, (-100, 2)):
            if target is soft and ignored >= 0:
                continue  # PyTorch refuses it
            leaf = torch.tensor(logits.astype(np.float64), requires_grad=True)
            expected = torch.nn.functional.cross_entropy(
                leaf,
                torch.tensor(target),
                None if weight is None else torch.tensor(weight),
                ignore_index=ignored,
                reduction=reduction,
                label_smoothing=smoothing,
            )
            expected.sum().backward()
            loss = nn.CrossEntropyLoss(weight, ignored, reduction, smoothing)
            value, gradient = loss(logits, target)
            total = 19 * np.prod(places) if reduction == "mean" else 1
            agree(value, gradient, expected.detach().numpy(), leaf.grad.numpy(), total / 10)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("places", [(), (3,), (2, 4)], ids=str)
    def test_negative_log_likelihood(self, places, reduction):
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(0)
        outputs, labels = normal(19, 7, *places), rng.integers(7, size=(19, *places))
        for weight, ignored in product((None, rng.uniform(0, 2, 7)), (-100, 2)):
            leaf = torch.tensor(outputs.astype(np.float64), requires_grad=True)
            expected = torch.nn.functional.nll_loss(
                leaf,
                torch.tensor(labels),
                None if weight is None else torch.tensor(weight),
                ignore_index=ignored,
                reduction=reduction,
            )
            expected.sum().backward()
            value, gradient = nn.NLLLoss(weight, ignored, reduction)(outputs, labels)
            agree(value, gradient, expected.detach().numpy(), leaf.grad.numpy(), 1)


class TestErrors:
    def check(self, message, loss, target=None, sample_weight=None, outputs=None):
        outputs = normal(3, 4) if outputs is None else outputs
        target = np.array([0, 1, 3]) if target is None else target
        for call in (loss, loss.value, loss.second):
            with pytest.raises(ValueError, match=message):
                call(outputs, target, sample_weight)

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -1, 1e300])
    def test_weights_out_of_range(self, wrong):
        with pytest.raises(ValueError, match="weight must be finite and at least 0"):
            nn.CrossEntropyLoss([1, wrong])
        self.check("sample_weight must be finite", nn.MSELoss(), sample_weight=[1, wrong, 0])

    @pytest.mark.parametrize("wrong", [[1, 1], np.ones((3, 1)), 1, ["a", "b", "c"], [1j, 0, 1]])
    def test_weights_of_another_shape_or_kind(self, wrong):
        self.check(r"sample_weight must be numbers of shape \(3,\)", nn.MLELoss(), None, wrong)
        self.check(
            r"sample_weight must be numbers of shape \(3, 2\)",
            nn.NLLLoss(),
            np.zeros((3, 2), int),
            np.ones((3, 3)),
            normal(3, 4, 2),
        )

    def test_weights_of_other_classes(self):
        for kind in (nn.CrossEntropyLoss, nn.NLLLoss):
            self.check("weight must have a value for each of the 4 classes", kind([1, 2, 3]))
        self.check("weight must have", nn.CrossEntropyLoss([1, 2, 3]), np.full((3, 4), 0.25))
        with pytest.raises(ValueError, match=r"weight must be numbers of shape \(4,\)"):
            nn.CrossEntropyLoss(np.ones((2, 2)))

    @pytest.mark.parametrize("wrong", [-0.1, np.nan, np.inf])
    def test_targets_that_are_no_probabilities(self, wrong):
        target = np.full((3, 4), 0.25)
        target[1, 2] = wrong
        self.check("target must be finite and at least 0", nn.CrossEntropyLoss(), target)

    @pytest.mark.parametrize("loss", [nn.NLLLoss(), nn.MLELoss(), nn.MAPLoss()], ids=repr)
    def test_probabilities_where_labels_are_wanted(self, loss):
        self.check("labels must be integers", loss, np.full((3, 4), 0.25))

    def test_labels_beside_the_one_to_ignore(self):
        for wrong in (-100, -1, 4):
            message = rf"labels must be from 0 to 3, got {wrong} at 1"
            self.check(message, nn.CrossEntropyLoss(ignore_index=7), np.array([0, wrong, 7]))

    def test_labels_of_other_places(self):
        message = r"labels must have shape \(3, 2\) for outputs"
        for wrong in (np.zeros(3, int), np.zeros((3, 3), int), np.zeros((3, 2, 1), int)):
            self.check(message, nn.CrossEntropyLoss(), wrong, outputs=normal(3, 4, 2))

    @pytest.mark.parametrize("wrong", ["average", "", None, 1])
    def test_another_reduction(self, wrong):
        for kind in (nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.MLELoss, nn.MAPLoss):
            with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none'"):
                kind(reduction=wrong)

    @pytest.mark.parametrize("wrong", [2**31, -(2**63), None, 1.0, "1", True])
    def test_another_label_to_ignore(self, wrong):
        with pytest.raises(ValueError, match="ignore_index must be an integer of 32 bits"):
            nn.CrossEntropyLoss(ignore_index=wrong)


def test_settings_show():
    assert repr(nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    loss = nn.CrossEntropyLoss([1, 0.5], label_smoothing=0.1)
    assert repr(loss) == "CrossEntropyLoss(weight=[1.0, 0.5], label_smoothing=0.1)"
    assert repr(nn.MAPLoss(2)) == "MAPLoss(j=2.0)"
    with pytest.raises(ValueError, match="read-only"):
        loss.weight[0] = 2


def test_masked_arrays_are_refused():
    outputs, labels = normal(3, 4), np.array([0, 1, 2])
    masked = np.ma.masked_equal(labels, 1)
    for loss, target, weights in (
        (nn.CrossEntropyLoss(), masked, None),
        (nn.CrossEntropyLoss(), labels, masked),
        (nn.MLELoss(), masked, None),
        (nn.MSELoss(), np.ma.masked_less(outputs, 0), None),
    ):
        with pytest.raises(
            TypeError, match=r"must be an array of real numbers without a mask.*filled\(0\)"
        ):
            loss(outputs, target, weights)
    with pytest.raises(TypeError, match="weight must be an array of real numbers without a mask"):
        nn.CrossEntropyLoss(weight=np.ma.masked_equal(np.arange(4.0), 1))


@pytest.mark.parametrize("kind", ["U", "c8", "O"])
def test_targets_that_are_no_numbers_are_refused(kind):
    outputs = normal(3, 4)
    with pytest.raises(ValueError, match="target must have shape"):
        nn.MSELoss()(outputs, np.zeros((3, 4)).astype(kind))


def test_a_weight_is_that_of_all_places_of_a_sample():
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((3, 4, 2, 5)).astype(np.float32)
    labels, weight = rng.integers(0, 4, (3, 2, 5)), np.array([1, 0, 2.5])
    places = np.broadcast_to(weight[:, None, None], labels.shape)
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="none")):
        for one, other in zip(
            loss(outputs, labels, weight), loss(outputs, labels, places), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_true_is_no_label_smoothing():
    for value in (True, False):
        with pytest.raises(ValueError, match="^label_smoothing must be"):
            nn.CrossEntropyLoss(label_smoothing=value)
