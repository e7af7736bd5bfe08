"""The model of strings: positions of digits, spans between columns, and its training."""

from itertools import groupby, product

import numpy as np
import pytest
import train_strings

from lenet5c.datasets import mnist
from lenet5c.recognition.strings import (
    ALONE,
    HEIGHT,
    NONE,
    NOTHING,
    REACH,
    WHOLE,
    WINDOW,
    String,
    count_places,
    frame_string,
    judge_strings,
    locate_places,
    make_net,
    open_strings,
    score_images,
    weigh_part,
    weigh_whole,
)


def say(*places):
    """Return log probabilities: 0.9 for a class, or none, at each position."""
    log = np.full((len(places), 12), np.log(0.1 / 11))
    log[np.arange(len(places)), [NOTHING if place is None else place for place in places]] = np.log(
        0.9
    )
    return log


def test_ink_fills_the_rows_of_the_form():
    ink = np.full((60, 90), 255, np.uint8)
    ink[8:-8, 8:-8] = 0
    image = frame_string(ink)
    assert image.shape == (HEIGHT, 33) and image.dtype == np.uint8
    np.testing.assert_array_equal(np.flatnonzero(image.any(axis=1)), np.arange(1, 23))
    low = frame_string(ink[:20], least=60)
    assert low.shape == (HEIGHT, 33) and 6 <= np.count_nonzero(low.any(axis=1)) <= 8


def test_places_are_windows_of_the_net():
    net = make_net(0)
    for width in (1, 2, 16, 33):
        x = np.zeros((1, 1, HEIGHT, width + 2 * REACH), np.float32)
        assert net.forward(x).shape == (1, 12, 1, count_places(width))
    assert net.forward(np.zeros((1, 1, HEIGHT, WINDOW), np.float32)).shape == (1, 12, 1, 1)
    np.testing.assert_array_equal(locate_places(3), [-0.5, 1.5, 3.5])


def test_probabilities_between_columns_sum_to_one():
    string = String(say(None, 3, None, None, 7, None), scale=2.0)
    both, left, right = string.judge(), string.judge(right=2.0), string.judge(2.0)
    for judged in (both, left, right):
        assert judged.sum() == pytest.approx(1) and (judged >= 0).all()
    assert left.argmax() == 3 and right.argmax() == 7
    # Of both together neither is alone: there are several.
    assert both.argmax() == NOTHING and both[NOTHING] > 0.5


def test_one_digit_is_at_one_of_its_places_or_at_several():
    log = np.full((2, 12), -50.0)
    log[:, [4, NOTHING]] = np.log(0.5)
    assert String(log, 1.0).judge()[4] == pytest.approx(0.75)
    assert String(log, 1.0).judge()[NOTHING] == pytest.approx(0.25)
    assert String(log[:1], 1.0).judge()[4] == pytest.approx(0.5)


def test_a_digit_is_not_divided():
    string = String(say(None, 8, 8, None), 1.0)
    assert string.judge()[8] > 0.6
    assert string.judge(right=2.0)[8] < 0.2 < 0.7 < string.judge(left=2.0)[8]


def test_what_is_none_is_told_from_nothing_and_from_digits():
    assert String(say(None, NONE, NONE, None), 1.0).judge().argmax() == NONE
    assert String(say(None, None), 1.0).judge().argmax() == NOTHING
    assert String(say(NONE, 5, None), 1.0).judge()[5] < 0.2


def test_reading_finds_digits_and_their_columns():
    string = String(say(None, 1, None, 1, 8, None), scale=0.5)
    digits, columns = string.read()
    assert digits == [1, 1, 8]
    np.testing.assert_allclose(columns, [3, 11, 15])
    # From the middle of one to that of the next, with what is likeliest between them.
    assert string.find_gaps() == [(7, 3, 11), (15, 11, 15)]
    assert String(say(None, NONE, None), 1.0).read() == ([], [])
    assert String(say(None, 6, 6, None), 1.0).read()[0] == [6]


def test_a_string_is_the_sum_over_its_places():
    log = np.log(np.full((3, 12), 1e-6))
    # At each place a 2 or nothing, as likely; a 5 once, more likely than a 2 there.
    log[:, [2, NOTHING]] = np.log(0.3)
    log[1, 5] = np.log(0.4)
    assert String(log, 1.0).read()[0] == [2]


def see(**shares):
    """Return an output of the model of strings for a piece, (12,): `d7`, none, several."""
    judged = np.zeros(12)
    for name, share in shares.items():
        judged[{"none": NONE, "several": NOTHING}.get(name) or int(name[1:])] = share
    return judged


def test_both_models_tell_what_a_piece_is():
    """For the digits 1 and 7, in this order, and a sign."""
    row, none, several = weigh_whole(np.array([0.6, 0.3, 0.05]), see(d7=0.1, d1=0.9), [1, 7])
    assert row.shape == (3,) and row.sum() + none + several == pytest.approx(1)
    assert row.argmax() == 0 and row[0] > 0.7 and max(none, several) < 0.05
    # The class of one follows from the logarithms of both.
    share = np.array([0.6, 0.3]) ** (1 - WHOLE) * np.array([0.9, 0.1]) ** WHOLE
    np.testing.assert_allclose(row[:2] / row[:2].sum(), share / share.sum())


