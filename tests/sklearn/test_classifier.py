"""LeNet5Classifier, used like scikit-learn's estimators."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from processes import output

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from lenet5c.export import to_c  # noqa: E402
from lenet5c.sklearn import LeNet5Classifier  # noqa: E402
from lenet5c.training import open_model, save_model  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    """(X, y) to train on, and to test on: 8 by 8 pixels, 0 to 16."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))  # they come writer by writer
    X, y = X[order], y[order]
    return (X[:1200], y[:1200]), (X[1200:], y[1200:])


def quick(**options):
    return LeNet5Classifier(**{"epochs": 2, "random_state": 0} | options)


def same(first, second, X):
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))


# As of scikit-learn's own SGDClassifier: samples that are repeated come in other batches.
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": "weights repeat samples in the mean"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [LeNet5Classifier(random_state=0)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_digits_of_scikit_learn(digits):
    (X, y), (X_test, y_test) = digits
    classifier = LeNet5Classifier(random_state=0).fit(X, y)
    assert classifier.score(X_test, y_test) > 0.98
    assert (classifier.image_shape_, classifier.pixel_range_) == ((1, 8, 8), (0.0, 16.0))
    assert (classifier.n_features_in_, classifier.n_iter_, len(classifier.loss_curve_)) == (
        64,
        10,
        10,
    )
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0] / 2
    assert classifier.validation_scores_ == []


def test_mnist(mnist_slice):
    train, test = mnist_slice
    classifier = quick(epochs=4).fit(train.images, train.labels)
    assert classifier.score(test.images, test.labels) > 0.9


def test_the_same_pixels_in_other_forms_give_the_same_bits(mnist_slice):
    images, labels = mnist_slice[0].images[:400], mnist_slice[0].labels[:400]
    assert (images.min(), images.max()) == (0, 255)
    expected = quick(epochs=1).fit(images, labels).decision_function(images)
    for X in (
        images[:, 0],
        images.reshape(400, -1),
        images.astype(np.int64).reshape(400, -1),
        images[:, 0] / 255,
        images[:, 0] / np.float32(255),
        images[:, 0].tolist(),
    ):
        np.testing.assert_array_equal(quick(epochs=1).fit(X, labels).decision_function(X), expected)


def test_probabilities_and_decisions(digits):
    (X, y), (X_test, _) = digits
    classifier = quick().fit(X, y)
    probabilities = classifier.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(classifier.predict_log_proba(X_test)), probabilities)
    assert (classifier.decision_function(X_test).argmax(axis=1) == classifier.predict(X_test)).all()
    binary = quick().fit(X, np.where(y > 4, "large", "small"))
    decision = binary.decision_function(X_test)
    assert decision.shape == (len(X_test),) and list(binary.classes_) == ["large", "small"]
    assert (binary.classes_[(decision > 0).astype(int)] == binary.predict(X_test)).all()
    # One by one as all at once, to the bit.
    np.testing.assert_array_equal(
        np.concatenate([classifier.decision_function(X_test[i : i + 1]) for i in range(20)]),
        classifier.decision_function(X_test)[:20],
    )


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["ant", "bee", "cat"]),
        np.array([-7, 0, 12]),
        np.array([False, True, True]),
        np.array([0.0, 1.0, 2.0]),
        np.array(["ä", "", "x y"], object),
    ],
    ids=lambda labels: f"{labels.dtype}",
)
def test_labels_of_any_kind(digits, labels):
    (X, y), _ = digits
    X, y = X[y < 3], y[y < 3]
    classifier = quick().fit(X, labels[y])
    assert classifier.predict(X).dtype == labels.dtype
    assert (classifier.predict(X) == labels[y]).mean() > 0.9


def test_color_images_and_rows_of_them():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    X = rng.integers(0, 100, (300, 3, 20, 24), np.uint8)
    X[np.arange(300), y] += 100  # the class is a channel
    classifier = quick(epochs=4).fit(X, y)
    assert classifier.score(X, y) > 0.95 and classifier.image_shape_ == (3, 20, 24)
    rows = quick(epochs=4, image_shape=(3, 20, 24)).fit(X.reshape(300, -1), y)
    same(classifier, rows, X)
    with pytest.raises(ValueError, match="X has 5 features"):
        classifier.predict(X[:, :, :1, :5].reshape(-1, 5)[:3])
    with pytest.raises(ValueError, match=r"shape \(3, 20, 24\), as in fit, got \(20, 72\)"):
        classifier.predict(X.reshape(300, 20, 72))
    with pytest.raises(ValueError, match="channels last"):
        quick().fit(X.transpose(0, 2, 3, 1), y)
    with pytest.raises(ValueError, match="the 1440 features of X, got .*which has 480 values"):
        quick(image_shape=(20, 24)).fit(X.reshape(300, -1), y)


