"""Removal of ruled lines, underlines, strikes, boxes and tables without damage to strokes."""

import numpy as np
import pytest

from lenet5c.recognition.rules import remove_rules

SIDE = 200


def blank():
    return np.zeros((SIDE, SIDE), np.uint8)


def draw(plane, start, end, width=3.0, level=255):
    """Draw a straight line, (y, x) to (y, x), with soft edges."""
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    (y0, x0), (y1, x1) = start, end
    length = np.hypot(y1 - y0, x1 - x0)
    along = np.clip(((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / length**2, 0, 1)
    far = np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0))
    ink = level * np.clip(width / 2 + 0.5 - far, 0, 1)
    np.maximum(plane, ink.astype(np.uint8), out=plane)


def ring(plane, center=(100, 100), radius=35, width=7):
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    far = np.abs(np.hypot(y - center[0], (x - center[1]) * 1.4) - radius)
    plane[far <= width / 2] = 255


def digit():
    plane = blank()
    ring(plane)
    return plane


@pytest.mark.parametrize("tilt", [-12, 0, 7])
@pytest.mark.parametrize("level", [90, 255])
def test_rules_of_paper_go(tilt, level):
    alone = digit()
    plane = alone.copy()
    for y in range(10, SIDE, 40):
        draw(plane, (y, 0), (y + tilt, SIDE), 2, level)
    cleaned, rules = remove_rules(plane)
    assert {rule.kind for rule in rules} == {"paper"}
    assert np.mean((cleaned >= 96) != (alone >= 96)) < 0.003
    assert not cleaned[:, :50].any()


def test_squared_paper_and_a_margin_go():
    alone = digit()
    plane = alone.copy()
    for at in range(6, SIDE, 30):
        draw(plane, (at, 0), (at, SIDE), 2, 140)
        draw(plane, (0, at), (SIDE, at), 2, 140)
    cleaned, rules = remove_rules(plane)
    assert len(rules) >= 14  # one is seen in two parts
    assert np.mean((cleaned >= 96) != (alone >= 96)) < 0.006


@pytest.mark.parametrize(
    ("start", "end", "kind"),
    [
        ((150, 50), (152, 150), "underline"),
        ((136, 40), (134, 160), "underline"),  # over the lower edge of the digit
        ((100, 45), (96, 155), "strike"),
        ((55, 50), (55, 150), "overline"),
    ],
)
def test_lines_beside_a_digit_go(start, end, kind):
    alone = digit()
    plane = alone.copy()
    draw(plane, start, end, 4)
    cleaned, rules = remove_rules(plane)
    assert [rule.kind for rule in rules] == [kind]
    assert np.mean((cleaned >= 96) != (alone >= 96)) < 0.005
    np.testing.assert_allclose(rules[0].line, (*start, *end), atol=3)


@pytest.mark.parametrize("tilt", [0, 8])
def test_a_box_goes(tilt):
    alone = digit()
    plane = alone.copy()
    corners = [(50, 55 + tilt), (50 + tilt, 145), (150, 145 - tilt), (150 - tilt, 55)]
    for one, other in zip(corners, corners[1:] + corners[:1], strict=True):
        draw(plane, one, other, 4)
    cleaned, rules = remove_rules(plane)
    assert [rule.kind for rule in rules] == ["frame"] * 4
    assert np.mean((cleaned >= 96) != (alone >= 96)) < 0.002


def test_an_underline_goes_between_the_feet_of_two_digits():
    y, x = np.mgrid[:SIDE, :SIDE]

    def oval(column, size):
        return np.hypot(y - 100, (x - column) * 1.4) <= size

    alone = blank()
    for column, side in ((62, -1), (138, 1)):  # zeros with their outer sides thicker
        alone[oval(column, 38) & ~oval(column - 2 * side, 31)] = 255
    plane = alone.copy()
    draw(plane, (138, 20), (138, 180), 4)
    cleaned, rules = remove_rules(plane)
    assert [rule.kind for rule in rules] == ["underline"]
    assert not cleaned[:, 92:108].any()
    assert np.mean((cleaned >= 96) != (alone >= 96)) < 0.006


def test_a_cube_is_no_box():
    """Lines that join the sides belong to them; without them, they would look like a seven."""
    cube = blank()
    front = [(70, 40), (70, 130), (160, 130), (160, 40)]
    for one, other in zip(front, front[1:] + front[:1], strict=True):
        draw(cube, one, other, 13)
    for y, x in front[:3]:
        draw(cube, (y, x), (y - 35, x + 35), 13)
    draw(cube, (35, 75), (35, 165), 13)
    draw(cube, (35, 165), (125, 165), 13)
    cleaned, rules = remove_rules(cube)
    assert rules == []
    np.testing.assert_array_equal(cleaned, cube)


