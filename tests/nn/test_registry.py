"""Descriptions of layers: building, registration, and invalid descriptions."""

import json
import threading
import tracemalloc

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c import nn
from lenet5c.nn.limits import limit_values
from lenet5c.nn.registry import MAX_DEPTH, MAX_LAYERS, TYPES


@pytest.fixture
def registered():
    """Remove the layer classes registered by a test."""
    before = dict(TYPES)
    yield
    TYPES.clear()
    TYPES.update(before)


class Scale(nn.Layer):
    """A custom layer with a parameter and a setting."""

    def __init__(self, channels, start=1.0):
        self.params["factor"] = np.full((channels, 1, 1), start)
        self.channels, self.start = channels, start

    def settings(self):
        return {"channels": self.channels, "start": np.float32(self.start)}

    def forward(self, x, training=False):
        return x * self.params["factor"]


def nested():
    return nn.Sequential(
        {
            "block": nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU()),
            "inner": nn.Sequential({"deep": nn.Sequential(nn.MaxPool2d(2)), "flat": nn.Flatten()}),
            "out": nn.Linear(18, 3, rng=1),
        },
        input_shape=(1, 8, 8),
    )


def test_nested_models_are_described_layer_by_layer():
    model = nested()
    described = nn.describe(model)
    assert described["type"] == "Sequential"
    assert described["settings"]["input_shape"] == [1, 8, 8]
    names = [each["name"] for each in described["settings"]["layers"]]
    assert names == ["block", "inner", "out"]
    counterpart = nn.build(json.loads(json.dumps(described)))
    assert nn.describe(counterpart) == described
    assert list(counterpart.params) == list(model.params)
    assert counterpart.input_shape == (1, 8, 8)
    counterpart.load_state_dict(model.state_dict())
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    assert (counterpart.forward(x) == model.forward(x)).all()
    assert counterpart.summary() == model.summary() == model.summary((1, 8, 8))


def test_what_can_be_left_out_by_hand():
    model = nn.build(
        {
            "type": "Sequential",
            "settings": {
                "layers": [
                    {"type": "Flatten"},
                    {"type": "Linear", "settings": {"in_features": 4, "out_features": 2}},
                    {"name": "end", "type": "Tanh", "settings": {}},
                ]
            },
        }
    )
    assert list(model.layers) == ["0", "1", "end"] and model.input_shape is None
    with pytest.raises(ValueError, match="input_shape must be given"):
        model.summary()


def test_weights_follow_from_the_seed():
    description = nn.describe(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)))
    one, again = (nn.build(description, rng=5) for _ in range(2))
    assert (one.vector == again.vector).all()
    assert (one.vector != nn.build(description, rng=6).vector).any()
    x = np.ones((4, 4), np.float32)
    assert (one.forward(x, training=True) == again.forward(x, training=True)).all()


