"""Gradient checks: correct layers pass, each kind of error is named, kinks are not errors."""

import copy

import numpy as np
import pytest
from every_layer import LAYERS
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import nn


class Affine(nn.Layer):
    """y = tanh(x weight^T + bias), with errors added by subclasses."""

    def __init__(self, inputs=4, outputs=4, rng=0):
        weight = np.random.default_rng(rng).standard_normal((outputs, inputs))
        self.params["weight"] = weight
        self.params["bias"] = np.zeros(outputs)

    def forward(self, x, training=False):
        self.x = x
        self.y = np.tanh(x @ self.params["weight"].T + self.params["bias"])
        return self.y

    def backward(self, dy):
        dz = dy * (1 - self.y**2)
        self.set(dz.T @ self.x, dz.sum(axis=0))
        return self.get_dx(dz)

    def set(self, dweight, dbias):
        self.grads["weight"], self.grads["bias"] = dweight, dbias

    def get_dx(self, dz):
        return dz @ self.params["weight"]


def verdicts(check):
    return {row.name: row.verdict for row in check.rows}


def test_a_right_layer():
    layer = Affine(5, 3)
    before = copy.deepcopy(layer)
    check = nn.check_gradients(layer, (5,))
    assert check and check.ok and check.notes == []
    assert [(row.name, row.shape) for row in check.rows] == [
        ("input", (3, 5)),
        ("weight", (3, 5)),
        ("bias", (3,)),
    ]
    for row in check.rows:
        assert row.ok and row.verdict == "ok"
        assert row.error < 1e-7 and row.float32 < 1e-5
    assert_array_equal(layer.params["weight"], before.params["weight"])
    assert_array_equal(layer.params["bias"], before.params["bias"])
    assert "weight" not in layer.grads and not hasattr(layer, "x")


