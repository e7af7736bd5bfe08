from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lenet5c.nn import Sequential
from lenet5c.training import Evaluation, TrainedModel

__all__ = ["activations", "confusion", "curves", "errors", "filters"]

def curves(
    history_rows: Iterable[Mapping[str, Any]], *, kept_epoch: int | None = None
) -> Figure: ...
def confusion(matrix: ArrayLike, class_names: Sequence[str]) -> Figure: ...
def errors(
    images: NDArray[np.uint8],
    evaluation: Evaluation,
    class_names: Sequence[str],
    *,
    most: int = 40,
    inverted: bool = True,
) -> Figure: ...
def filters(model: Sequential) -> Figure: ...
def activations(
    trained: TrainedModel,
    image: NDArray[np.uint8],
    *,
    title: str = "",
    given: int | None = None,
    inverted: bool = True,
) -> Figure: ...
