"""Places of the values between the functions of a C file, all in one array: the work area.

A value is there from the call that makes it to the last one that reads it. Two that are there at
the same time lie apart, but a function may write over what it has read already: its output may
begin `gap` before its input.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from math import factorial, prod
from typing import Any

import numpy as np

#: Orders of placing that are tried.
MOST_ORDERS = 5040


@dataclass(eq=False)
class Value:
    """A number of items that live from one call to another, at `place` in the work area."""

    size: int
    first: int
    last: int
    place: int = 0

    @property
    def end(self) -> int:
        """Place of the first item after it."""
        return self.place + self.size


@dataclass(eq=False)
class Call:
    """A function that is called: a stage or an op, which has branches if it takes their results."""

    what: Any
    sources: tuple[Value, ...]
    target: Value
    scratch: Value | None


@dataclass(eq=False)
class Plan:
    """Calls that compute a model, and the size of the work area."""

    calls: list[Call]
    input: Value
    size: int = 0
    values: list[Value] = field(default_factory=list)


def plan_memory(chain: list[Any], held: int, outside: Iterable[Any] = ()) -> Plan:
    """Return the calls that compute a chain, with places for their values.

    Parameters
    ----------
    chain : list
        Stages or ops, with `result`, `branches`, `gap` and `scratch`.
    held : int
        Items of the input in the work area; 0 if it is elsewhere.
    outside : iterable, optional
        Those whose outputs are not in the work area.
    """
    start = Value(held, -1, -1)
    plan = Plan([], start)
    end = _add_calls(plan, chain, start)
    end.last = len(plan.calls)
    for number, call in enumerate(plan.calls):
        for value in call.sources:
            value.last = max(value.last, number)
    elsewhere = {id(call.target) for call in plan.calls if call.what in outside}
    values = [start, *(call.target for call in plan.calls if id(call.target) not in elsewhere)]
    values += [call.scratch for call in plan.calls if call.scratch]
    plan.values = [value for value in values if value.size]
    overlaps = _allowed_overlaps(plan.calls)
    best: list[int] = []
    for order in _orders(plan.values):
        size = _place(order, overlaps)
        if not best or size < plan.size:
            plan.size, best = size, [value.place for value in plan.values]
    for value, place in zip(plan.values, best, strict=True):
        value.place = place
    return plan


def _add_calls(plan: Plan, chain: list[Any], value: Value) -> Value:
    for what in chain:
        sources: tuple[Value, ...] = (value,)
        if what.branches:
            sources = tuple(_add_calls(plan, branch, value) for branch in what.branches)
        number = len(plan.calls)
        value = Value(prod(what.result), number, number)
        scratch = Value(what.scratch, number, number) if what.scratch else None
        plan.calls.append(Call(what, sources, value, scratch))
    return value


def _allowed_overlaps(calls: list[Call]) -> dict[tuple[int, int], int]:
    """Return how far a target is before a source that it may overwrite, by their identities."""
    return {
        (id(source), id(call.target)): call.what.gap
        for number, call in enumerate(calls)
        for source in call.sources
        if call.what.gap is not None and source.last == number
    }


def _orders(values: list[Value]) -> Iterator[list[Value]]:
    """Yield orders in which values may be placed: all of a few, else some of them."""
    if factorial(min(len(values), 20)) <= MOST_ORDERS:
        yield from map(list, permutations(values))
        return
    yield sorted(values, key=lambda value: -value.size)
    yield sorted(values, key=lambda value: -value.first)
    rng = np.random.default_rng(0)
    for _ in range(MOST_ORDERS // len(values)):
        yield [values[i] for i in rng.permutation(len(values))]


def _place(order: list[Value], overlaps: dict[tuple[int, int], int]) -> int:
    """Give each value the lowest place that those before it leave; return the size of all."""
    placed: list[Value] = []
    for value in order:
        there = [
            other for other in placed if other.first <= value.last >= value.first <= other.last
        ]
        places = [0]
        for other in there:
            places += [other.end, other.place - value.size]
            if (gap := overlaps.get((id(value), id(other)))) is not None:
                places.append(other.place + gap)
            if (gap := overlaps.get((id(other), id(value)))) is not None:
                places.append(other.place - gap)
        for value.place in sorted(place for place in places if place >= 0):
            if all(_may_lie(value, other, overlaps) for other in there):
                break
        placed.append(value)
    return max((value.end for value in placed), default=0)


def _may_lie(a: Value, b: Value, overlaps: dict[tuple[int, int], int]) -> bool:
    """Return whether two values may be where they are."""
    if a.end <= b.place or b.end <= a.place:
        return True
    for source, target in ((a, b), (b, a)):
        gap = overlaps.get((id(source), id(target)))
        if gap is not None and target.place + gap <= source.place:
            return True
    return False
