"""Ops of a residual block: two chains with the same input, and the sum of their outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from lenet5c.kernels.engine.ops import Op, Shape


@dataclass(eq=False, repr=False, match_args=False)
class Residual(Op):
    """layers(x) + shortcut(x); a shortcut without layers is x itself."""

    layers: list[Op]
    shortcut: list[Op]

    def lower(self, shape: Shape) -> tuple[list[Op], Shape]:
        whole = as_maps(shape)
        fork = Fork().shaped(whole, whole)
        ops, out_shape = lower_chain(shape, self.layers)
        added, other_shape = lower_chain(shape, self.shortcut)
        if out_shape != other_shape:
            raise ValueError(
                f"shortcut must have the output shape of the layers, {out_shape}, got {other_shape}"
            )
        turn = None
        if self.shortcut:
            turn = Turn(fork).shaped(whole, whole)
            ops = [*ops, turn, *added]
        add = Add(fork, turn).shaped(as_maps(out_shape), as_maps(out_shape))
        return [fork, *ops, add], out_shape


@dataclass(eq=False, repr=False, match_args=False)
class Branch(Op):
    """An op that passes x unchanged to one of two parallel chains.

    Lowering sets `other`, the place of the gradient that comes from the other chain.
    """

    other: int = field(init=False, default=0)


@dataclass(eq=False, repr=False, match_args=False)
class Fork(Branch):
    """The beginning of both chains."""

    kind = "fork"


@dataclass(eq=False, repr=False, match_args=False)
class Turn(Branch):
    """The end of the first chain, whose output is at `end`, and the beginning of the second."""

    kind = "turn"
    fork: Fork
    end: int = field(init=False, default=0)


@dataclass(eq=False, repr=False, match_args=False)
class Add(Op):
    """The sum of x and the value at `other`: the input of the fork or the first chain's output.

    With `relu` the sum is rectified, and with `mask` its gradient is masked accordingly; with
    `branches` the gradient of `other` is that of x.
    """

    kind = "add"
    fork: Fork
    turn: Turn | None
    relu: bool = field(init=False, default=False)
    mask: bool = field(init=False, default=False)
    other: int = field(init=False, default=0)

    @property
    def branches(self) -> bool:
        return self.turn is not None


def lower_chain(shape: Shape, layers: Iterable[Op]) -> tuple[list[Op], Shape]:
    """Return the ops of consecutive layers, and the output shape of the last one."""
    ops: list[Op] = []
    for layer in layers:
        added, shape = layer.lower(shape)
        ops += added
    return ops, shape


def as_maps(shape: Shape) -> Shape:
    """Return a shape as (C, H, W)."""
    return shape if len(shape) == 3 else (prod(shape), 1, 1)