@pytest.mark.parametrize(
    ("digit", "judged", "right"),
    [
        (0.999, see(d5=0.05, several=0.95), "digit"),
        (0.45, see(d5=0.95, none=0.05), "digit"),
        (0.9, see(several=0.999, d5=0.001), "several"),
        (0.02, see(several=0.9, none=0.1), "several"),
        (0.1, see(none=0.95, d5=0.05), "none"),
    ],
    ids=["sure of one", "unsure of one", "sure of two", "two", "a letter"],
)
def test_the_surer_model_decides_on_a_piece(digit, judged, right):
    row, none, several = weigh_whole(np.eye(10)[5] * digit, judged, range(10))
    found = {"digit": row.max(), "none": none, "several": several}
    assert max(found, key=found.get) == right


def test_a_part_is_a_digit_as_far_as_the_model_that_sees_around_it_says():
    judged = see(d1=0.4, d7=0.2, several=0.4)
    row = weigh_part(np.array([0.001, 0.9, 0.0]), judged, [1, 7])
    assert row[:2].sum() == pytest.approx(0.6**ALONE)
    assert weigh_part(np.array([0.3, 0.3, 0.0]), judged, [1, 7])[0] > row[0]


def test_the_model_reads_digits_that_touch():
    """Two held-out digits, moved together until their boxes overlap by a column."""
    train_digits = mnist()[0].take(np.arange(55_000, 55_009))
    right = 0
    for pair in ((0, 3), (1, 4), (2, 5), (5, 8)):
        one, other = (train_digits.images[i, 0] for i in pair)
        crops = [ink[:, ink.any(axis=0)] for ink in (one, other)]
        image = np.zeros((28, crops[0].shape[1] + crops[1].shape[1] - 1), np.uint8)
        image[:, : crops[0].shape[1]] = crops[0]
        part = image[:, crops[0].shape[1] - 1 :]
        np.maximum(part, crops[1], out=part)
        image = image[image.any(axis=1)].repeat(2, axis=0).repeat(2, axis=1)
        (log,) = score_images([frame_string(image)])
        right += String(log, 1.0).read()[0] == [int(train_digits.labels[i]) for i in pair]
    assert right >= 3


def test_a_batch_does_not_change_the_scores():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (HEIGHT, width), np.uint8) for width in (9, 16, 17, 40, 15)]
    together = score_images(images)
    for image, log in zip(images, together, strict=True):
        assert log.shape == (count_places(image.shape[1]), 12)
        np.testing.assert_allclose(score_images([image])[0], log, atol=1e-4)
        np.testing.assert_allclose(np.exp(log).sum(axis=1), 1, atol=1e-5)
    assert judge_strings([], 20.0) == []
    assert open_strings() is open_strings()


def test_gradient_of_the_loss():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4, 6, 12))
    labels = np.array([[3, 3], [5, -1], [-1, -1], [0, 9]])
    places = rng.random((4, 2, 6)) < 0.8
    places[:, :, [0, 5]] = True
    targets = labels, places, np.array([False, False, True, False])
    loss, gradient = train_strings.string_loss(logits, targets)
    np.testing.assert_allclose(gradient.sum(axis=2), 0, atol=1e-6)
    for index in np.ndindex(4, 6, 12):
        if rng.random() < 0.2:
            moved = np.zeros_like(logits)
            moved[index] = 1e-5
            ends = [train_strings.string_loss(logits + way * moved, targets)[0] for way in (1, -1)]
            assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)
    assert loss > 0


@pytest.mark.parametrize("labels", [(4, 6), (4, 4)])
def test_the_loss_is_that_of_all_ways_to_place_digits(labels):
    """Compared with the sum over all paths, where equal neighbors are one digit."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (1, 5, 12))
    places = np.ones((1, 2, 5), bool)
    places[0, 1, :2] = False
    targets = np.array([labels]), places, np.array([False])
    loss, _ = train_strings.string_loss(logits, targets)
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    total = 0.0
    for path in product({*labels, NOTHING}, repeat=5):
        runs = [(key, [t for t, _ in run]) for key, run in groupby(enumerate(path), lambda x: x[1])]
        digits = [(key, at) for key, at in runs if key != NOTHING]
        if tuple(key for key, _ in digits) == labels and min(digits[1][1]) >= 2:
            total += p[np.arange(5), list(path)].prod()
    assert loss == pytest.approx(-np.log(total))


def test_drawn_strings_have_their_digits_in_order():
    strings = train_strings.draw_examples((0, 0, True))
    assert len(strings) == train_strings.TASK
    for image, labels, spans in strings:
        assert image.shape[0] == HEIGHT and image.max() >= 96
        assert len(labels) == len(spans) <= 6
        middles = [low + high for low, high in spans]
        assert middles == sorted(middles)
    assert 0.05 < np.mean([not labels for _, labels, _ in strings]) < 0.25