def test_the_same_bits_again_on_any_number_of_threads(digits):
    from lenet5c import kernels

    (X, y), (X_test, _) = digits
    first = quick(dropout=0.2, distortion="modern").fit(X, y)
    before = kernels.get_num_threads()
    kernels.set_num_threads(1)
    try:
        same(quick(dropout=0.2, distortion="modern").fit(X, y), first, X_test)
    finally:
        kernels.set_num_threads(before)
    same(
        quick(random_state=np.random.RandomState(3)).fit(X, y),
        quick(random_state=np.random.RandomState(3)).fit(X, y),
        X,
    )
    other = quick(random_state=1).fit(X, y)
    assert not np.array_equal(other.decision_function(X_test), first.decision_function(X_test))


def test_partial_fit(digits):
    (X, y), (X_test, y_test) = digits
    classifier = quick(pixel_range=(0, 16))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier.partial_fit(X[:100], y[:100])
    for _ in range(4):
        for start in range(0, 1200, 300):
            classifier.partial_fit(
                X[start : start + 300], y[start : start + 300], classes=np.arange(10)
            )
    assert classifier.score(X_test, y_test) > 0.9
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 16
    with pytest.raises(ValueError, match="y must only have the classes .0, 1, 2,.* got 10"):
        classifier.partial_fit(X[:2], [3, 10])
    with pytest.raises(ValueError, match="as in the first call"):
        classifier.partial_fit(X[:2], [3, 1], classes=np.arange(11))
    # It goes on from a fit, and from a pickle, as if nothing had happened.
    fitted = quick(dropout=0.3, batch_norm=True).fit(X[:257], y[:257])
    again = pickle.loads(pickle.dumps(fitted))
    for each in (fitted, again):
        each.partial_fit(X[300:493], y[300:493])
    same(fitted, again, X_test)


def test_probabilities_are_calibrated_on_the_samples_held_out(digits):
    (X, y), (X_test, _) = digits
    fitted = quick(validation_fraction=0.2).fit(X, y)
    temperature = fitted.trained_.temperature
    assert temperature != 1
    logits = fitted.decision_function(X_test).astype(np.float64) / temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X_test), expected, rtol=1e-6, atol=1e-12)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.trained_.temperature == temperature
    same(fitted, again, X_test)
    assert again.partial_fit(X, y).trained_.temperature == 1
    assert quick(validation_fraction=0.0).fit(X, y).trained_.temperature == 1


def test_warm_start_goes_on(digits):
    (X, y), _ = digits
    classifier = quick(warm_start=True, learning_rate=1e-3).fit(X, y)
    first, preparation = classifier.loss_curve_[-1], classifier.trained_.preparation
    assert classifier.fit(X[:600], y[:600]).loss_curve_[-1] < first
    assert classifier.trained_.preparation is preparation
    with pytest.raises(ValueError, match="y must only have the classes"):
        classifier.fit(X[:2], [11, 12])


def test_copies_and_files(digits, tmp_path):
    import joblib

    (X, y), (X_test, _) = digits
    classifier = quick(recipe="mean-image").fit(X, y)
    same(copy.deepcopy(classifier), classifier, X_test)
    joblib.dump(classifier, tmp_path / "x.joblib")
    same(joblib.load(tmp_path / "x.joblib"), classifier, X_test)
    assert clone(classifier).get_params() == classifier.get_params()
    assert pickle.loads(pickle.dumps(quick())).get_params() == quick().get_params()
    state = classifier.__getstate__()
    assert (
        isinstance(state["trained_"]["arrays"]["conv1.weight"], np.ndarray)
        and state["_lenet5c_state"] == 1
    )
    with pytest.raises(ValueError, match="pickled by another version"):
        quick().__setstate__(state | {"_lenet5c_state": 2})
    save_model(tmp_path / "x.safetensors", classifier.trained_)
    trained = open_model(tmp_path / "x.safetensors")
    assert trained.class_names == tuple("0123456789") and trained.image_shape == (1, 8, 8)
    assert "LENET5_HEIGHT 8" in to_c(trained)


def test_the_net_of_1998(digits):
    """Its outputs are penalties, its optimizer measures curvatures, and batches have one sample."""
    (X, y), (X_test, y_test) = digits
    classifier = quick(recipe="paper1998").fit(X[:600], y[:600])
    assert classifier.score(X_test, y_test) > 0.6
    same(pickle.loads(pickle.dumps(classifier)), classifier, X_test)
    with pytest.raises(ValueError, match="use fit"):
        classifier.partial_fit(X, y)


def test_parameters_changed_after_a_fit_change_nothing_yet(digits):
    (X, y), (X_test, _) = digits
    classifier = quick(recipe="mean-image").fit(X, y)
    changed = copy.deepcopy(classifier).set_params(recipe="nonsense", epochs=-1)
    same(pickle.loads(pickle.dumps(changed)), classifier, X_test)
    assert classifier.recipe_["epochs"] == 2 and classifier.recipe_["optimizer_settings"] == {
        "eps": 1e-7
    }


