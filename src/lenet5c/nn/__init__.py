"""Layers, losses and models, with explicit forward and backward passes over NumPy arrays."""

from lenet5c.kernels.engine.samples import Samples
from lenet5c.nn.activation import ReLU, ScaledTanh, Sigmoid, Tanh
from lenet5c.nn.batch_norm import BatchNorm1d, BatchNorm2d
from lenet5c.nn.convolution import Conv2d
from lenet5c.nn.dropout import Dropout
from lenet5c.nn.layer import Layer
from lenet5c.nn.lenet5 import LeNet5
from lenet5c.nn.lenet5_1998 import LeNet5_1998
from lenet5c.nn.linear import Flatten, Linear
from lenet5c.nn.loss import CrossEntropyLoss, MAPLoss, MLELoss, MSELoss, softmax
from lenet5c.nn.pooling import AvgPool2d, MaxPool2d, Subsample2d
from lenet5c.nn.rbf import RBF, digit_codes
from lenet5c.nn.sequential import Sequential

__all__ = [
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Layer",
    "LeNet5",
    "LeNet5_1998",
    "Linear",
    "MAPLoss",
    "MLELoss",
    "MSELoss",
    "MaxPool2d",
    "RBF",
    "ReLU",
    "Samples",
    "ScaledTanh",
    "Sequential",
    "Sigmoid",
    "Subsample2d",
    "Tanh",
    "digit_codes",
    "softmax",
]
