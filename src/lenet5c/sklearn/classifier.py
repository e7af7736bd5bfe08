"""LeNet-5 classifier with scikit-learn's API."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lenet5c.datasets import Dataset, Source
from lenet5c.nn.kind import number, plain, whole
from lenet5c.recipes import Recipe, RunConfig, recipe, train
from lenet5c.recipes.build import make_loss
from lenet5c.recipes.by_images import choose_recipe
from lenet5c.recipes.kind import CLASS_WEIGHT
from lenet5c.recipes.net_settings import NET_SETTINGS
from lenet5c.recipes.start import take_net
from lenet5c.sklearn.pixels import as_images, find_image_shape, find_pixel_range
from lenet5c.sklearn.state import pack, unpack
from lenet5c.training import NonFiniteError, Trainer
from lenet5c.training.weights import Targets, class_weights, weigh, weigh_loss

#: Samples per tile. In full tiles, results for a sample do not depend on the rest of the batch.
TILE = 16
#: Parameters that are options of the net.
OF_NET = (
    *("channels", "units", "kernel_size", "padding", "activation", "pooling", "dropout"),
    "batch_norm",
)
#: Names of the settings of the recipe or its net for parameters with other names.
OF_RECIPE = (
    {"learning_rate": "lr"}
    | {name: name for name in ("epochs", "batch_size", *OF_NET)}
    | {"distortion": "distortion"}
)
#: Parameters with their own kinds of values.
KINDS = {"validation_fraction": number(below=1), "patience": whole(0)}


class LeNet5Classifier(ClassifierMixin, BaseEstimator):
    """LeNet-5 classifier for images of any size.

    Samples are images (n, H, W) or (n, C, H, W), or rows (n, features) with the shape
    `image_shape`. They are converted to 8-bit pixels, fitted to 32 by 32 (images of 20 to 32 pixels
    per side are padded, others resized) and standardized with the training images. The same data
    and `random_state` give bit-identical results with any number of threads.

    Parameters
    ----------
    recipe : str or None
        A recipe of `lenet5c.recipes`, which defines the defaults of the parameters below. By
        default, 'small-color' for images in color or of more than 48 pixels per side, else
        'default'.
    epochs : int, optional
        Number of epochs.
    batch_size : int, optional
    learning_rate : float, optional
        Peak learning rate of the recipe's schedule. For `partial_fit`, the constant learning rate;
        by default, a quarter of the recipe's peak.
    channels, units : sequence of int, optional
        Output channels of each convolution, and units of the hidden fully connected layers.
    kernel_size, padding : int or sequence of int, optional
        Kernel size and padding of all convolutions, or of each.
    activation : str, optional
        A name in `lenet5c.nn.ACTIVATIONS`.
    pooling : {'avg', 'max'}, optional
    dropout : float, optional
    batch_norm : bool, optional
    distortion : str or dict, optional
        Augmentation of the training images, such as 'modern' for digits and 'pictures' for images
        that may be mirrored; settings of `lenet5c.datasets.Distortion`; or 'none'. Not used by
        `partial_fit`.
    class_weight : 'balanced' or dict, optional
        Class weights in the loss, from 1e-6 to 1e6, 1 by default; 'balanced' uses n_samples /
        (n_classes * count), including sample weights. `partial_fit` does not support 'balanced'.
    validation_fraction : float
        Fraction of the samples held out by `fit` for `validation_scores_` and `patience`,
        stratified by class unless a random split has at least 100 samples of each class.
    patience : int
        Number of epochs without an improvement of the validation score after which `fit` stops and
        restores the best weights; 0 to disable.
    image_shape : (int, int) or (int, int, int), optional
        Shape (H, W) or (C, H, W) of rows. By default a square, or nearly one, possibly padded with
        black.
    pixel_range : (float, float), optional
        The values of black and white. By default 0 and 255 for uint8, else the minimum and maximum
        of the training data (or of the first `partial_fit` call). Values outside are clipped.
    warm_start : bool
        If True, `fit` starts from the current weights, with their net and preparation. The
        optimizer and its learning rate are reset.
    random_state : int, RandomState or None
        Random seed of weights, split, order and augmentation.
    verbose : bool
        Print a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    n_features_in_ : int
        Number of pixels of a sample.
    image_shape_ : tuple of int
        Shape (C, H, W).
    pixel_range_ : tuple of float
    n_iter_ : int
        Number of epochs, or of `partial_fit` calls.
    loss_curve_, accuracy_curve_ : list of float
        Mean training loss and accuracy of each epoch or call.
    validation_scores_ : list of float
        Accuracies on the held-out samples; empty if there are none.
    recipe_ : dict
        All settings of the training.
    trained_ : lenet5c.training.TrainedModel
        The model, for `lenet5c.training.save_model` and `lenet5c.export`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from lenet5c.sklearn import LeNet5Classifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> classifier = LeNet5Classifier(epochs=5, random_state=0).fit(X_train, y_train)
    >>> classifier.score(X_test, y_test) > 0.97
    True
    >>> classifier.image_shape_, classifier.n_iter_
    ((1, 8, 8), 5)
    """

    def __init__(
        self,
        recipe: str | None = "default",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        channels: Sequence[int] | None = None,
        units: Sequence[int] | None = None,
        kernel_size: int | Sequence[int] | None = None,
        padding: int | Sequence[int] | None = None,
        activation: str | None = None,
        pooling: str | None = None,
        dropout: float | None = None,
        batch_norm: bool | None = None,
        distortion: str | dict[str, Any] | None = None,
        class_weight: str | dict[Any, float] | None = None,
        validation_fraction: float = 0.0,
        patience: int = 0,
        image_shape: tuple[int, ...] | None = None,
        pixel_range: tuple[float, float] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        # scikit-learn requires each parameter as an unchanged attribute.
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the classifier.

        Parameters
        ----------
        X : array-like (n, features), (n, H, W) or (n, C, H, W)
            Samples, of dtype uint8 or any other numeric dtype.
        y : array-like (n,)
            Labels of any type, with at least two classes.
        sample_weight : array-like (n,), optional
            Sample weights of at least 0. The loss of each step is the weighted mean over its
            samples. Samples of weight 0 are ignored. Equal weights have no effect.
        """
        before = getattr(self, "trained_", None) if self.warm_start else None
        rows, labels, shape = self._validate(X, y, reset=before is None)
        classes = np.unique(labels)
        rows, labels, weight = _weigh(rows, labels, sample_weight)
        if before is None:
            self._begin(rows, shape, classes)
        source = self._make_source(rows, labels, shape, weight)
        settings = self._make_recipe(source.train)
        if before is not None:
            settings = take_net(settings, before, self._get_net_settings())
        config = RunConfig(
            self._name_recipe(source.train), settings=settings, seed=self._draw_seed()
        )
        report = self._report if self.verbose else None
        run = train(config, source, start=before, on_epoch=report)
        self.trained_, self.optimizer_, self.seed_ = run.trained, run.trainer.optimizer, config.seed
        self.recipe_, self.n_iter_ = settings.to_dict(), len(run.history)
        self.loss_curve_ = [row["train_loss"] for row in run.history]
        self.accuracy_curve_ = [row["train_accuracy"] for row in run.history]
        scores = [row.get("validation_accuracy") for row in run.history]
        self.validation_scores_ = [score for score in scores if score is not None]
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one epoch on these samples at a constant learning rate. Can be used after `fit`.

        Parameters
        ----------
        X, y
            See `fit`.
        classes : array-like, optional
            All labels that may occur; required in the first call.
        sample_weight : array-like (n,), optional
            See `fit`.
        """
        first = not hasattr(self, "trained_")
        if first and classes is None:
            raise ValueError(
                "classes must be passed on the first call to partial_fit, with all labels that "
                "may occur"
            )
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight must be a dict or None for partial_fit, which does not see all "
                f"samples, got {self.class_weight!r}"
            )
        rows, labels, shape = self._validate(X, y, reset=first)
        rows, labels, weight = _weigh(rows, labels, sample_weight, several=False)
        if first:
            self._begin(rows, shape, np.unique(np.asarray(classes)))
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(
                f"classes must be as in the first call, {self.classes_!r}, got {classes!r}"
            )
        source = self._make_source(rows, labels, shape, weight)
        settings = self._make_recipe(source.train, partial=True)
        if settings.optimizer == "sdlm":
            raise ValueError(
                "recipe must have an optimizer that works without the whole data set, got "
                f"{self._name_recipe(source.train)!r}; use fit"
            )
        if first:
            self.seed_, self.n_iter_, self.recipe_ = self._draw_seed(), 0, settings.to_dict()
            trainer, self.trained_ = settings.build(source, self.seed_)
            self.optimizer_ = trainer.optimizer
            self.loss_curve_, self.accuracy_curve_, self.validation_scores_ = [], [], []
        self._train_epoch(settings, source.train)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the predicted label of each sample, (n,)."""
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return probabilities (n, n_classes), in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithms of `predict_proba`, finite even where that underflows to 0."""
        logits = self._logits(X).astype(np.float64) / self.trained_.temperature
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return logits (n, n_classes); for two classes, their difference (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        return pack(dict(super().__getstate__()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unpack(state, type(self).__name__))

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any, tuple[int, ...]]:
        """Return samples as rows, labels, and the original shape of a sample."""
        X, shape = _to_rows(X)
        X, y = validate_data(self, X, y, reset=reset)
        check_classification_targets(y)
        return X, y, shape or X.shape[1:]

    def _begin(self, X: NDArray[Any], shape: tuple[int, ...], classes: NDArray[Any]) -> None:
        """Set the attributes determined by the first data."""
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes, got {len(classes)} class")
        image_shape = find_image_shape(shape, X.shape[1], self.image_shape)
        self.pixel_range_ = find_pixel_range(X, self.pixel_range)
        self.classes_, self.image_shape_ = classes, image_shape
        self.__dict__.pop("trained_", None)

    def _make_source(
        self,
        X: NDArray[Any],
        y: NDArray[Any],
        shape: tuple[int, ...],
        weight: NDArray[np.float32] | None,
    ) -> Source:
        """Return the samples as a data set."""
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y must only have the classes {self.classes_.tolist()}, got "
                f"{unknown.tolist()[0]!r}"
            )
        labels, names = np.searchsorted(self.classes_, y), tuple(map(str, self.classes_))
        images = self._to_images(X, shape)
        count = len(self.classes_)
        dataset = Dataset(images, labels, count, class_names=names, sample_weight=weight)
        return Source(dataset, dataset, reading="whole")

    def _to_images(self, X: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        if len(shape) > 1 and shape not in (self.image_shape_, self.image_shape_[1:]):
            raise ValueError(
                f"X must have samples of shape {self.image_shape_}, as in fit, got {shape}"
            )
        return as_images(X, self.image_shape_, self.pixel_range_)

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _name_recipe(self, samples: Dataset) -> str:
        return choose_recipe(samples.images) if self.recipe is None else self.recipe

    def _make_recipe(self, samples: Dataset, partial: bool = False) -> Recipe:
        """Return the recipe with the changes of the parameters, for a number of samples."""
        kinds = {name: setting.kind for name, setting in (Recipe.settings() | NET_SETTINGS).items()}
        changes = {}
        for name, setting in OF_RECIPE.items():
            if (value := plain(getattr(self, name))) is not None:
                changes[setting] = kinds[setting].check(name, value)
        weights = plain(self.class_weight)
        if isinstance(weights, dict):
            weights = {
                str(next((own for own in self.classes_ if own == label), label)): weight
                for label, weight in weights.items()
            }
        CLASS_WEIGHT.check("class_weight", weights)
        changes["class_weight"] = weights
        for name, kind in KINDS.items():
            kind.check(name, plain(getattr(self, name)))
        if self.patience and not self.validation_fraction:
            raise ValueError(
                "validation_fraction must be greater than 0, such as 0.1, with patience, got "
                f"{self.validation_fraction!r}"
            )
        changes |= {"validation": float(self.validation_fraction), "patience": self.patience}
        changes |= {"keep": "best" if self.patience else "last", "train_size": None}
        if partial:
            changes |= {"validation": 0.0, "patience": 0, "keep": "last", "distortion": None}
            changes |= {"average": 0.0}
        chosen = recipe(self._name_recipe(samples), **changes)
        if chosen.model.get("batch_norm"):
            # The last batch must not have one sample.
            count = len(samples)
            left = count - round(chosen.validation * count)
            sizes = range(chosen.batch_size, chosen.batch_size + left + 2)
            size = next((size for size in sizes if left % size != 1), chosen.batch_size)
            chosen = chosen.change(batch_size=size)
        return chosen

    def _get_net_settings(self) -> dict[str, Any]:
        """Return the settings of the net that are not None."""
        given = {name: plain(getattr(self, name)) for name in OF_NET}
        return {name: value for name, value in given.items() if value is not None}

    def _train_epoch(self, settings: Recipe, samples: Dataset) -> None:
        trained, count = self.trained_, len(samples)
        trained.temperature = 1.0  # was fitted for other weights
        order = np.random.default_rng([self.seed_, 6, self.n_iter_]).permutation(count)
        steps = ceil(count / settings.batch_size)
        loss, weights = weigh_loss(
            make_loss(settings), class_weights(settings.class_weight, samples)
        )
        targets = Targets(weigh(samples, weights), loss, settings.batch_size)
        labels, weight = targets[order]
        rate = settings.lr if self.learning_rate is not None else settings.lr / 4
        losses, taken, correct = trained.model.train_steps(
            trained.preparation.samples(samples.images, order),
            labels,
            loss,
            cast(Any, self.optimizer_),
            [rate] * steps,
            batch_size=settings.batch_size,
            sample_weight=weight,
        )
        if taken < steps:
            raise NonFiniteError(
                f"the loss is {losses[taken]} in call {self.n_iter_ + 1} of partial_fit; lower "
                f"learning_rate from {rate:g}"
            )
        batches = np.split(order, range(settings.batch_size, count, settings.batch_size))
        mean = float(np.average(losses, weights=[targets.count(batch) for batch in batches]))
        accuracy = correct / count
        self.loss_curve_.append(mean)
        self.accuracy_curve_.append(accuracy)
        self.n_iter_ += 1
        if self.verbose:
            row = {"epoch": self.n_iter_, "train_loss": mean, "train_accuracy": accuracy}
            self._report(None, row)

    def _report(self, trainer: Trainer | None, row: dict[str, Any]) -> None:
        text = f"loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}"
        if "validation_accuracy" in row:
            text += f", validation {row['validation_accuracy']:.4f}"
        print(f"epoch {row['epoch']}: {text}")

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self, "trained_")
        X, shape = _to_rows(X)
        X = validate_data(self, X, reset=False)
        images = self._to_images(X, shape or X.shape[1:])
        missing = np.zeros((-len(images) % TILE, *images.shape[1:]), np.uint8)
        return self.trained_.logits(np.concatenate([images, missing]))[: len(X)]


def _weigh(
    X: NDArray[Any], y: NDArray[Any], sample_weight: Any, several: bool = True
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32] | None]:
    """Return the samples of nonzero weight, and their weights of at most 1, None if equal."""
    if sample_weight is None:
        return X, y, None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight must not be zero for all samples")
    weight = (weight / weight.max()).astype(np.float32)
    counts = weight > 0
    X, y, weight = X[counts], y[counts], weight[counts]
    if several and len(np.unique(y)) < 2:
        raise ValueError(
            "sample_weight must be greater than 0 for samples of at least 2 classes, got only "
            f"class {plain(y[0])!r}"
        )
    return X, y, None if (weight == weight[0]).all() else weight


def _to_rows(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return images as rows of pixels, with the shape of a sample; other samples unchanged."""
    if isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) in (2, 3):
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.ndim in (3, 4):
        return X.reshape(len(X), prod(X.shape[1:])), X.shape[1:]
    return X, None
