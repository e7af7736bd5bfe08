"""Every layer class, with common and unusual settings."""

import numpy as np

from lenet5c import nn

TABLE = [[1, 0, 1], [1, 1, 0]]
# Layers by the name of their class, each with the shape of a sample.
LAYERS = {
    "Conv2d": [
        (nn.Conv2d(2, 3, 3), (2, 5, 6)),
        (nn.Conv2d(4, 6, (3, 2), (2, 1), ((1, 0), (0, 2)), 2, 2, bias=False), (4, 7, 8)),
        (nn.Conv2d(2, 3, 2, padding="same", connection_table=TABLE), (2, 4, 4)),
        (nn.Conv2d(2, 3, 2, bias=False, padding="valid", connection_table=TABLE), (2, 4, 4)),
    ],
    "Linear": [(nn.Linear(3, 2), (3,)), (nn.Linear(3, 2, bias=False), (3,))],
    "Flatten": [(nn.Flatten(), (2, 3, 4))],
    "MaxPool2d": [
        (nn.MaxPool2d(2), (2, 5, 6)),
        (nn.MaxPool2d((3, 2), 1, "same", 2, ceil_mode=True), (2, 7, 8)),
    ],
    "AvgPool2d": [
        (nn.AvgPool2d(2), (2, 5, 6)),
        (nn.AvgPool2d(3, (2, 3), ((1, 0), (2, 1)), True, count_include_pad=False), (2, 8, 8)),
    ],
    "GlobalMaxPool2d": [(nn.GlobalMaxPool2d(), (2, 3, 5))],
    "GlobalAvgPool2d": [(nn.GlobalAvgPool2d(), (2, 3, 5))],
    "Residual": [
        (nn.Residual(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()), (2, 5, 6)),
        (
            nn.Residual(
                {"in": nn.Conv2d(2, 4, 3, 2, 1), "norm": nn.BatchNorm2d(4), "act": nn.Tanh()},
                shortcut=nn.Conv2d(2, 4, 1, 2),
            ),
            (2, 6, 6),
        ),
        (
            nn.Residual(
                nn.Sequential(nn.Linear(4, 9), nn.Sigmoid()),
                nn.Residual(nn.Linear(9, 5), nn.GELU(), nn.Linear(5, 9)),
                nn.Linear(9, 3),
                shortcut=nn.Sequential({"a": nn.Linear(4, 6), "b": nn.Linear(6, 3)}),
            ),
            (4,),
        ),
        (nn.Residual(nn.Residual(nn.ReLU()), nn.Dropout(0.5, rng=0)), (3,)),
        (nn.Residual(nn.Dropout(0.5, rng=0), shortcut=nn.Tanh()), (2, 2, 2)),
    ],
    "Ensemble": [
        (
            nn.Ensemble(
                nn.Sequential(nn.Linear(4, 3)),
                nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
            ),
            (4,),
        ),
        (
            nn.Ensemble(
                {
                    "maps": nn.Sequential(
                        nn.Conv2d(2, 3, 3),
                        nn.ReLU(),
                        nn.MaxPool2d(2),
                        nn.Flatten(),
                        nn.Linear(12, 4),
                    ),
                    "codes": nn.Sequential(
                        nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 5), nn.RBF(np.eye(4, 5))
                    ),
                    "block": nn.Sequential(
                        nn.Flatten(), nn.Residual(nn.Dropout(0.5, rng=0)), nn.Linear(72, 4)
                    ),
                },
                temperatures=(1.5, 2, 0.5),
            ),
            (2, 6, 6),
        ),
    ],
    "Subsample2d": [(nn.Subsample2d(3, (2, 3)), (3, 5, 7))],
    "ReLU": [(nn.ReLU(), (3,))],
    "LeakyReLU": [(nn.LeakyReLU(0.25), (3,))],
    "GELU": [(nn.GELU(), (3,)), (nn.GELU("tanh"), (2, 3, 3))],
    "Sigmoid": [(nn.Sigmoid(), (3,))],
    "Tanh": [(nn.Tanh(), (3,))],
    "ScaledTanh": [(nn.ScaledTanh(), (3,)), (nn.ScaledTanh(2, -0.5), (3,))],
    "BatchNorm1d": [(nn.BatchNorm1d(3), (3,)), (nn.BatchNorm1d(3, 1e-3, 0.5), (3,))],
    "BatchNorm2d": [(nn.BatchNorm2d(3, 0.1), (3, 2, 2))],
    "Dropout": [(nn.Dropout(0.25, rng=0), (3,))],
    "RBF": [(nn.RBF(), (84,)), (nn.RBF(np.eye(3)), (3,))],
    "Sequential": [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2)),
        (
            nn.Sequential(
                {"in": nn.Linear(4, 2), "mid": nn.Sequential(nn.Tanh(), nn.Dropout(0.1))},
                input_shape=[4],
            ),
            (4,),
        ),
    ],
    "LeNet5": [
        (nn.LeNet5(), (1, 32, 32)),
        (nn.LeNet5(3, 3, (18, 20), activation="tanh", dropout=0.5, batch_norm=True), (3, 18, 20)),
    ],
    "SmallColor": [
        (nn.SmallColor(input_size=32), (3, 32, 32)),
        (nn.SmallColor(4, 1, (32, 48)), (1, 32, 48)),
    ],
    "LeNet5_1998": [(nn.LeNet5_1998(), (1, 32, 32)), (nn.LeNet5_1998(4, 2, 16), (2, 16, 16))],
}