def test_searches_and_pipelines(digits):
    (X, y), (X_test, y_test) = digits
    pipeline = make_pipeline(MinMaxScaler(), quick(epochs=3))
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.8
    search = GridSearchCV(
        quick(), {"pooling": ["avg", "max"], "learning_rate": [1e-6, 6e-3]}, cv=2
    ).fit(X, y)
    assert search.best_params_["learning_rate"] == 6e-3
    assert search.score(X_test, y_test) > 0.85


def test_a_search_in_two_processes(tmp_path):
    """In a separate process, with which joblib's workers end."""
    done = output(
        "from sklearn.datasets import load_digits\n"
        "from sklearn.model_selection import GridSearchCV\n"
        "from lenet5c.sklearn import LeNet5Classifier\n"
        "X, y = load_digits(return_X_y=True)\n"
        "classifier = LeNet5Classifier(epochs=1, random_state=0)\n"
        "search = GridSearchCV(classifier, {'pooling': ['avg', 'max']}, cv=2, n_jobs=2)\n"
        "print(search.fit(X[:600], y[:600]).best_score_ > 0.3)\n"
    )
    assert done == ["True"]


def test_validation_and_patience(digits, capsys):
    (X, y), _ = digits
    classifier = quick(epochs=30, validation_fraction=0.2, patience=2, verbose=True).fit(X, y)
    assert classifier.n_iter_ < 30 or max(classifier.validation_scores_) > 0.99
    assert len(classifier.validation_scores_) == classifier.n_iter_
    assert capsys.readouterr().out.count("validation") == classifier.n_iter_


def test_values_on_another_scale_are_warned_of(digits):
    (X, y), (X_test, _) = digits
    classifier = quick().fit(X * 15, y)
    with pytest.warns(UserWarning, match="scale X like the training data"):
        classifier.predict(X_test / 16)
    with pytest.warns(UserWarning, match="set pixel_range"):
        quick(pixel_range=(0, 1)).fit(X, y)
    quick(epochs=1).fit(np.where(X > 8, 1e300, -1e300), y)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"recipe": "none"}, "recipe must be one of default, .*'none'"),
        ({"epochs": 0}, "epochs must be an integer from 1 to 10000, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer of at least 1, got 1.5"),
        ({"learning_rate": -1}, "learning_rate must be a number greater than 0, got -1"),
        ({"activation": "cube"}, "activation must be one of relu, .*got 'cube'"),
        ({"pooling": "min"}, "pooling must be one of max, avg, got 'min'"),
        ({"dropout": 1}, "dropout must be a number of at least 0 and less than 1, got 1"),
        (
            {"distortion": "strong"},
            "distortion must be a dict of settings, or one of none, .*got 'strong'",
        ),
        (
            {"validation_fraction": 1},
            "validation_fraction must be a number of at least 0 and less than 1, got 1",
        ),
        ({"patience": -1}, "patience must be an integer of at least 0, got -1"),
        ({"patience": 1}, "validation_fraction must be greater than 0, such as 0.1, with patience"),
        ({"image_shape": (7, 9)}, "which has 63 values"),
        ({"image_shape": "8x8"}, "image_shape must be (H, W) or (C, H, W), got '8x8'"),
        ({"pixel_range": (1, 0)}, "pixel_range must be two increasing numbers"),
    ],
)
def test_wrong_parameters_are_named(digits, options, words):
    (X, y), _ = digits
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        quick(**options).fit(X[:50], y[:50])


def test_numbers_of_numpy_are_parameters(digits):
    (X, y), _ = digits
    search = GridSearchCV(
        quick(batch_size=np.int64(32), learning_rate=np.float32(0.01)),
        {
            "epochs": np.arange(1, 3),
            "dropout": np.linspace(0, 0.5, 2, dtype=np.float32),
            "batch_norm": np.array([False, True]),
        },
        cv=2,
        error_score="raise",
    ).fit(X[:200], y[:200])
    assert search.best_score_ > 0.1


def test_wrong_data(digits):
    (X, y), _ = digits
    with pytest.raises(NotFittedError):
        quick().predict(X)
    with pytest.raises(ValueError, match="y must have at least 2 classes, got 1"):
        quick().fit(X[:5], np.zeros(5))
    with pytest.raises(ValueError, match="NaN"):
        quick().fit(np.where(X > 8, np.nan, X), y)
    with pytest.raises(ValueError, match="0 sample"):
        quick().fit(np.zeros((0, 8, 8)), [])
    with pytest.raises(TypeError, match="[Ss]parse"):
        from scipy.sparse import csr_array

        quick().fit(csr_array(X), y)


def test_without_scikit_learn():
    done = output(
        "import sys\nsys.modules['sklearn'] = None\nimport lenet5c\n"
        "try:\n    import lenet5c.sklearn\n"
        "except lenet5c.errors.MissingExtraError as error:\n    print(error)"
    )
    assert (
        " ".join(done) == "scikit-learn estimators require scikit-learn, which is not installed: "
        "pip install 'lenet5c[sklearn]'"
    )
