from typing import Self

from typing_extensions import disjoint_base

@disjoint_base
class Workspace:
    @property
    def floats(self) -> int: ...
    def __new__(cls, floats: int) -> Self: ...
