"""Choice of the tile kernels: for the best instruction set, or the one in LENET5C_ISA."""

import os
from importlib import import_module

import lenet5c.kernels.simd._cpu as _cpu

ISA_VARIABLE = "LENET5C_ISA"


def choose(wanted: str, supported: list[str]) -> str:
    """Return the instruction set to use: `wanted` if it is set, else the best supported one."""
    if not wanted:
        return supported[0]
    if wanted not in supported:
        raise ImportError(
            f"{ISA_VARIABLE} must be one of {', '.join(supported)} on this processor, or unset, "
            f"got {wanted!r}"
        )
    return wanted


isa = choose(os.environ.get(ISA_VARIABLE, "").lower(), _cpu.supported())
_tiles = import_module(f"lenet5c.kernels.simd._tiles_{isa}")
_doubles = import_module(f"lenet5c.kernels.simd._doubles_{isa}")
tiles = _tiles.kernels
# Of the direct convolution, by the `char` of a dtype
direct = {"f": _tiles.direct, "d": _doubles.direct}
