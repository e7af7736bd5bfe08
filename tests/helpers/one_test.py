"""All cases of a parametrized test as one test: many small ones cost more than what they check."""

import inspect
from functools import wraps
from itertools import product

import pytest

#: Failures that are shown in full; of the others, the cases are named.
SHOWN = 3


def in_one_test(item):
    """Run the cases of the `parametrize` marks below this decorator in a loop, in one test.

    All cases run; the test fails if any did, names all that did, and shows the first few. Fixtures
    are shared by the cases. A class is taken as the tests in it.
    """
    marks = cases_of(item)
    if not inspect.isclass(item):
        return run_all(item, marks)
    for name in dir(item):
        if name.startswith("test"):
            function = getattr(item, name)
            setattr(item, name, run_all(function, [*cases_of(function), *marks]))
    item.pytestmark = others_of(item)
    return item


def cases_of(item):
    """Return the `parametrize` marks of a test or a class."""
    return [mark for mark in getattr(item, "pytestmark", []) if mark.name == "parametrize"]


def others_of(item):
    """Return the other marks."""
    return [mark for mark in getattr(item, "pytestmark", []) if mark.name != "parametrize"]


def run_all(function, marks):
    """Return a test that calls a function with all cases of these marks."""
    cases = [list_cases(*mark.args, **mark.kwargs) for mark in marks]
    assert cases and all(cases), f"{function.__name__} has no cases"
    signature = inspect.signature(function)
    given = {name for case in cases for name in case[0][1]}
    fixtures = [value for name, value in signature.parameters.items() if name not in given]

    @wraps(function)
    def run_cases(*arguments, **values):
        failures = {}
        for chosen in product(*cases):
            name = "-".join(text for text, _ in chosen)
            parameters = {key: value for _, part in chosen for key, value in part.items()}
            try:
                function(*arguments, **values, **parameters)
            except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
                failures[name] = error
        if failures:
            raise failure_of(failures)

    run_cases.__signature__ = signature.replace(parameters=fixtures)
    run_cases.pytestmark = others_of(function)
    return run_cases


def list_cases(names, values, ids=None):
    """Return (name, {parameter: value}) of each case of one `parametrize` mark."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    values = list(values)
    assert not any(isinstance(value, type(pytest.param())) for value in values), "no pytest.param"
    if callable(ids):
        texts = [ids(value) for value in values]
    else:
        texts = list(ids) if ids is not None else list(map(str, values))
    return [
        (str(text), dict(zip(names, value if len(names) > 1 else [value], strict=True)))
        for text, value in zip(texts, values, strict=True)
    ]


def failure_of(failures):
    """Return the exception that says which cases failed, with the first few failures."""
    some = list(failures.items())[:SHOWN]
    for name, error in some:
        error.add_note(f"in the case {name}")
    text = f"{len(failures)} cases failed: {', '.join(failures)}"
    return BaseExceptionGroup(text, [error for _, error in some])
