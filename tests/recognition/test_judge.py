"""Confidences: of single digits, by two nets, and of sums."""

import numpy as np
import pytest

from lenet5c.recognition.decoding import CALIBRATION, calibrate
from lenet5c.recognition.judge import measure_confidence, reject_answer
from lenet5c.recognition.signs import ALONE, P_NONE, SECOND, digit_share, weigh_digits


def seen(**shares):
    """Return probabilities of the net of signs, such as d3=0.9 for the digit 3, none=0.1."""
    row = np.zeros(20)
    for name, share in shares.items():
        row[P_NONE if name == "none" else int(name[1:])] = share
    return row


def one(**shares):
    row = np.full(10, 1e-6)
    for name, share in shares.items():
        row[int(name[1:])] = share
    return row


def test_a_model_alone_has_its_own_confidence():
    assert measure_confidence(np.array([0.2, 0.8])) == 0.8


def test_both_nets_say_which_digit_it_is():
    found = weigh_digits(one(d3=0.6, d5=0.4), seen(d3=0.2, d5=0.7, none=0.1), range(10))
    three, five = 0.6 ** (1 - SECOND) * (2 / 9) ** SECOND, 0.4 ** (1 - SECOND) * (7 / 9) ** SECOND
    assert found[3] == pytest.approx(three / (three + five), abs=1e-3)
    assert found.sum() == pytest.approx(1)


def test_both_nets_determine_the_label():
    p = one(d3=0.55, d5=0.45)
    agree, differ = seen(d3=1.0), seen(d5=1.0)
    same, other = weigh_digits(p, agree, range(10)), weigh_digits(p, differ, range(10))
    assert same.argmax() == 3 and other.argmax() == 5
    assert measure_confidence(other, differ) > 0.9
    assert reject_answer(same, agree) is None
    unsure = one(d3=0.5, d5=0.3, d8=0.2)
    reason = "the net is uncertain: the most probable class has 50%"
    assert reject_answer(unsure, seen(d3=1.0), 0.9) == reason
    assert measure_confidence(p) == p.max()  # without the second net


def test_ink_that_is_none_lowers_the_confidence():
    p, row = one(d3=1.0), seen(d3=0.5, none=0.5)
    assert measure_confidence(p, row) == pytest.approx(digit_share(row, ALONE), abs=1e-3)
    assert reject_answer(one(d3=1.0), seen(d3=0.1, none=0.9)) == "it does not look like a digit"


def test_classes_may_be_some_digits_in_any_order():
    p = np.array([0.7, 0.3])
    row = seen(d8=0.9, d1=0.1)
    right, turned = weigh_digits(p, row, [8, 1]), weigh_digits(p, row, [1, 8])
    assert right.argmax() == 0 and right[0] > 0.7 > turned[0]


def test_probabilities_of_sums_are_calibrated_by_their_odds():
    slope, offset = CALIBRATION
    for probability in (0.2, 0.5, 0.9, 0.99):
        odds = np.log(probability / (1 - probability))
        assert calibrate(probability) == pytest.approx(1 / (1 + np.exp(-slope * odds - offset)))
    found = [calibrate(each) for each in (0.0, 0.3, 0.6, 0.9, 0.999, 1.0, 1.2)]
    assert found == sorted(found) and found[0] > 0 and found[-1] < 1
    assert calibrate(0.8) < 0.8
