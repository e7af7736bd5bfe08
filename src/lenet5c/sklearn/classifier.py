"""The classifier."""

from math import ceil, prod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lenet5c.datasets import Dataset, Distortion, Source
from lenet5c.nn import Samples
from lenet5c.recipes import RECIPES, recipe
from lenet5c.sklearn.pixels import as_images, image_shape_of, pixel_range_of
from lenet5c.sklearn.state import pack, unpack
from lenet5c.training import NonFiniteError

# Samples of a tile. In full tiles the values of a sample do not depend on who else is in the batch.
TILE = 16
OF_MODEL = ("activation", "pooling", "dropout", "batch_norm")
OF_RECIPE = {"epochs": "epochs", "batch_size": "batch_size", "learning_rate": "lr"}


class LeNet5Classifier(ClassifierMixin, BaseEstimator):
    """LeNet-5 for images of any size, in scikit-learn's pipelines, searches and cross-validation.

    Samples are images (n, H, W) or (n, C, H, W), or rows (n, features), which are laid out as `image_shape` says. They
    become 8-bit pixels, are brought to 32 by 32 (those of 20 to 32 pixels a side are padded, others resized) and
    standardised by the training images. The same data and `random_state` give the same bits, on any number of threads.

    There are no class or sample weights: the compiled training has none.

    Parameters
    ----------
    recipe : str
        A configuration of `lenet5c.recipes`; what is None below is as it says.
    epochs : int, optional
        Passes over the data.
    batch_size : int, optional
    learning_rate : float, optional
        The peak of the recipe's schedule; of `partial_fit`, whose rate is constant, the rate itself, a quarter of the
        recipe's peak if not given.
    activation : {'relu', 'tanh', 'sigmoid'}, optional
    pooling : {'avg', 'max'}, optional
    dropout : float, optional
    batch_norm : bool, optional
    distortion : str or dict, optional
        Of training images, such as 'modern', settings of `lenet5c.datasets.Distortion`, or 'none'; for images of
        digits and the like. `partial_fit` does not distort.
    validation_fraction : float
        Share of the samples that `fit` holds out, for `validation_scores_` and `patience`.
    patience : int
        Epochs without a better validation score after which `fit` ends, with the best weights; 0 for never.
    image_shape : (int, int) or (int, int, int), optional
        (H, W) or (C, H, W) of rows. If not given a square, or nearly one, whose last pixels may stay black.
    pixel_range : (float, float), optional
        Which values are black and white. If not given 0 and 255 for uint8, else the smallest and the largest of all
        values in the training data (of the first `partial_fit`). Values beyond are cut off.
    warm_start : bool
        `fit` goes on from the weights there are.
    random_state : int, RandomState or None
        Of the initial weights, the order of the samples, what is held out, and distortions.
    verbose : bool
        Print a line an epoch.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    n_features_in_ : int
        Pixels of a sample.
    image_shape_ : tuple of int
        (C, H, W).
    pixel_range_ : tuple of float
    n_iter_ : int
        Epochs, or calls of `partial_fit`.
    loss_curve_, accuracy_curve_ : list of float
        Over the training samples, for each of them.
    validation_scores_ : list of float
        Accuracies on the samples held out; empty if none are.
    recipe_ : dict
        All settings of the training.
    trained_ : lenet5c.training.TrainedModel
        For `lenet5c.training.save_model` and `lenet5c.export`.

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
        recipe="default",
        *,
        epochs=None,
        batch_size=None,
        learning_rate=None,
        activation=None,
        pooling=None,
        dropout=None,
        batch_norm=None,
        distortion=None,
        validation_fraction=0.0,
        patience=0,
        image_shape=None,
        pixel_range=None,
        warm_start=False,
        random_state=None,
        verbose=False,
    ):
        self.recipe = recipe
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.activation = activation
        self.pooling = pooling
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.distortion = distortion
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.image_shape = image_shape
        self.pixel_range = pixel_range
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y):
        """Train.

        Parameters
        ----------
        X : array-like (n, features), (n, H, W) or (n, C, H, W)
            uint8, or any other numbers.
        y : array-like (n,)
            Labels of any kind, of at least two classes.

        Returns
        -------
        self
        """
        before = getattr(self, "trained_", None) if self.warm_start else None
        X, y, given = self._validated(X, y, reset=before is None)
        classes, labels = np.unique(y, return_inverse=True)
        if before is not None:
            labels = self._encoded(y)
        else:
            self._begin(X, given, classes)
        images = self._pixels(X, given)
        chosen = self._recipe(len(images))
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        trainer, trained = chosen.build(self._source(images, labels), int(seed))
        if before is not None:
            trained.model.load_state_dict(before.model.state_dict())
            # What the weights are used to.
            trained.preparation = trainer.preparation = before.preparation
            trainer.offset = before.preparation.offset(images.shape[1])
        trainer.run(on_epoch=self._report if self.verbose else None)
        self.trained_, self.optimizer_, self.seed_ = trained, trainer.optimizer, int(seed)
        self.recipe_ = chosen.to_dict()
        self.n_iter_ = len(trainer.history)
        self.loss_curve_ = [row["train_loss"] for row in trainer.history]
        self.accuracy_curve_ = [row["train_accuracy"] for row in trainer.history]
        self.validation_scores_ = [
            row["validation_accuracy"] for row in trainer.history if "validation_accuracy" in row
        ]
        return self

    def partial_fit(self, X, y, classes=None):
        """One pass over these samples, in batches, at a constant learning rate; goes on from `fit`, too.

        Parameters
        ----------
        X, y
            As of `fit`.
        classes : array-like, optional
            All labels that will ever come; needed by the first call.

        Returns
        -------
        self
        """
        first = not hasattr(self, "trained_")
        if first and classes is None:
            raise ValueError(
                "classes must be passed on the first call to partial_fit: all labels that will come"
            )
        X, y, given = self._validated(X, y, reset=first)
        if first:
            self._begin(X, given, np.unique(classes))
        elif classes is not None and not np.array_equal(self.classes_, np.unique(classes)):
            raise ValueError(
                f"classes is {classes!r}; it should be as in the first call, {self.classes_!r}"
            )
        labels, images = self._encoded(y), self._pixels(X, given)
        chosen = self._recipe(len(images), partial=True)
        if chosen.optimizer == "sdlm":
            raise ValueError(
                f"recipe is {self.recipe!r}, whose optimiser measures whole data sets; use fit"
            )
        if first:
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            trainer, self.trained_ = chosen.build(self._source(images, labels), seed)
            self.optimizer_, self.seed_, self.n_iter_, self.recipe_ = (
                trainer.optimizer,
                seed,
                0,
                chosen.to_dict(),
            )
            self.loss_curve_, self.accuracy_curve_, self.validation_scores_ = [], [], []
        self._one_pass(chosen, images, labels)
        return self

    def predict(self, X):
        """The class of each sample: ndarray (n,)."""
        logits = self._logits(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X):
        """Probabilities, ndarray of float64 (n, n_classes), in the order of `classes_`."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`, also where that is 0."""
        logits = self._logits(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def decision_function(self, X):
        """The net's logits, ndarray (n, n_classes); of two classes the second's minus the first's, (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self):
        return pack(dict(super().__getstate__()))

    def __setstate__(self, state):
        super().__setstate__(unpack(state, type(self).__name__))

    def _validated(self, X, y, reset):
        X, given = _rows(X)
        X, y = validate_data(self, X, y, reset=reset)
        check_classification_targets(y)
        return X, y, given or X.shape[1:]

    def _begin(self, X, given, classes):
        """What the first data decides."""
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class; a classifier needs at least 2 classes")
        shape, span = (
            image_shape_of(given, X.shape[1], self.image_shape),
            pixel_range_of(X, self.pixel_range),
        )
        self.classes_, self.image_shape_, self.pixel_range_ = classes, shape, span
        self.__dict__.pop("trained_", None)

    def _pixels(self, X, given):
        if len(given) > 1 and given not in (self.image_shape_, self.image_shape_[1:]):
            raise ValueError(
                f"X has samples of the shape {given}, but the classifier was fitted to {self.image_shape_}"
            )
        return as_images(X, self.image_shape_, self.pixel_range_)

    def _encoded(self, y):
        """Labels as numbers of classes."""
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has {unknown.tolist()[0]!r}, which is none of the classes {self.classes_.tolist()}"
            )
        return np.searchsorted(self.classes_, y)

    def _source(self, images, labels):
        names = tuple(str(label) for label in self.classes_)
        dataset = Dataset(images, labels, len(self.classes_), class_names=names)
        return Source(dataset, dataset, reading="whole")

    def _recipe(self, count, partial=False):
        """The recipe with what the parameters change, for so many samples."""
        if self.recipe not in RECIPES:
            raise ValueError(f"recipe is {self.recipe!r}; it should be one of {', '.join(RECIPES)}")
        self._check_parameters()
        changes = {
            field: getattr(self, name)
            for name, field in OF_RECIPE.items()
            if getattr(self, name) is not None
        }
        of_model = {
            name: getattr(self, name) for name in OF_MODEL if getattr(self, name) is not None
        }
        changes["model"] = RECIPES[self.recipe].model | of_model
        if self.distortion is not None:
            changes["distortion"] = self._distortion()
        changes |= {
            "validation": float(self.validation_fraction),
            "patience": int(self.patience),
            "keep": "best" if self.patience else "last",
            "train_size": None,
        }
        if partial:
            changes |= {
                "validation": 0.0,
                "patience": 0,
                "keep": "last",
                "distortion": None,
                "average": 0.0,
            }
        chosen = recipe(self.recipe, **changes)
        if chosen.model.get("batch_norm"):
            # It cannot have a last batch of one.
            left = count - round(chosen.validation * count)
            sizes = range(chosen.batch_size, chosen.batch_size + left + 2)
            size = next((size for size in sizes if left % size != 1), chosen.batch_size)
            chosen = recipe(self.recipe, **changes | {"batch_size": size})
        return chosen

    def _distortion(self):
        """The settings of `distortion`, None for none."""
        if not isinstance(self.distortion, str):
            return self.distortion
        if self.distortion == "none":
            return None
        if self.distortion not in Distortion.NAMES:
            names = ", ".join(("none", *Distortion.NAMES))
            raise ValueError(
                f"distortion is {self.distortion!r}; it should be a dict of settings, or one of {names}"
            )
        return Distortion.named(self.distortion).to_dict()

    def _check_parameters(self):
        """Those whose kind the recipe takes for granted."""
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, Integral) or isinstance(value, bool) or value < 1
            ):
                raise ValueError(
                    f"{name} is {value!r}; it should be an integer of at least 1, or None for the recipe's"
                )
        if self.learning_rate is not None and not (
            isinstance(self.learning_rate, Real) and self.learning_rate > 0
        ):
            raise ValueError(
                f"learning_rate is {self.learning_rate!r}; it should be more than 0, or None for the recipe's"
            )
        if not isinstance(self.validation_fraction, Real) or not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction!r}; it should be from 0 to less than 1"
            )
        if not isinstance(self.patience, Integral) or self.patience < 0:
            raise ValueError(
                f"patience is {self.patience!r}; it should be a number of epochs, or 0 for never"
            )
        if self.patience and self.validation_fraction == 0:
            raise ValueError(
                f"patience is {self.patience!r}, which needs validation_fraction, such as 0.1, to be more than 0"
            )

    def _one_pass(self, chosen, images, labels):
        trained = self.trained_
        fitted = trained.preparation.fit_images(images)
        order = np.random.default_rng([self.seed_, 6, self.n_iter_]).permutation(len(fitted))
        steps = ceil(len(fitted) / chosen.batch_size)
        rate = chosen.lr if self.learning_rate is not None else chosen.lr / 4
        preparation = trained.preparation
        offset = preparation.offset(fitted.shape[1])
        losses, taken, correct = trained.model.train_steps(
            Samples(fitted, order, preparation.scale, offset),
            labels[order],
            chosen._loss(),
            self.optimizer_,
            [rate] * steps,
            batch_size=chosen.batch_size,
        )
        if taken < steps:
            raise NonFiniteError(
                f"the loss is {losses[taken]} in call {self.n_iter_ + 1} of partial_fit; lower learning_rate, it is {rate:g}"
            )
        weights = np.diff([*range(0, len(fitted), chosen.batch_size), len(fitted)])
        self.loss_curve_.append(float(np.average(losses, weights=weights)))
        self.accuracy_curve_.append(correct / len(fitted))
        self.n_iter_ += 1
        if self.verbose:
            self._report(
                None,
                {
                    "epoch": self.n_iter_,
                    "train_loss": self.loss_curve_[-1],
                    "train_accuracy": self.accuracy_curve_[-1],
                },
            )

    def _report(self, trainer, row):
        held_out = (
            f", validation {row['validation_accuracy']:.4f}" if "validation_accuracy" in row else ""
        )
        print(
            f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}{held_out}"
        )

    def _logits(self, X):
        check_is_fitted(self, "trained_")
        X, given = _rows(X)
        X = validate_data(self, X, reset=False)
        images = self._pixels(X, given or X.shape[1:])
        missing = -len(images) % TILE
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        return self.trained_.logits(images)[: len(X)]


def _rows(X):
    """Images as rows of pixels, with the shape of a sample; what is not an array of images stays as it is."""
    if isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) in (2, 3):
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.ndim in (3, 4):
        return X.reshape(len(X), prod(X.shape[1:])), X.shape[1:]
    return X, None
