"""Memory planning of the work area, an array with all intermediate values of a C file.

A value lives from the call that writes it to the last call that reads it. Values that live at the
same time do not overlap, except that a function may overwrite input that it has already read: its
output may start `gap` items before its input.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from math import factorial, prod
from typing import Any

import numpy as np

#: Maximum number of placement orders to try.
MAX_ORDERS = 5040


@dataclass(eq=False)
class Value:
    """A range of the work area, starting at `place`, that is in use from one call to another."""

    size: int
    first: int
    last: int
    place: int = 0

    @property
    def end(self) -> int:
        """Offset of the first item after it."""
        return self.place + self.size


@dataclass(eq=False)
class Call:
    """A call of a stage or an op, which has branches if it combines their results."""

    what: Any
    sources: tuple[Value, ...]
    target: Value
    scratch: Value | None


@dataclass(eq=False)
class Plan:
    """The calls of a model, and the size of the work area."""

    calls: list[Call]
    input: Value
    size: int = 0
    values: list[Value] = field(default_factory=list)


def plan_memory(chain: list[Any], held: int, outside: Iterable[Any] = ()) -> Plan:
    """Return the calls of a chain, with offsets of their values.

    Parameters
    ----------
    chain : list
        Stages or ops, with `result`, `branches`, `gap` and `scratch`.
    held : int
        Items of the input in the work area; 0 if it is elsewhere.
    outside : iterable, optional
        Stages or ops whose outputs are not in the work area.
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
    """Return the gaps between targets and sources that they may overwrite, by their identities."""
    return {
        (id(source), id(call.target)): call.what.gap
        for number, call in enumerate(calls)
        for source in call.sources
        if call.what.gap is not None and source.last == number
    }


def _orders(values: list[Value]) -> Iterator[list[Value]]:
    """Yield placement orders: all permutations of a few values, else some."""
    if factorial(min(len(values), 20)) <= MAX_ORDERS:
        yield from map(list, permutations(values))
        return
    yield sorted(values, key=lambda value: -value.size)
    yield sorted(values, key=lambda value: -value.first)
    rng = np.random.default_rng(0)
    for _ in range(MAX_ORDERS // len(values)):
        yield [values[i] for i in rng.permutation(len(values))]


def _place(order: list[Value], overlaps: dict[tuple[int, int], int]) -> int:
    """Assign the lowest free offset to each value, in order; return the total size."""
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
    """Return True if the placement of two values is valid."""
    if a.end <= b.place or b.end <= a.place:
        return True
    for source, target in ((a, b), (b, a)):
        gap = overlaps.get((id(source), id(target)))
        if gap is not None and target.place + gap <= source.place:
            return True
    return False