@pytest.mark.parametrize(
    "strokes",
    [
        [((40, 100), (160, 100))],  # 1
        [((40, 60), (40, 140)), ((40, 140), (160, 90))],  # 7
        [((40, 60), (40, 140)), ((40, 140), (160, 90)), ((100, 70), (100, 140))],
        [((40, 120), (160, 120)), ((40, 120), (120, 50)), ((120, 50), (120, 150))],  # 4
        [((100, 60), (100, 140))],  # a minus sign
        [((100, 60), (100, 140)), ((60, 100), (140, 100))],  # a plus sign
        [((80, 60), (80, 140)), ((110, 60), (110, 140))],  # an equals sign
        [((20, 100), (80, 100)), ((100, 60), (100, 140)), ((120, 100), (180, 100))],  # 1 over 1
        [((60, 30), (140, 30)), ((100, 70), (100, 130)), ((60, 170), (140, 170))],  # 1 - 1
    ],
    ids=["1", "7", "barred 7", "4", "minus", "plus", "equals", "fraction", "difference"],
)
@pytest.mark.parametrize("width", [3, 9])
def test_straight_strokes_stay(strokes, width):
    plane = blank()
    for start, end in strokes:
        draw(plane, start, end, width)
    cleaned, rules = remove_rules(plane)
    assert rules == []
    np.testing.assert_array_equal(cleaned, plane)


def test_an_empty_table_is_nothing():
    plane = blank()
    for at in (20, 70, 120, 170):
        draw(plane, (at, 20), (at, 170), 3)
        draw(plane, (20, at), (170, at), 3)
    cleaned, rules = remove_rules(plane)
    assert len(rules) == 8 and not (cleaned >= 96).any()


def test_boxes_apart_go():
    plane = np.zeros((SIDE, 2 * SIDE), np.uint8)
    for y in (30, 90):
        for x in range(20, 2 * SIDE - 60, 70):
            for start, end in (
                ((y, x), (y, x + 50)),
                ((y + 30, x), (y + 30, x + 50)),
                ((y, x), (y + 30, x)),
                ((y, x + 50), (y + 30, x + 50)),
            ):
                draw(plane, start, end, 4)
    cleaned, _ = remove_rules(plane)
    assert not (cleaned >= 96).any()


def boxes_in_a_row(level=90):
    """Draw six boxes side by side, 70 high and 50 wide."""
    plane = np.zeros((160, 360), np.uint8)
    for y in (45, 115):
        draw(plane, (y, 30), (y, 330), 2, level)
    for x in range(30, 331, 50):
        draw(plane, (45, x), (115, x), 2, level)
    return plane


def test_a_stroke_from_the_top_of_a_box_to_its_foot_stays():
    plane = boxes_in_a_row()
    draw(plane, (50, 110), (110, 98), 7)
    cleaned, rules = remove_rules(plane)
    assert {rule.kind for rule in rules} == {"frame"} and len(rules) == 9
    draw(alone := np.zeros_like(plane), (50, 110), (110, 98), 7)
    np.testing.assert_array_equal(cleaned[55:105] >= 96, alone[55:105] >= 96)


def test_a_side_of_a_box_that_is_seen_in_part_goes():
    plane = boxes_in_a_row(255)
    plane[80:114, 175:186] = 0
    ring(plane, (95, 180), 15, 7)  # a stroke at its end
    cleaned, _ = remove_rules(plane)
    assert not (cleaned[:75] >= 96).any() and (cleaned[85:110] >= 96).any()


def test_lines_of_paper_go_whether_they_are_on_a_pixel_or_between_two():
    plane = np.zeros((150, 400), np.uint8)
    for k, x in enumerate(range(15, 400, 50)):
        if k % 3:
            plane[:, x : x + 2] = 52
        else:
            plane[:, x] = 104
    draw(plane, (70, 150), (76, 180), 8)
    plane[62:84, 165] = 0
    draw(plane, (70, 150), (76, 180), 8)
    cleaned, _ = remove_rules(plane)
    assert not cleaned[:60].any() and not cleaned[90:].any()
    assert (cleaned[72:74, 158:172] >= 96).all()


def test_a_margin_goes_from_a_blank_page():
    plane = np.zeros((SIDE, 2 * SIDE), np.uint8)
    for y in range(10, SIDE, 40):
        draw(plane, (y, 0), (y, 2 * SIDE), 2)
    draw(plane, (0, 30), (SIDE, 30), 3)
    cleaned, rules = remove_rules(plane)
    assert {rule.kind for rule in rules} == {"paper"}
    assert not (cleaned >= 96).any()


def test_no_ink_has_no_rules():
    cleaned, rules = remove_rules(blank())
    assert rules == [] and not cleaned.any()


def write_fraction(plane, left, distance, width=60):
    """Draw a ring above a bar above a ring, at this distance from the bar."""
    ring(plane, (60 - distance, left + width // 2), 25)
    ring(plane, (130 + distance, left + width // 2), 25)
    draw(plane, (95, left), (95, left + width), 4)


@pytest.mark.parametrize("distance", [0, 15])
def test_fraction_bars_stay_if_they_are_in_the_middle(distance):
    plane = np.zeros((220, 160), np.uint8)
    write_fraction(plane, 40, distance, 80)
    cleaned, rules = remove_rules(plane)
    assert rules == [] and np.array_equal(cleaned, plane)


def test_bars_of_fractions_in_a_row_are_no_strike_of_the_sign_between_them():
    plane = np.zeros((200, 420), np.uint8)
    for left in (20, 250):
        for column in (left + 30, left + 90):
            ring(plane, (45, column), 28)
            ring(plane, (145, column), 28)
        draw(plane, (95, left), (95, left + 130), 4)
    draw(plane, (95, 175), (95, 225), 5)
    draw(plane, (60, 200), (130, 200), 5)
    cleaned, rules = remove_rules(plane)
    assert rules == [] and np.array_equal(cleaned, plane)