class TestRegister:
    pytestmark = pytest.mark.usefixtures("registered")

    def test_a_class_is_saved_by_its_name(self):
        assert nn.register(Scale) is Scale
        layer = Scale(3, 0.5)
        described = nn.describe(nn.Sequential(layer))
        assert described["settings"]["layers"] == [
            {"name": "0", "type": "Scale", "settings": {"channels": 3, "start": 0.5}}
        ]
        counterpart = nn.build(described)[0]
        assert type(counterpart) is Scale and counterpart.params["factor"].shape == (3, 1, 1)

    @pytest.mark.parametrize(
        "decorate",
        [lambda cls: nn.register(cls, "mine"), nn.register("mine"), nn.register(name="mine")],
    )
    def test_or_by_another_name(self, decorate):
        decorate(Scale)
        assert nn.describe(Scale(1))["type"] == "mine"
        nn.register(Scale)  # of a class the last name counts
        assert nn.describe(Scale(1))["type"] == "Scale" and "mine" not in TYPES

    def test_a_class_that_is_defined_again_takes_the_place_of_the_old_one(self):
        def define():
            @nn.register
            class Cell(nn.Layer):
                def settings(self):
                    return {}

            return Cell

        old, new = define(), define()
        assert type(nn.build({"type": "Cell"})) is new
        with pytest.raises(ValueError, match="registered class, got Cell"):
            nn.describe(old())

    def test_names_of_others_are_taken(self):
        with pytest.raises(
            ValueError,
            match=r"name must be unique, got 'ReLU', which is registered for lenet5c\.nn",
        ):
            nn.register(Scale, "ReLU")
        for wrong in ("", "a\nb", "n" * 256, 3):
            with pytest.raises(ValueError, match="name must be a str of 1 to 255"):
                nn.register(Scale, wrong)
        for wrong in (3, int, Scale(1)):
            with pytest.raises(TypeError, match=r"must be a subclass of lenet5c\.nn\.Layer"):
                nn.register(wrong)

    def test_a_net_with_arguments_of_its_own(self):
        @nn.register
        class Net(nn.Sequential):
            def __init__(self, width, rng=None):
                self.width = width
                super().__init__(
                    nn.Linear(3, width, rng=rng), nn.ReLU(), nn.Linear(width, 2, rng=rng)
                )

            def settings(self):
                return {"width": self.width}

        assert nn.describe(Net(7)) == {"type": "Net", "settings": {"width": 7}}
        counterpart = nn.build({"type": "Net", "settings": {"width": 5}}, rng=0)
        assert counterpart["0"].out_features == 5
        within = nn.build(nn.describe(nn.Sequential({"net": Net(4), "end": nn.Tanh()})))
        assert type(within["net"]) is Net


class TestWhatCannotBeDescribed:
    pytestmark = pytest.mark.usefixtures("registered")

    def test_a_class_that_is_not_registered(self):
        model = nn.Sequential({"first": nn.ReLU(), "second": Scale(2)})
        with pytest.raises(
            ValueError,
            match=r"'second' must be .* registered class, got Scale; decorate .* with @nn\.reg",
        ):
            nn.describe(model)

    def test_a_subclass_is_another_class(self):
        class Quick(nn.ReLU):
            pass

        with pytest.raises(ValueError, match="got Quick"):
            nn.describe(nn.Sequential(Quick()))

    def test_a_class_without_settings(self):
        @nn.register
        class Twice(nn.Layer):
            pass

        with pytest.raises(ValueError, match="'0' must have settings: Twice has no settings; add"):
            nn.describe(nn.Sequential(Twice()))

    @pytest.mark.parametrize(
        "value",
        [np.zeros(2), {1: 2}, {"a": {3}}, float("nan"), float("inf"), 2**60, b"x", object()],
    )
    def test_settings_that_json_has_not(self, value):
        @nn.register
        class Odd(nn.Layer):
            def settings(self):
                return {"value": value}

        with pytest.raises(ValueError, match="setting 'value' of Odd must be a JSON value"):
            nn.describe(Odd())

    def test_settings_that_are_no_dict(self):
        @nn.register
        class Odd(nn.Layer):
            def settings(self):
                return [3]

        with pytest.raises(ValueError, match="settings of the layer, Odd, must be a dict"):
            nn.describe(Odd())


def deep(levels):
    description = {"type": "ReLU"}
    for _ in range(levels):
        description = {"type": "Sequential", "settings": {"layers": [description]}}
    return description


def chain(*layers, **settings):
    return {"type": "Sequential", "settings": {"layers": list(layers), **settings}}


def of(kind, **settings):
    return {"type": kind, "settings": settings}


