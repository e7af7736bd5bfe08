"""A user's program, for `mypy --strict`; tests/test_stubs.py also runs it."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import lenet5c
from lenet5c import datasets, kernels, nn, optim, training


class Scale(nn.Layer):
    """A custom layer."""

    def __init__(self) -> None:
        self.params["factor"] = np.ones(1, np.float32)
        self.x = np.zeros(0, np.float32)

    def forward(self, x: NDArray[np.float32], training: bool = False) -> NDArray[np.float32]:
        self.x = x
        y: NDArray[np.float32] = x * self.params["factor"]
        return y

    def backward(self, dy: NDArray[np.float32]) -> NDArray[np.float32]:
        self.grads["factor"] = np.sum(dy * self.x).reshape(1)
        dx: NDArray[np.float32] = dy * self.params["factor"]
        return dx


def use_the_functions() -> None:
    x = np.ones((2, 3, 8, 8), np.float32)
    weight = np.ones((4, 3, 3, 3), np.float32)
    y = kernels.conv2d(
        x, weight, stride=2, padding=(1, 1), out=np.empty((2, 4, 4, 4), np.float32), num_threads=1
    )
    assert_type(y, NDArray[Any])
    dx, _dweight, _dbias = kernels.conv2d_backward(y, x, weight, 2, 1, out=(None, None, None))
    assert dx.dtype == np.float32
    need = ["dx", "dbias"]
    kernels.conv2d_backward(y, x.shape, weight, 2, ((1, 1), (1, 1)), need=need)
    mixed = kernels.conv2d(x[0].tolist(), weight.astype(np.float64), padding="same")
    assert mixed.dtype == np.float64
    last = kernels.conv2d(x.transpose(0, 2, 3, 1), weight.T, data_format="NHWC")
    assert_type(
        kernels.conv_transpose2d(last, weight.T, stride=2, data_format="NHWC"), NDArray[Any]
    )
    line, taps = x[:, :, 0], weight[:, :, 0]
    across = kernels.conv1d(line, taps, padding=(1, 0))
    kernels.conv1d_backward(across, line, taps, 1, (1, 0))
    assert_type(kernels.max_pool2d(x.astype(np.float64), 2), NDArray[Any])
    two = tuple[NDArray[Any], NDArray[Any]]
    assert_type(kernels.max_pool2d(x, 2, return_indices=True), two)
    assert_type(kernels.max_pool2d(x, 2, 2, 0, 1, False, True), two)
    assert_type(kernels.global_max_pool2d(x, True), two)
    assert_type(kernels.max_pool1d(x[0], 2), NDArray[Any])
    assert_type(kernels.avg_pool2d(x.astype(np.float64), 2), NDArray[Any])
    kernels.max_pool2d_backward(kernels.max_pool2d(x, 2), x, 2)
    kernels.avg_pool2d_backward(kernels.avg_pool2d(x, 2, count_include_pad=False), x.shape, 2)
    columns = kernels.im2col(x, 3, dilation=2)
    assert_type(kernels.col2im(columns, (8, 8), 3, dilation=2), NDArray[Any])
    assert_type(kernels.isa, str)
    lenet5c.set_num_threads(lenet5c.get_num_threads())
    lenet5c.set_num_threads(None)


def use_the_layers(images: NDArray[np.uint8], labels: NDArray[np.int32]) -> float:
    prepare = datasets.Preparation.named("default")
    model = nn.LeNet5(rng=0)
    optimizer = optim.Adam(model, lr=optim.OneCycle(1e-3, total=1)(0))
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
    logits = model.forward(prepare(images), training=True)
    loss, gradient = loss_function(logits, labels)
    model.backward(gradient)
    optimizer.step()
    weights: NDArray[Any] = model["conv1"].params["weight"]
    assert weights.shape == (6, 1, 5, 5)
    small = nn.Sequential(
        {"flatten": nn.Flatten(), "scale": Scale(), "out": nn.Linear(4, 2, rng=0)}
    )
    small.load_state_dict(small.state_dict())
    assert_type(small.predict(np.ones((1, 1, 2, 2), np.float32)), NDArray[np.int64])
    nn.Sequential(
        nn.Conv2d(1, 2, (3, 3)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(2),
        nn.Dropout(0.5, rng=0),
    )
    return loss


def use_the_trainer(train_set: datasets.Dataset, test_set: datasets.Dataset) -> float:
    model, preparation = nn.LeNet5(), datasets.Preparation.named("default")
    trainer = training.Trainer(
        model,
        optim.SGD(model, 0.05, momentum=0.9),
        optim.Constant(0.05),
        nn.CrossEntropyLoss(),
        preparation,
        train_set,
        None,
        batch_size=20,
        epochs=1,
    )
    trainer.run(on_epoch=lambda trainer, row: print(row["train_loss"]))
    history = trainer.fit(progress=False, on_epoch=lambda trainer, row: None)
    assert_type(history, training.History)
    assert_type(history[0], dict[str, Any])
    losses: NDArray[Any] = history["train_loss"]
    assert history.done and history.best is None and losses.shape == (1,)
    another = lenet5c.trainer("fast", data=train_set, epochs=1)
    assert another.trained is None or another.trained.image_shape == (1, 28, 28)
    return training.evaluate(model, test_set, preparation).accuracy


def main() -> None:
    train, test = datasets.mnist()
    train, test = train.take(np.arange(40)), test.take(range(10))
    use_the_functions()
    use_the_layers(train.images, np.asarray(train.labels, np.int32))
    use_the_trainer(train, test)


if __name__ == "__main__":
    main()
