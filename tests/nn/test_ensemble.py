"""`Ensemble`: mean probabilities of several models, forward and backward."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import nn, reference
from lenet5c.nn.ensemble import describe_kind, find_ensemble


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def linear(inputs=4, outputs=3, rng=0):
    return nn.Sequential(nn.Linear(inputs, outputs, rng=rng))


def lenets(count=2, **options):
    return [nn.LeNet5(rng=seed, **options) for seed in range(count)]


def of_1998():
    """Make an ensemble of penalties and logits, with different temperatures."""
    return nn.Ensemble(
        {"penalties": nn.LeNet5_1998(rng=0), "logits": nn.LeNet5(rng=1)}, temperatures=(8, 0.5)
    )


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_it_is_its_counterpart(batch):
    model, x = of_1998(), normal(batch, 1, 32, 32)
    penalties, logits = (member.forward(x) for member in model.members.values())
    expected = reference.ensemble([-penalties.astype(float) / 8, logits.astype(float) / 0.5])
    assert_allclose(model.forward(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [2, 5])
def test_backward_is_that_of_pytorch(torch, count):
    members, x, dy = [linear(rng=seed) for seed in range(count)], normal(7, 4), normal(7, 3, seed=1)
    temperatures = np.linspace(0.5, 2, count)
    model = nn.Ensemble(members, temperatures=temperatures)
    inputs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    weights = [
        torch.tensor(each.params["0.weight"], dtype=torch.float64, requires_grad=True)
        for each in members
    ]
    biases = [torch.tensor(each.params["0.bias"], dtype=torch.float64) for each in members]
    logits = torch.stack(
        [
            (inputs @ weight.T + bias) / temperature
            for weight, bias, temperature in zip(weights, biases, temperatures, strict=True)
        ]
    )
    expected = torch.softmax(logits, dim=2).mean(dim=0).log()
    expected.backward(torch.tensor(dy, dtype=torch.float64))
    assert_allclose(model.forward(x, training=True), expected.detach(), rtol=1e-5, atol=1e-6)
    assert_allclose(model.backward(dy), inputs.grad, rtol=1e-4, atol=1e-5)
    for number, weight in enumerate(weights):
        found = model.grads[f"members.{number}.0.weight"]
        assert_allclose(found, weight.grad, rtol=1e-4, atol=1e-5)


def test_backward_second_is_its_counterpart():
    model, x, d2y = nn.Ensemble(linear(rng=0), linear(rng=1)), normal(1, 4), normal(1, 3, seed=1)
    logits = [member.forward(x) for member in model.members.values()]
    model.forward(x, training=True)
    d2x = model.backward_second(abs(d2y))
    expected = reference.ensemble_backward_second(abs(d2y), logits)
    for number, d2z in enumerate(expected):
        assert_allclose(model.curvatures[f"members.{number}.0.bias"], d2z[0], rtol=1e-4)
    weights = [model.params[f"members.{number}.0.weight"] for number in (0, 1)]
    within = sum(d2z @ weight**2 for d2z, weight in zip(expected, weights, strict=True))
    assert_allclose(d2x, within, rtol=1e-4)


def test_unlikely_classes_stay_finite():
    """The limit where all members give a class a probability that underflows to 0 in float32."""
    model = nn.Ensemble(linear(1, 2), linear(1, 2, 1))
    for number, logit in enumerate((200, 300)):
        model.params[f"members.{number}.0.weight"] = np.zeros((2, 1))
        model.params[f"members.{number}.0.bias"] = np.array([logit, 0])
    y = model.forward(np.ones((1, 1), np.float32))
    assert_allclose(y, [[0, -200 - np.log(2)]], atol=1e-6)


def test_it_runs_within_a_model_and_trains():
    model = nn.Sequential(nn.Ensemble(lenets(2)), input_shape=(1, 32, 32))
    x, labels = normal(16, 1, 32, 32), np.arange(16) % 10
    loss = nn.CrossEntropyLoss()
    before, _ = model.train_step(x, labels, loss)
    model.vector[:] -= np.float32(0.05) * model.grad_vector
    after, _ = model.train_step(x, labels, loss)
    assert after < before
    assert_array_equal(model.predict(x), model.forward(x).argmax(axis=1))


def test_outputs_of_a_block_are_those_of_its_batches():
    """`outputs` takes 256 at a time."""
    model, x = nn.Sequential(nn.Ensemble(lenets(2))), normal(512, 1, 32, 32)
    expected = np.concatenate([model.forward(x[:256]), model.forward(x[256:])])
    assert_array_equal(model.outputs(x), expected)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_the_compiled_form_has_the_bits_of_forward(threads):
    model = nn.Sequential(nn.Ensemble(lenets(3), temperatures=[1, 2, 0.5]), input_shape=(1, 32, 32))
    outputs = model.compile(num_threads=threads)
    assert 5 <= outputs.few <= 16 and outputs.output_shape == (10,) and list(outputs.members)
    for count in (1, 2, outputs.few, outputs.few + 1, 40, 0):
        x = normal(count, 1, 32, 32)
        alone = [model.forward(x[i : i + 1]) for i in range(count)]
        expected = np.concatenate(alone) if 0 < count <= outputs.few else model.forward(x)
        assert_array_equal(outputs(x), expected)
        out = np.full_like(expected, np.nan)
        assert outputs(x, out) is out
        assert_array_equal(out, expected)
    model.params["0.members.1.fc3.bias"][:] += 1  # it computes with the parameters of the time
    x = normal(1, 1, 32, 32)
    assert_array_equal(outputs(x), model.forward(x))
    assert_array_equal(pickle.loads(pickle.dumps(outputs))(x), outputs(x))
    assert repr(outputs) == "<CompiledEnsemble of 3 members: (1, 32, 32)>"


def test_the_compiled_form_refuses_what_it_cannot_take():
    model = nn.Sequential(nn.Ensemble(lenets(2)), input_shape=(1, 32, 32))
    outputs = model.compile()
    with pytest.raises(ValueError, match="x must be a batch"):
        outputs(normal(2, 1, 30, 32))
    with pytest.raises(ValueError, match="out must"):
        outputs(normal(2, 1, 32, 32), np.empty((3, 10), np.float32))
    layered = nn.Sequential(nn.Ensemble(lenets(2)), nn.ReLU(), input_shape=(1, 32, 32))
    with pytest.raises(TypeError, match="layers with a compiled form, got '0', an Ensemble"):
        layered.compile()


def test_copies_are_whole():
    model, x = of_1998(), normal(3, 1, 32, 32)
    for counterpart in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_array_equal(counterpart.forward(x), model.forward(x))
        counterpart.params["members.logits.fc3.bias"] = np.full(10, 7)
        assert (counterpart.members["logits"].params["fc3.bias"] == 7).all()
        assert not (model.params["members.logits.fc3.bias"] == 7).any()


def test_names_and_counts():
    model = nn.Sequential({"all": nn.Ensemble({"a": nn.LeNet5(rng=0), "b": nn.LeNet5(rng=1)})})
    assert describe_kind(model) == "Ensemble of 2 LeNet5"
    assert describe_kind(nn.LeNet5()) == "LeNet5" and find_ensemble(nn.LeNet5()) is None
    normalized = nn.Sequential({"input": nn.BatchNorm2d(1), "net": nn.LeNet5(rng=2)})
    mixed = nn.Sequential(nn.Ensemble(normalized, nn.LeNet5_1998(rng=3)))
    assert describe_kind(mixed) == "Ensemble of 2 LeNet5 and LeNet5_1998"
    single = nn.LeNet5()
    assert model.num_params == 2 * single.num_params
    shape = (1, 32, 32)
    assert model.connections(shape) == 2 * single.connections(shape) + 20
    assert model.multiply_adds(shape) == 2 * single.multiply_adds(shape)
    rows = [line.split() for line in model.summary(shape).splitlines()]
    assert [row[:3] for row in rows[3:6]] == [
        ["all.a", "LeNet5", "10"],
        ["all.b", "LeNet5", "10"],
        ["all", "Ensemble", "10"],
    ]
    assert "123,412" in rows[-1]


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: nn.Ensemble(), ValueError, "layers must contain at least one"),
        (lambda: nn.Ensemble(nn.Linear(2, 2)), TypeError, "member '0' must be a lenet5c.nn.Seq"),
        (
            lambda: nn.Ensemble(linear(), linear(), temperatures=[1]),
            ValueError,
            "temperatures must have one value for each of the 2 members, got 1",
        ),
        (
            lambda: nn.Ensemble(linear(), linear(), temperatures=[1, 0]),
            ValueError,
            "temperatures must be greater than 0",
        ),
        (
            lambda: nn.Ensemble(linear(), linear(outputs=2)).forward(normal(1, 4)),
            ValueError,
            r"member '1' must have the output shape of the first member, \(3,\), got \(2,\)",
        ),
        (
            lambda: nn.Ensemble(linear(), linear(outputs=2)).output_shape((4,)),
            ValueError,
            "member '1' must have the output shape",
        ),
        (
            lambda: nn.Ensemble(nn.Sequential(nn.Conv2d(1, 2, 3))).output_shape((1, 5, 5)),
            ValueError,
            "member '0' must return one row of class scores",
        ),
        (
            lambda: nn.Ensemble(linear()).backward(normal(1, 3)),
            RuntimeError,
            "backward must be called after",
        ),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_gradient_of_another_shape_is_refused():
    model = nn.Ensemble(linear(), linear(rng=1))
    model.forward(normal(2, 4), training=True)
    with pytest.raises(ValueError, match=r"dy must have the shape of the output, \(2, 3\)"):
        model.backward(normal(3, 3))


def test_a_member_of_two_models_is_told():
    first = linear()
    model = nn.Ensemble(first, linear(rng=1))
    nn.Sequential(first)
    with pytest.raises(RuntimeError, match="layers must belong to one model"):
        model.forward(normal(1, 4))