def deep_list(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = {
    "no mapping": ([], "must be a mapping"),
    "a text": ("ReLU", "must be a mapping"),
    "nothing": ({}, "must be a mapping with the type"),
    "no type": ({"settings": {}}, "must be a mapping with the type"),
    "type is a list": ({"type": ["ReLU"]}, "must be a mapping with the type"),
    "unknown type": ({"type": "AlexNet"}, "type of the net must be one of .*got 'AlexNet'"),
    "path of a module": ({"type": "os.system"}, "type of the net must be one of"),
    "base class": ({"type": "Layer"}, "type of the net must be one of"),
    "further keys": ({"type": "ReLU", "code": "exit()"}, "must only have the keys .*got 'code'"),
    "settings are a list": (
        {"type": "ReLU", "settings": [1]},
        "settings of the net must have str keys",
    ),
    "unknown setting": (of("ReLU", slope=3), "unexpected keyword argument 'slope'"),
    "lacks settings": (of("Linear", in_features=3), "missing 1 required .*'out_features'"),
    "a key that is no text": (
        {"type": "ReLU", "settings": {3: 4}},
        "settings of the net must have str keys",
    ),
    "no layers": (chain(), "layers must contain at least one"),
    "lacks layers": ({"type": "Sequential"}, "the net, Sequential: missing 'layers'"),
    "layers are a number": (of("Sequential", layers=3), "the net, Sequential"),
    "layers are a text": (of("Sequential", layers="abc"), "must be a lenet5c.nn.Layer"),
    "a layer is a number": (chain(3), "layer '0' must be a lenet5c.nn.Layer"),
    "a name twice": (chain(*[{"name": "a", "type": "ReLU"}] * 2), "names must be unique"),
    "a name with a dot": (chain({"name": "a.b", "type": "ReLU"}), "names must be unique"),
    "an empty name": (chain({"name": "", "type": "ReLU"}), "names must be unique"),
    "a name that is a number": (chain({"name": 3, "type": "ReLU"}), "names must be unique"),
    "input shape": (chain({"type": "ReLU"}, input_shape=[-1]), "input_shape must be an integer"),
    "input shape, text": (chain({"type": "ReLU"}, input_shape="12"), "input_shape must be a shape"),
    "not a number": (of("LeakyReLU", negative_slope=float("nan")), "must be a JSON value"),
    "infinite": (of("LeakyReLU", negative_slope=float("inf")), "must be a JSON value"),
    "huge float": (of("LeakyReLU", negative_slope=1e300), "negative_slope must be a number from"),
    "huge integer": (of("Linear", in_features=10**400, out_features=1), "must be a JSON value"),
    "beyond float32": (of("BatchNorm1d", num_features=1, eps=1e39), "eps must be a number from"),
    "amplitude": (of("ScaledTanh", amplitude=1e300), "amplitude must be a number"),
    "negative": (of("Linear", in_features=-3, out_features=1), "in_features must be an integer"),
    "zero": (of("Conv2d", in_channels=1, out_channels=0, kernel_size=1), "out_channels must be"),
    "a share": (of("Linear", in_features=2.5, out_features=1), "in_features must be an integer"),
    "a truth": (of("Linear", in_features=True, out_features=1), "in_features must be an integer"),
    "no truth": (of("Linear", in_features=1, out_features=1, bias="no"), "bias must be True or"),
    "no truth of a pool": (of("MaxPool2d", kernel_size=2, ceil_mode=1), "ceil_mode must be True"),
    "probability": (of("Dropout", p=1), "p must be a number of at least 0 and less than 1"),
    "probability, text": (of("Dropout", p="0.5"), "p must be a number .*, got '0.5'"),
    "probability, truth": (of("Dropout", p=False), "p must be a number .*, got False"),
    "a layer without a name": (chain({"type": "ReLU"}, of("Dropout", p=1)), "layer '1', Dropout"),
    "one within another": (
        chain({"type": "ReLU"}, of("Residual", layers=[of("Dropout", p=1)])),
        "layer '0' of layer '1', Dropout",
    ),
    "huge padding": (
        of("MaxPool2d", kernel_size=2, padding=2**53),
        "padding must be an integer from 0 to 2147483647, .*got 9007199254740992",
    ),
    "huge stride": (
        of("MaxPool2d", kernel_size=2, stride=2**53),
        "stride must be an integer from 1 to 2147483647, or two",
    ),
    "padding": (of("MaxPool2d", kernel_size=2, padding="deep"), "padding must be"),
    "kernel size": (of("MaxPool2d", kernel_size=[2, 2, 2]), "kernel_size must be an integer"),
    "kernel size of lists": (of("MaxPool2d", kernel_size=[[2], 2]), "kernel_size must be"),
    "approximation": (of("GELU", approximate={"a": 1}), "approximate must be"),
    "initializer": (
        of("Linear", in_features=1, out_features=1, init="open('x')"),
        "init must be one of",
    ),
    "a table that is none": (
        of("Conv2d", in_channels=2, out_channels=2, kernel_size=1, connection_table=[[1], [1, 0]]),
        "the net, Conv2d",
    ),
    "a table of other numbers": (
        of("Conv2d", in_channels=1, out_channels=1, kernel_size=1, connection_table=[[2]]),
        "connection_table must be a boolean",
    ),
    "codes": (of("RBF", classes=0), "classes must be an integer"),
    "codes that are text": (of("RBF", codes="abc"), "the net, RBF"),
    "a LeNet of nothing": (of("LeNet5", num_classes="10"), "num_classes must be"),
    "10^12 parameters": (
        of("Linear", in_features=10**6, out_features=10**6),
        "weight must have at most 1,000,000 values",
    ),
    "beyond addresses": (of("Linear", in_features=2**40, out_features=2**40), "more than 1099511"),
    "10^12 in many layers": (
        chain(*[of("Linear", in_features=999, out_features=1000)] * 1000),
        "weight must have at most 0 values",
    ),
    "many maps": (of("Conv2d", in_channels=2**30, out_channels=1, kernel_size=1), "weight must"),
    "many channels": (of("BatchNorm2d", num_features=2**31), "weight must have at most"),
    "many coefficients": (of("Subsample2d", channels=2**31), "weight must have at most"),
    "many codes": (of("RBF", classes=2**16, features=2**16), "codes must have at most"),
    "a large LeNet": (of("LeNet5", num_classes=10**9), "must have at most"),
    "a large LeNet of 1998": (of("LeNet5_1998", num_classes=10**9), "must have at most"),
    "a million layers": (chain(*[{"type": "ReLU"}] * 10**6), "at most 4,096 layers"),
    "deep nesting": (deep(10**5), "at most 64 levels"),
    "deep lists": (of("MaxPool2d", kernel_size=deep_list(10**5)), "at most 64 levels"),
}


@in_one_test
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_an_error_of_one_line_that_takes_no_memory(name):
    description, words = HOSTILE[name]
    tracemalloc.start()
    try:
        with limit_values(10**6), pytest.raises(ValueError, match=words) as caught:
            nn.build(description)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    assert peak < 50e6


def test_as_deep_and_as_many_as_there_may_be():
    assert nn.build(deep(MAX_DEPTH // 3)).all_layers()
    assert len(nn.build(chain(*[{"type": "ReLU"}] * (MAX_LAYERS - 1))).layers) == MAX_LAYERS - 1


class TestLimit:
    def test_it_counts_to_the_value(self):
        description = nn.describe(nn.LeNet5(batch_norm=True))
        model = nn.build(description)
        count = sum(array.size for array in model.state_dict().values())
        with limit_values(count):
            nn.build(description)
        with limit_values(count - 1), pytest.raises(ValueError, match="must have at most"):
            nn.build(description)

    def test_arrays_without_bias_and_with_a_table(self):
        layer = nn.Conv2d(3, 2, 2, bias=False, connection_table=[[1, 0], [1, 1], [0, 0]])
        with limit_values(layer.num_params):
            nn.build(nn.describe(layer))

    def test_the_smaller_limit_counts(self):
        with limit_values(100), limit_values(1000):
            nn.Linear(9, 9)
            with pytest.raises(ValueError, match="at most 10 values"):
                nn.Linear(9, 2)
        with limit_values(100):
            with limit_values(50):
                nn.Linear(4, 10)
            with pytest.raises(ValueError, match="at most 50 values"):
                nn.Linear(10, 10)
        nn.Linear(100, 100)

    def test_other_threads_have_none(self):
        failures = []

        def make():
            try:
                nn.Linear(100, 100)
            except ValueError as error:
                failures.append(error)

        with limit_values(1):
            thread = threading.Thread(target=make)
            thread.start()
            thread.join()
        assert not failures
