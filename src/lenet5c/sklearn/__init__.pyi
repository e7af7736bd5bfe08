from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from lenet5c.training import TrainedModel

__all__ = ["LeNet5Classifier"]

class LeNet5Classifier(ClassifierMixin, BaseEstimator):
    recipe: str
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    activation: str | None
    pooling: str | None
    dropout: float | None
    batch_norm: bool | None
    distortion: str | dict[str, Any] | None
    validation_fraction: float
    patience: int
    image_shape: tuple[int, ...] | None
    pixel_range: tuple[float, float] | None
    warm_start: bool
    random_state: int | np.random.RandomState | None
    verbose: bool
    classes_: NDArray[Any]
    n_features_in_: int
    image_shape_: tuple[int, int, int]
    pixel_range_: tuple[float, float]
    n_iter_: int
    loss_curve_: list[float]
    accuracy_curve_: list[float]
    validation_scores_: list[float]
    trained_: TrainedModel
    def __init__(
        self,
        recipe: str = "default",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        activation: str | None = None,
        pooling: str | None = None,
        dropout: float | None = None,
        batch_norm: bool | None = None,
        distortion: str | dict[str, Any] | None = None,
        validation_fraction: float = 0.0,
        patience: int = 0,
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None: ...
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self: ...
    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[Any]: ...
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]: ...
    def __sklearn_tags__(self) -> Any: ...
    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any]) -> None: ...
