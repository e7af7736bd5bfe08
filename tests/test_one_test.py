"""The helper that runs all cases of a test in one, `in_one_test`."""

import pytest
from one_test import in_one_test

SEEN = []


@pytest.fixture
def base():
    """Return a number that a case adds to."""
    return 10


@in_one_test
@pytest.mark.parametrize("a, b", [(1, 2), (3, 4)])
@pytest.mark.parametrize("c", {"x": 5, "y": 6}.values(), ids={"x": 5, "y": 6})
def test_every_case_runs_once_with_its_fixtures(base, a, b, c):
    assert base == 10
    SEEN.append((a, b, c))


def test_the_cases_are_the_product():
    SEEN.clear()
    test_every_case_runs_once_with_its_fixtures(10)
    assert sorted(SEEN) == [(1, 2, 5), (1, 2, 6), (3, 4, 5), (3, 4, 6)]


def test_the_cases_that_fail_are_named_and_all_run():
    runs = []

    @in_one_test
    @pytest.mark.parametrize("kind", ["odd", "even"])
    @pytest.mark.parametrize("number", [0, 1, 2, 3], ids=lambda number: f"number {number}")
    def check(kind, number):
        runs.append(number)
        assert number % 2 == (kind == "odd")

    with pytest.raises(BaseExceptionGroup) as raised:
        check()
    assert len(runs) == 8 and raised.value.message == (
        "4 cases failed: number 0-odd, number 1-even, number 2-odd, number 3-even"
    )
    assert raised.value.exceptions[0].__notes__ == ["in the case number 0-odd"]


def test_a_case_must_not_skip():
    @in_one_test
    @pytest.mark.parametrize("number", [0, 1])
    def check(number):
        if number:
            pytest.skip("nothing to see")

    with pytest.raises(BaseExceptionGroup, match="1 cases failed: 1"):
        check()


class Checks:
    """Tests that the class below inherits."""

    def test_a_method(self, base, number):
        SEEN.append(base + number)

    @pytest.mark.parametrize("other", [100, 200])
    def test_a_method_with_cases_of_its_own(self, number, other):
        SEEN.append(number + other)


@in_one_test
@pytest.mark.parametrize("number", [1, 2])
class TestNumbers(Checks):
    """Runs each method once for all numbers."""


def test_a_class_is_the_tests_in_it():
    SEEN.clear()
    TestNumbers().test_a_method(10)
    TestNumbers().test_a_method_with_cases_of_its_own()
    assert SEEN == [11, 12, 101, 102, 201, 202]
    assert "parametrize" in str(Checks.test_a_method_with_cases_of_its_own.pytestmark)