FAULTS = {
    "sign": ("input", lambda self, dz: -dz @ self.params["weight"], "has the opposite sign"),
    "factor": (
        "input",
        lambda self, dz: 2 * dz @ self.params["weight"],
        "2 times the correct value",
    ),
    "none": ("input", lambda self, dz: None, "backward returns None"),
    "shape": ("input", lambda self, dz: (dz @ self.params["weight"]).T, "has the shape (5, 3)"),
    "zero": ("input", lambda self, dz: np.zeros_like(self.x), "all zero"),
    "nan": ("input", lambda self, dz: dz @ self.params["weight"] * np.nan, "not finite"),
    "weight turned": ("input", lambda self, dz: dz @ self.params["weight"][::-1], "wrong in "),
    "shifted": (
        "input",
        lambda self, dz: np.roll(dz @ self.params["weight"], 1, axis=1),
        "wrong in ",
    ),
    "samples mixed": (
        "input",
        lambda self, dz: np.roll(dz @ self.params["weight"], 1, axis=0),
        "wrong in ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_gradient_by_the_input(fault):
    name, get_dx, verdict = FAULTS[fault]
    layer = type("Wrong", (Affine,), {"get_dx": get_dx})(5, 5)
    check = nn.check_gradients(layer, (5,))
    assert not check and not check.ok
    assert {row.name for row in check.rows if not row.ok} == {name}
    assert verdicts(check)[name].startswith(verdict)


def set_weight(change):
    def put(self, dweight, dbias):
        self.grads["weight"] = change(self, dweight)
        self.grads["bias"] = dbias

    return put


def add(self, dweight, dbias):
    self.grads["weight"] += dweight
    self.grads["bias"] = dbias


def one_wrong(self, dweight):
    dweight = dweight.copy()
    dweight[3, 1] += 0.1 * abs(dweight).max()
    return dweight


PARAMETER_FAULTS = {
    "sign": (set_weight(lambda self, d: -d), "has the opposite sign"),
    "factor": (set_weight(lambda self, d: 0.5 * d), "0.5 times the correct value"),
    "mean": (
        set_weight(lambda self, d: d / len(self.x)),
        "0.333 times the correct value, the mean",
    ),
    "transposed": (set_weight(lambda self, d: d.T), "transposed"),
    "shape": (set_weight(lambda self, d: d[:, :-1]), "has the shape (5, 4), must have (5, 5)"),
    "shifted": (set_weight(lambda self, d: np.roll(d, 1, axis=1)), "wrong in "),
    "one element": (set_weight(one_wrong), "wrong in 1 of 25 elements"),
    "added": (add, "added to its previous value; set it"),
    "missing": (lambda self, dweight, dbias: self.grads.update(bias=dbias), "not set by backward"),
}


@pytest.mark.parametrize("fault", PARAMETER_FAULTS)
def test_faults_of_the_gradient_by_a_parameter(fault):
    put, verdict = PARAMETER_FAULTS[fault]
    layer = type("Wrong", (Affine,), {"set": put})(5, 5)
    check = nn.check_gradients(layer, (5,))
    assert {row.name for row in check.rows if not row.ok} == {"weight"}
    assert verdicts(check)["weight"].startswith(verdict)
    if fault == "one element":
        assert next(row.place for row in check.rows if row.name == "weight") == (3, 1)


def test_a_forgotten_bias_and_a_name_that_is_no_parameter():
    def put(self, dweight, dbias):
        self.grads["weight"], self.grads["biases"] = dweight, dbias

    check = nn.check_gradients(type("Wrong", (Affine,), {"set": put})(), (4,))
    assert verdicts(check)["bias"] == "not set by backward"
    assert check.notes == ["Note: grads of Wrong has 'biases'; use the name of a parameter."]


@pytest.mark.parametrize("place", [(0, 0), (77, 42), (99, 119)])
def test_one_wrong_element_of_a_large_array_is_found(place):
    def put(self, dweight, dbias):
        dweight = dweight.copy()
        dweight[place] += abs(dweight).max()
        self.grads["weight"], self.grads["bias"] = dweight, dbias

    layer = type("Wrong", (Affine,), {"set": put})(120, 100)
    layer.params["weight"] *= 0.1
    check = nn.check_gradients(layer, (120,), max_elements=10)
    (row,) = [row for row in check.rows if not row.ok]
    assert (row.name, row.place) == ("weight", place)
    assert row.verdict.startswith("wrong in 1 of 11 elements")
    assert 0.4 < row.error < 2


def test_dependence_across_samples():
    class Wrong(nn.Layer):
        def forward(self, x, training=False):
            self.y = np.tanh(x - x.mean(axis=0))
            return self.y

        def backward(self, dy):
            return dy * (1 - self.y**2)

    class Right(Wrong):
        def backward(self, dy):
            dz = dy * (1 - self.y**2)
            return dz - dz.mean(axis=0)

    assert nn.check_gradients(Right(), (6,))
    assert verdicts(nn.check_gradients(Wrong(), (6,)))["input"].startswith("wrong in")


class Rectifier(nn.Layer):
    at_zero, above = 0.0, 1.0

    def forward(self, x, training=False):
        self.x = x
        return np.maximum(x, 0)

    def backward(self, dy):
        return dy * np.where(self.x > 0, self.above, np.where(self.x == 0, self.at_zero, 0))


@pytest.mark.parametrize("at_zero, right", [(0, True), (0.5, True), (1, True), (2, False)])
def test_kinks_are_no_faults(at_zero, right):
    layer = Rectifier()
    layer.at_zero = at_zero
    x = np.array([[0, 1, -1, 1e-6], [-1e-6, 0, 1e-9, 3]])  # on the kink, and within a step of it
    check = nn.check_gradients(layer, x=x)
    assert check.ok == right
    if not right:
        assert check.rows[0].place in ((0, 0), (1, 1))


def test_a_fault_beside_kinks():
    layer = Rectifier()
    layer.above = 1.001
    x = np.array([[0, 1, -1, 1e-6], [-1e-6, 0, 1e-9, 3]])
    assert not nn.check_gradients(layer, x=x)


def test_ties_of_a_maximum():
    x = np.zeros((2, 1, 4, 4))
    x[0, 0, 0, 0] = x[0, 0, 1, 1] = 1
    assert nn.check_gradients(nn.MaxPool2d(2), x=x)


def test_a_layer_in_float32_inside():
    class Rounded(Affine):
        def forward(self, x, training=False):
            return super().forward(x.astype(np.float32), training).astype(np.float64)

    class Wrong(Rounded):
        def get_dx(self, dz):
            return 1.02 * super().get_dx(dz)

    check = nn.check_gradients(Rounded(), (4,))
    assert check and check.notes == [
        "Checked with larger steps, because part of the layer computes in float32."
    ]
    check = nn.check_gradients(Wrong(), (4,))
    assert verdicts(check)["input"].startswith("1.02 times")


def test_a_layer_that_takes_float32_alone():
    class Doubled(nn.Linear):
        factor = 2

        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

        def backward(self, dy):
            return super().backward(np.asarray(self.factor * dy, np.float32))

    check = nn.check_gradients(Doubled(6, 3, rng=0), (6,))
    assert check and check.notes[0].startswith(
        "Checked in float32 only, because float64 failed: x must"
    )
    assert all(row.float32 is None for row in check.rows)
    layer = Doubled(6, 3, rng=0)
    layer.factor = 2.1
    check = nn.check_gradients(layer, (6,))
    assert set(verdicts(check).values()) == {"1.05 times the correct value"}


def test_a_layer_that_differs_in_float32():
    class Fast(Affine):
        def get_dx(self, dz):
            return super().get_dx(dz) * (1.01 if dz.dtype == np.float32 else 1)

    check = nn.check_gradients(Fast(), (4,))
    assert verdicts(check) == {"input": "differs in float32", "weight": "ok", "bias": "ok"}
    assert check.rows[0].float32 == pytest.approx(0.01, rel=0.01)


class Beside(nn.Layer):
    """x + inner(x), of layers of the package."""

    def __init__(self, *layers):
        self.inner = nn.Sequential(*layers)

    def forward(self, x, training=False):
        return x + self.inner.forward(x, training)

    def backward(self, dy):
        return dy + self.inner.backward(dy)

    def named_layers(self, prefix=""):
        yield from self.inner.named_layers(f"{prefix}inner.")

    def all_layers(self):
        yield self
        yield from self.inner.all_layers()


def test_layers_of_the_package_within_one_of_ones_own():
    layer = Beside(nn.Linear(4, 4, rng=0), nn.Tanh(), nn.Linear(4, 4, rng=1))
    check = nn.check_gradients(layer, (4,))
    assert check and check.notes == [] and len(check.rows) == 5
    assert check.rows[1].name == "inner.0.weight" and check.rows[1].error < 1e-7


class Noise(nn.Layer):
    def __init__(self, draw):
        self.draw = draw
        self.rng = np.random.default_rng(0)
        self.count = 0

    def forward(self, x, training=False):
        self.count += 1
        self.mask = self.draw(self, x.shape) < 0.5
        return x * self.mask

    def backward(self, dy):
        return dy * self.mask


@pytest.mark.parametrize(
    "draw",
    [
        lambda self, shape: self.rng.random(shape),
        lambda self, shape: np.random.random(shape),
        lambda self, shape: np.random.default_rng(self.count).random(shape),
    ],
    ids=["generator", "global", "counter"],
)
def test_random_layers_draw_the_same_each_time(draw):
    np.random.seed(5)
    expected = np.random.RandomState(5).random(3)
    assert nn.check_gradients(Noise(draw), (4,))
    model = nn.Sequential(Affine(), Noise(draw), Affine())
    assert nn.check_gradients(model, (4,))
    assert_array_equal(np.random.random(3), expected)


def test_a_layer_that_is_never_the_same():
    layer = Noise(lambda self, shape: np.random.default_rng().random(shape))
    with pytest.raises(ValueError, match="equal outputs for equal inputs.*Generator"):
        nn.check_gradients(layer, (40,))


@in_one_test
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_the_package(name):
    """Each layer class has a float64 version, with which it is checked."""
    for layer, shape in LAYERS[name]:
        check = nn.check_gradients(layer, shape, max_elements=6)
        assert check, check
        assert check.notes == [] and len(check.rows) == 1 + len(layer.params)
        assert max(row.error for row in check.rows) < 1e-6
        assert max(row.float32 for row in check.rows) < 1e-4


def test_a_frozen_normalization():
    layer = nn.BatchNorm2d(2)
    layer.buffers["running_mean"], layer.buffers["running_var"] = [0.5, -0.3], [2, 0.7]
    layer.frozen = True
    assert nn.check_gradients(layer, (2, 3, 4))


def test_a_model_with_layers_of_ones_own():
    inner = nn.Sequential(nn.Linear(6, 5, rng=0), Affine(5, 4))
    model = nn.Sequential(nn.Flatten(), inner, nn.Dropout(0.3, rng=1), nn.Linear(4, 2, rng=1))
    before = model.state_dict()
    check = nn.check_gradients(model, (6,))
    assert check, check
    assert check.notes == [] and [row.name for row in check.rows[1:]] == list(model.params)
    after = model.state_dict()
    assert all((after[name] == before[name]).all() for name in before)
    assert model["2"].passes == 0


def test_a_fault_in_a_model_is_told_of_its_layer():
    class Wrong(Affine):
        def set(self, dweight, dbias):
            super().set(dweight, 3 * dbias)

    model = nn.Sequential({"first": nn.Linear(4, 4, rng=0), "own": Wrong(), "last": nn.ReLU()})
    check = nn.check_gradients(model, (4,))
    assert {row.name for row in check.rows if not row.ok} == {"own.bias"}

    wrong = type("Wrong", (Affine,), {"get_dx": lambda self, dz: None})()
    with pytest.raises(ValueError, match="backward of layer 'own' must return an array .* None"):
        nn.check_gradients(nn.Sequential({"first": nn.ReLU(), "own": wrong}), (4,))


def test_writing_into_what_belongs_to_others_is_noted():
    class InPlace(nn.Layer):
        def forward(self, x, training=False):
            x *= 2
            return x

        def backward(self, dy):
            dy *= 2
            return dy

    check = nn.check_gradients(InPlace(), (3,))
    assert check and check.notes == [
        "Note: forward writes into its input; use a copy of it.",
        "Note: backward writes into dy; use a copy of it.",
    ]


def test_integers_have_no_gradient():
    class Embedding(nn.Layer):
        def __init__(self):
            self.params["table"] = np.random.default_rng(0).standard_normal((5, 3))

        def forward(self, x, training=False):
            self.x = x
            return np.tanh(self.params["table"][x])

        def backward(self, dy):
            y = np.tanh(self.params["table"][self.x])
            dtable = np.zeros_like(self.params["table"])
            np.add.at(dtable, self.x, dy * (1 - y**2))
            self.grads["table"] = dtable

    check = nn.check_gradients(Embedding(), x=np.array([[0, 1], [4, 1], [2, 2]]))
    assert check and [row.name for row in check.rows] == ["table"]


def test_a_table_for_eyes():
    class Wrong(Affine):
        def set(self, dweight, dbias):
            self.grads["weight"] = -dweight

    check = nn.check_gradients(Wrong(3, 2), (3,))
    lines = repr(check).splitlines()
    assert lines[0] == "Wrong(weight: (2, 3), bias: (2,)), 3 samples of 3"
    assert lines[1].split() == ["gradient", "by", "shape", "error", "at", "float32", "verdict"]
    assert lines[3].startswith("weight") and lines[3].endswith("has the opposite sign")
    assert lines[4].split() == ["bias", "2", "-", "-", "-", "not", "set", "by", "backward"]
    assert lines[5] == "Wrong: weight and bias."
    html = check._repr_html_()
    assert html.count("<tr>") == 4 and "has the opposite sign" in html
    assert repr(nn.check_gradients(nn.Tanh(), (2,))).endswith("All gradients are right.")


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((np.tanh, (3,)), TypeError, "layer must be a lenet5c.nn.Layer, got ufunc"),
        ((nn.Tanh(),), ValueError, "input_shape must be given for Tanh, .* one sample"),
        ((nn.Tanh(), (3, -1)), ValueError, r"input_shape must be .* got \(3, -1\)"),
        ((nn.Tanh(), 3), ValueError, "input_shape must be the shape of one sample"),
        ((nn.Linear(4, 2), (3,)), ValueError, r"\(4,\) for Linear, got \(3,\)"),
    ],
)
def test_arguments_that_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.check_gradients(*arguments)


def test_an_input_that_the_layer_does_not_take():
    class Root(nn.Layer):
        def forward(self, x, training=False):
            self.y = np.sqrt(x)
            return self.y

        def backward(self, dy):
            return dy / (2 * self.y)

    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="finite outputs.* as x"):
        nn.check_gradients(Root(), (9,))
    assert nn.check_gradients(Root(), x=np.random.default_rng(0).uniform(1, 2, (3, 9)))
    with pytest.raises(ValueError, match="x must be a batch"):
        nn.check_gradients(Root(), x=np.ones(3))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(4, 4, rng=0), nn.Dropout(0.5, rng=0)],
        [nn.Linear(4, 4, rng=0), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.3, rng=0)],
        [nn.Residual(nn.ReLU()), nn.Dropout(0.5, rng=0)],
        [nn.Dropout(0.5, rng=0), nn.Dropout(0.5, rng=1)],
    ],
    ids=["linear", "normalization", "sum", "twice"],
)
def test_residuals_that_end_with_dropout(layers):
    """Dropout works in place, on a gradient that the shortcut needs as well."""
    assert nn.check_gradients(nn.Residual(*copy.deepcopy(layers)), (4,), max_elements=5)
