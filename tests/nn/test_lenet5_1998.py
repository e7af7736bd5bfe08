"""The layers specific to LeCun et al. (1998), and their net, LeNet5_1998."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from tile_layers import EPS, TileLayerChecks, assert_close, normal

from lenet5c import nn, reference


def connected(x, out_channels, kernel_size, table=None, **options):
    """Make a convolution with a connection table.

    By default, it connects two of three maps at random, and every output to some map.
    """
    if table is None:
        table = np.random.default_rng(2).random((x[1], out_channels)) < 2 / 3
        table[0] |= ~table.any(axis=0)
    layer = nn.Conv2d(x[1], out_channels, kernel_size, rng=1, connection_table=table, **options)
    options.pop("bias", None)
    return layer, x, "connected_conv2d", {"table": np.asarray(table)} | options


def subsample(x, kernel_size=2):
    layer = nn.Subsample2d(x[1], kernel_size, rng=1)
    layer.params["bias"] = normal(x[1], seed=3)
    return layer, x, "subsample2d", {"kernel_size": kernel_size}


def rbf(N, features, classes):
    return nn.RBF(normal(classes, features, seed=3)), (N, features), "rbf", {}


# As in test_layers.py: up to four samples are trained on one by one, more of them in tiles.
CASES = [
    *(
        connected((batch, 6, 7, 8), 16, 5, nn.lenet5_1998.C3_TABLE)
        for batch in (1, 3, 4, 5, 17, 33)
    ),
    *(connected((batch, 19, 5, 6), 35, 3, padding=1) for batch in (1, 4, 5, 17)),
    connected((3, 3, 7, 6), 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
    connected((3, 3, 4, 5), 4, (4, 5)),  # as wide as the image
    connected((18, 3, 4, 5), 4, (4, 5)),
    connected(
        (3, 5, 6, 6), 3, 2, [[0, 1, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    ),  # one, two apart, all
    connected(
        (17, 5, 6, 6), 3, 2, [[0, 1, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1], [0, 1, 1]], bias=False
    ),
    connected((2, 4, 6, 10), 4, 5, np.ones((4, 4))),
    connected((20, 4, 6, 10), 4, 5, np.eye(4)),
    *(subsample((batch, 6, 8, 6)) for batch in (1, 3, 4, 5, 17, 33)),
    subsample((3, 17, 7, 5)),
    subsample((17, 17, 7, 5)),
    subsample((4, 35, 8, 7), (3, 2)),
    subsample((18, 2, 8, 7), (1, 4)),
    subsample((2, 16, 4, 5), (4, 5)),
    *(rbf(batch, 84, 10) for batch in (1, 3, 4, 5, 17, 33)),
    *(
        rbf(batch, features, classes)
        for batch in (2, 19)
        for features, classes in ((1, 1), (16, 17), (19, 3))
    ),
]


@in_one_test
@pytest.mark.parametrize(
    "layer, shape, name, options", CASES, ids=lambda value: str(value).replace(" ", "")
)
class TestTileLayers(TileLayerChecks):
    pass


@pytest.mark.parametrize(
    "layer, input_shape, output_shape, num_params, connections",
    [
        # LeCun et al. (1998), section II.B: S2, S4, C3, and the output.
        (nn.Subsample2d(6), (6, 28, 28), (6, 14, 14), 12, 5880),
        (nn.Subsample2d(16), (16, 10, 10), (16, 5, 5), 32, 2000),
        (nn.Subsample2d(2, (3, 2)), (2, 8, 5), (2, 2, 2), 4, 56),
        (
            nn.Conv2d(6, 16, 5, connection_table=nn.lenet5_1998.C3_TABLE),
            (6, 14, 14),
            (16, 10, 10),
            1516,
            151_600,
        ),
        (nn.RBF(), (84,), (10,), 0, 840),
    ],
    ids=str,
)
def test_sizes(layer, input_shape, output_shape, num_params, connections):
    assert layer.output_shape(input_shape) == output_shape
    assert layer.num_params == num_params
    assert layer.connections(input_shape) == connections


class TestConnectionTable:
    TABLE = [[1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1]]

    def test_dense_weight(self):
        layer = nn.Conv2d(4, 3, 2, rng=0, connection_table=self.TABLE)
        dense = layer.dense_weight
        assert layer.params["weight"].shape == (7, 2, 2)
        assert dense.shape == (3, 4, 2, 2)
        assert_array_equal(dense.any(axis=(2, 3)), np.array(self.TABLE, bool).T)
        assert_array_equal(dense, reference.scatter_filters(layer.params["weight"], self.TABLE))
        dense[:] = 7
        assert (layer.params["weight"] != 7).all()
        full = nn.Conv2d(4, 3, 2, rng=0)
        assert_array_equal(full.dense_weight, full.params["weight"])
        assert not np.shares_memory(full.dense_weight, full.params["weight"])

    @pytest.mark.parametrize("batch", [2, 17])
    def test_is_a_dense_convolution_with_zeros(self, batch):
        """The same sums, so results are bit-identical."""
        layer = nn.Conv2d(4, 3, 2, rng=0, connection_table=self.TABLE)
        dense = nn.Conv2d(4, 3, 2)
        dense.params["weight"] = layer.dense_weight
        x = normal(batch, 4, 5, 6)
        y = layer.forward(x, training=True)
        assert_array_equal(y, dense.forward(x, training=True))
        dy = normal(*y.shape, seed=1)
        assert_array_equal(layer.backward(dy), dense.backward(dy))
        assert_array_equal(
            layer.grads["weight"], dense.grads["weight"][np.array(self.TABLE, bool).T]
        )
        assert_array_equal(layer.grads["bias"], dense.grads["bias"])

    def test_fan_in_counts_what_is_connected(self):
        layer = nn.Conv2d(
            4,
            3,
            2,
            init=lambda rng, shape, fan_in, fan_out: np.full(shape, fan_in),
            connection_table=self.TABLE,
        )
        assert_array_equal(layer.params["weight"][:, 0, 0], [4, 8, 8, 16, 16, 16, 16])

    def test_the_table_is_a_copy(self):
        table = np.array(self.TABLE)
        layer = nn.Conv2d(4, 3, 2, rng=0, connection_table=table)
        table[:] = 1
        assert_array_equal(layer.connection_table, np.array(self.TABLE, bool))
        assert layer.forward(normal(3, 4, 5, 5)).shape == (3, 3, 4, 4)

    def test_same_seed_same_weights(self):
        first, second = (nn.Conv2d(4, 3, 2, rng=3, connection_table=self.TABLE) for _ in range(2))
        assert_array_equal(first.vector, second.vector)


class TestRBF:
    def test_the_smallest_wins_also_behind_a_flatten(self):
        x = normal(20, 84)
        for layers in ([nn.RBF()], [nn.RBF(), nn.Flatten()]):
            model = nn.Sequential(nn.Linear(84, 84, rng=0), *layers)
            classes = model.predict(x)
            assert_array_equal(classes, model.forward(x).argmin(axis=1))
            assert model.train_step(x, classes, nn.MLELoss())[1] == 20
            assert model.train_step(x, (classes + 1) % 10, nn.MLELoss())[1] == 0

    def test_codes_of_any_layout_and_kind(self):
        x = normal(3, 84)
        expected = nn.RBF().forward(x)
        for codes in (
            np.asfortranarray(nn.digit_codes()),
            nn.digit_codes().astype(np.int8),
            nn.digit_codes().tolist(),
            nn.digit_codes().astype(np.float64)[:, ::-1].copy()[:, ::-1],
        ):
            assert_array_equal(nn.RBF(codes).forward(x), expected)

    def test_codes_are_a_copy(self):
        codes = nn.digit_codes()
        layer = nn.RBF(codes)
        codes[:] = 0
        assert_array_equal(layer.buffers["codes"], nn.digit_codes())
        assert not layer.params

    @pytest.mark.parametrize("batch", [3, 17])
    def test_changed_codes_are_seen(self, batch):
        """Also by an existing program, whether they are changed in place or assigned."""
        layer, x = nn.RBF(), normal(batch, 84)
        model = nn.Sequential(layer)
        before = layer.forward(x)
        layer.buffers["codes"][:] *= 2
        assert_close(layer.forward(x), reference.rbf(x, 2 * nn.digit_codes()))
        assert_array_equal(model.forward(x), layer.forward(x))
        layer.buffers["codes"] = nn.digit_codes()
        assert_array_equal(layer.forward(x), before)
        state = model.state_dict()
        assert list(state) == ["0.codes"]
        state["0.codes"] = -state["0.codes"]
        model.load_state_dict(state)
        assert_close(model.forward(x), reference.rbf(x, -nn.digit_codes()))

    def test_a_copy_has_codes_of_its_own(self):
        layer, x = nn.RBF(), normal(3, 84)
        before = layer.forward(x)
        for counterpart in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            counterpart.buffers["codes"][:] = 0
            assert_close(
                counterpart.forward(x),
                (x.astype(np.float64) ** 2).sum(axis=1, keepdims=True).repeat(10, axis=1),
            )
        assert_array_equal(layer.forward(x), before)

    def test_bitmaps_of_the_digits(self):
        """Figure 3 of LeCun et al. (1998): the black pixels, and distances of the codes."""
        codes = nn.digit_codes()
        assert (codes.shape, codes.dtype) == ((10, 84), np.float32)
        assert_array_equal(np.unique(codes), [-1, 1])
        assert_array_equal((codes > 0).sum(axis=1), [35, 27, 33, 32, 41, 35, 39, 25, 43, 39])
        distances = ((codes[:, None] - codes) ** 2).sum(axis=2)
        expected = np.zeros((10, 10))
        expected[np.triu_indices(10, 1)] = [
            168,
            120,
            116,
            72,
            120,
            88,
            160,
            104,
            112,
            120,
            140,
            200,
            128,
            176,
            112,
            200,
            168,
            132,
            136,
            80,
            144,
            128,
            136,
            128,
            116,
            116,
            100,
            108,
            84,
            116,
            136,
            80,
            200,
            80,
            120,
            104,
            136,
            112,
            96,
            184,
            48,
            104,
            160,
            136,
            72,
        ]
        assert_array_equal(distances, expected + expected.T)
        nn.digit_codes()[:] = 0  # each call gives an array of its own
        assert_array_equal(nn.digit_codes(), codes)


class TestErrors:
    @pytest.mark.parametrize(
        "make, message",
        [
            (
                lambda: nn.Conv2d(2, 3, 5, connection_table=np.ones((3, 2))),
                r"connection_table must.*\(2, 3\).*got float64 \(3, 2\)",
            ),
            (
                lambda: nn.Conv2d(2, 1, 5, connection_table=[[1], [2]]),
                "connection_table must be a boolean .*got int64",
            ),
            (
                lambda: nn.Conv2d(2, 1, 5, connection_table=[[1.0], [np.nan]]),
                "connection_table must.*got float64",
            ),
            (
                lambda: nn.Conv2d(2, 1, 5, connection_table=[["1"], ["0"]]),
                "connection_table must.*got <U1",
            ),
            (
                lambda: nn.Conv2d(2, 1, 5, connection_table=1),
                r"connection_table must.*got int64 \(\)",
            ),
            (
                lambda: nn.Conv2d(2, 2, 5, connection_table=[[1, 0], [1, 0]]),
                "connection_table must connect each output",
            ),
            (
                lambda: nn.Conv2d(2, 2, 5, groups=2, connection_table=np.eye(2)),
                "groups must.*connection_table.*got 2",
            ),
            (lambda: nn.Subsample2d(0), "channels must.*got 0"),
            (lambda: nn.Subsample2d(2.5), "channels must.*got 2.5"),
            (lambda: nn.Subsample2d(2, 0), "kernel_size (is|must.*got) 0"),
            (lambda: nn.Subsample2d(2, (2, 2, 2)), "kernel_size must be"),
            (lambda: nn.Subsample2d(2, init="xavier"), "init must.*lecun_uniform.*got 'xavier'"),
            (lambda: nn.RBF([1, 2]), r"codes must.*\(classes, features\), got shape \(2,\)"),
            (lambda: nn.RBF(np.full((2, 4), 1e39)), "codes must be finite numbers"),
            (lambda: nn.RBF(np.zeros((0, 4))), r"codes must.*got shape \(0, 4\)"),
            (lambda: nn.RBF([[1, np.nan]]), "codes .* finite"),
            (lambda: nn.RBF([[1, np.inf]]), "codes .* finite"),
        ],
    )
    def test_settings(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    @pytest.mark.parametrize(
        "layer, shape, message",
        [
            (nn.Subsample2d(3), (2, 4, 4), r"3 channels .*Subsample2d, got \(2, 4, 4\)"),
            (nn.Subsample2d(3), (12,), r"Subsample2d, got \(12,\)"),
            (nn.Subsample2d(3, 5), (3, 4, 8), "kernel_size"),
            (
                nn.RBF(),
                (83,),
                r"samples must have 84 features for RBF, got \(83,\); pass codes of 83",
            ),
            (nn.RBF(), (84, 1, 1), "RBF, got .*Flatten"),
            (nn.Conv2d(2, 2, 3, connection_table=np.eye(2)), (3, 8, 8), "2 channels.*Conv2d"),
        ],
        ids=str,
    )
    def test_input_shape(self, layer, shape, message):
        with pytest.raises(ValueError, match=message):
            layer.output_shape(shape)
        with pytest.raises(ValueError, match=message):
            layer.forward(np.zeros((2, *shape), np.float32))


class TestLeNet5Of1998:
    """Compared with the numbers of LeCun et al. (1998), section II-B."""

    def test_layer_by_layer(self):
        model, shape, sizes = nn.LeNet5_1998(), (1, 32, 32), {}
        for name, layer in model.layers.items():
            sizes[name] = (layer.num_params, layer.connections(shape))
            shape = layer.output_shape(shape)
        assert [sizes[name] for name in ("c1", "s2", "c3", "s4", "c5", "f6", "output")] == [
            (156, 122_304),
            (12, 5_880),
            (1_516, 151_600),
            (32, 2_000),
            (48_120, 48_120),
            (10_164, 10_164),
            (0, 840),
        ]
        assert all(
            size == (0, 0) for name, size in sizes.items() if name.startswith(("act", "flatten"))
        )
        assert shape == (10,)
        assert (model.num_params, model.connections((1, 32, 32))) == (60_000, 340_908)
        for number in (
            "156",
            "122,304",
            "1,516",
            "151,600",
            "48,120",
            "10,164",
            "60,000",
            "340,908",
        ):
            assert number in model.summary()

    def test_table_1(self):
        """Six maps read three neighbors, six four, three four with a gap, one all."""
        table = nn.lenet5_1998.C3_TABLE
        assert table.sum() == 60
        assert_array_equal(table.sum(axis=1), [10] * 6)
        neighbors = [
            {(first + i) % 6 for i in range(count)} for count in (3, 4) for first in range(6)
        ]
        gaps = [{first, first + 1, (first + 3) % 6, (first + 4) % 6} for first in range(3)]
        columns = [set(np.flatnonzero(column)) for column in table.T]
        assert columns == [*neighbors, *gaps, set(range(6))]

    @pytest.mark.parametrize(
        "options, num_params, input_shape",
        [
            ({}, 60_000, (1, 32, 32)),
            ({"input_size": 28}, 42_720, (1, 28, 28)),
            ({"in_channels": 3, "num_classes": 7, "init": "lush"}, 60_300, (3, 32, 32)),
            ({"input_size": (16, 20), "init": "printed"}, 15_840, (1, 16, 20)),
        ],
        ids=str,
    )
    def test_options(self, options, num_params, input_shape):
        model = nn.LeNet5_1998(**options)
        assert model.num_params == num_params == len(model.vector)
        assert model.input_shape == input_shape
        x = normal(2, *input_shape)
        assert_array_equal(model.predict(x), model.forward(x).argmin(axis=1))
        assert_array_equal(model.logits(model.forward(x)), -model.forward(x))
        counterpart = nn.LeNet5_1998(**model.config)
        assert counterpart.config == model.config
        assert_array_equal(counterpart.vector, model.vector)  # the default seed
        assert_array_equal(counterpart.forward(x), model.forward(x))  # codes, too
        assert (nn.LeNet5_1998(**options, rng=1).vector != model.vector).any()

    @pytest.mark.parametrize(
        "init, bound, coefficient",
        [("printed", 2.4, None), ("lush", 1.0, 0.5), ("fitted", 1.1, 0.55)],
    )
    def test_initial_values(self, init, bound, coefficient):
        model = nn.LeNet5_1998(init=init, rng=4)
        power = 1 if init == "printed" else 0.5
        for name, array in model.params.items():
            layer = model[name.partition(".")[0]]
            if name.endswith("bias"):
                assert not array.any()
            elif isinstance(layer, nn.Subsample2d):
                if coefficient is not None:
                    assert_array_equal(array, np.float32(coefficient))
                else:
                    assert 0 < abs(array).max() <= np.float32(bound / 4)
            elif name != "c3.weight":
                limit = bound / np.prod(array.shape[1:]) ** power
                assert 0.95 * limit < abs(array).max() <= limit * (1 + EPS)
        filters = np.split(model["c3"].params["weight"], np.cumsum([3] * 6 + [4] * 9))
        for each in filters:
            limit = bound / each.size**power
            assert 0.9 * limit < abs(each).max() <= limit * (1 + EPS)

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"init": "he_normal"}, "init must.*fitted, printed, lush.*got 'he_normal'"),
            ({"init": {}}, "init must.*fitted, printed, lush.*got {}"),
            ({"input_size": 15}, "input_size must.* 16 .*15"),
            ({"input_size": "32"}, "input_size must be.*got '32'"),
            ({"num_classes": 0}, "num_classes must.*got 0"),
            ({"num_classes": 2.5}, "num_classes must.*got 2.5"),
            ({"in_channels": -1}, "in_channels must.*got -1"),
        ],
        ids=str,
    )
    def test_refuses(self, options, message):
        with pytest.raises(ValueError, match=message):
            nn.LeNet5_1998(**options)

    def test_penalties_are_those_of_their_own_codes(self):
        """Random codes for another number of classes are reproducible and distinct."""
        codes = nn.LeNet5_1998(num_classes=26)["output"].buffers["codes"]
        assert_array_equal(np.unique(codes), [-1, 1])
        assert len(np.unique(codes, axis=0)) == 26
