"""Places of the values between the stages of a model in C, all in one array of floats.

A stage reads at one end of a region and writes at the other, so that a chain takes no more than its
two largest neighbors. The input of a residual block stays where it is while the block's branches
are computed in the rest of the region; its result is left at the end of the region that is not the
input's, as that of any stage.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from lenet5c.export.c_stages import Stage

#: A place in the work area, or the input of the model.
Place = int | str
INPUT = "input"


@dataclass(frozen=True)
class Call:
    """A function that is called: a stage's, or ``add`` or ``copy`` of so many values."""

    what: Stage | str
    source: Place
    target: Place
    size: int


@dataclass(frozen=True)
class Region:
    """A part of the work area."""

    low: int
    high: int

    def end(self, at_low: bool, size: int) -> int:
        """Return the place of so many values at an end."""
        return self.low if at_low else self.high - size

    def rest(self, at_low: bool, size: int) -> "Region":
        """Return what is left beside so many values at an end."""
        return Region(self.low + size, self.high) if at_low else Region(self.low, self.high - size)


def work_size(stages: list[Stage], held: int) -> int:
    """Return how many values a chain needs, of which its input takes `held`, 0 if it is elsewhere.

    One that is elsewhere is not overwritten.
    """
    need = held
    for stage in stages:
        size = prod(stage.result)
        if stage.branches:
            layers, shortcut = stage.branches
            within = max(work_size(layers, 0), size + work_size(shortcut, 0), size)
            need, held = max(need, held + within), size
        elif stage.in_place and held:
            need = max(need, size)
        else:
            need, held = max(need, held + size), size
    return need


def calls(stages: list[Stage], size: int) -> list[Call]:
    """Return the calls that compute a model; the work area has `work_size` of them for its input.

    The input may lie at the low end of the work area.
    """
    chain = _Chain(Region(0, work_size(stages, size)), INPUT, size, at_low=True)
    return list(chain.run(stages))


class _Chain:
    """Stages that feed one another in a region, with its values at one end of it, or elsewhere."""

    def __init__(self, region: Region, place: Place, held: int, at_low: bool) -> None:
        self.region, self.place, self.held, self.at_low = region, place, held, at_low

    def run(self, stages: list[Stage]) -> Iterator[Call]:
        """Yield the calls of the stages; `place` is that of the result then."""
        for stage in stages:
            size = prod(stage.result)
            if stage.branches:
                yield from self._run_branches(stage.branches, size)
            elif stage.in_place and self.held:
                source, self.place = self.place, self.region.end(self.at_low, size)
                yield Call(stage, source, self.place, size)
            else:
                source = self.place
                self._move(size)
                yield Call(stage, source, self.place, size)

    def _move(self, size: int) -> None:
        """Take a place for a result at the end of the region where the values are not."""
        self.at_low = not self.at_low
        self.place, self.held = self.region.end(self.at_low, size), size

    def _run_branches(self, branches: tuple[list[Stage], ...], size: int) -> Iterator[Call]:
        layers, shortcut = branches
        source, region = self.place, self.region.rest(self.at_low, self.held)
        self._move(size)
        if layers:
            # The first stage writes to an end, each further one that is not in place to the other.
            moves = sum(1 for stage in layers[1:] if stage.branches or not stage.in_place)
            first_at_low = self.at_low == (moves % 2 == 0)
            yield from _Chain(region, source, 0, at_low=not first_at_low).run(layers)
        else:
            yield Call("copy", source, self.place, size)
        added = source
        if shortcut:
            # Anywhere beside the result.
            beside = region.rest(self.at_low, size)
            chain = _Chain(beside, source, 0, at_low=True)
            yield from chain.run(shortcut)
            added = chain.place
        yield Call("add", added, self.place, size)
