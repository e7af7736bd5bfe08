"""Engines of train_epoch.py: PyTorch in several configurations, JAX, and NumPy.

Each has `first_batch`, the loss and the gradients in the order of lenet5c's parameters, and
`epoch`, one pass over all images, or over the first of an order only. Adam throughout.
"""

import numpy as np
from nets import pytorch_net, steps
from numpy_lenet5 import NumpyAdam, NumpyLeNet5
from workers import timed

LEARNING_RATE = 1e-3
BETAS, EPSILON = (0.9, 0.999), 1e-8
# Ways are tried on so many steps each.
TRIAL_STEPS = 12


class PyTorch:
    """Eager or compiled, float32 or with bfloat16 by autocast, in a layout, with an Adam."""

    def __init__(
        self,
        torch,
        model,
        images,
        labels,
        batch_size,
        *,
        channels_last=False,
        fused=False,
        compiled=False,
        bfloat16=False,
    ):
        self.torch, self.batch_size, self.bfloat16 = torch, batch_size, bfloat16
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = pytorch_net(torch, model).to(memory_format=layout).train()
        self.images = torch.from_numpy(images).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(labels)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), LEARNING_RATE, BETAS, EPSILON, fused=fused
        )
        self.criterion = torch.nn.CrossEntropyLoss()
        self.loss = torch.compile(self.plain_loss, dynamic=False) if compiled else self.plain_loss
        words = ["channels last" if channels_last else "channels first"]
        words += ["compiled"] * (compiled and bfloat16) + ["fused Adam"] * fused
        self.way = ", ".join(words)

    def plain_loss(self, images, labels):
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.bfloat16):
            return self.criterion(self.model(images), labels)

    def first_batch(self, count):
        loss = self.gradient(slice(count))
        return [np.float32(loss.item()), *(param.grad.numpy() for param in self.model.parameters())]

    def gradient(self, batch):
        self.optimizer.zero_grad()
        loss = self.loss(self.images[batch], self.labels[batch])
        loss.backward()
        return loss

    def epoch(self, images=None):
        total = 0.0
        order = self.torch.randperm(len(self.images))[:images]
        for batch in order.split(self.batch_size):
            loss = self.gradient(batch)
            self.optimizer.step()
            total += loss.item() * len(batch)


class Jax:
    """One compiled function per step, or for all full batches of an epoch (`scan`)."""

    def __init__(self, jax, model, images, labels, batch_size, *, channels_last=False, scan=False):
        self.jax, self.batch_size, self.scan = jax, batch_size, scan
        self.channels_last = channels_last
        self.kinds = [kind for kind, *_ in steps(model)]
        self.shapes = {}
        if channels_last:  # one channel: the bytes stay as they are
            images = images.reshape(len(images), *images.shape[2:], 1)
        self.images, self.labels = jax.device_put(images), jax.device_put(labels.astype(np.int32))
        params = self.to_layout([p for _, *both in steps(model) for p in both if p is not None])
        self.params = [jax.device_put(param) for param in params]
        zeros = [jax.numpy.zeros_like(param) for param in self.params]
        self.state = self.params, zeros, [zero + 0 for zero in zeros], jax.numpy.zeros((), "int32")
        self.rng = np.random.default_rng(0)
        self.step = jax.jit(self.plain_step, donate_argnums=0)
        self.steps = jax.jit(self.scanned, donate_argnums=0)
        self.way = f"channels {'last' if channels_last else 'first'}, "
        self.way += "an epoch a call" if scan else "a step a call"

    def to_layout(self, params, back=False):
        """Reorder filters to (KH, KW, I, O), and the columns of the first linear layer."""
        if not self.channels_last:
            return params
        made, flat = [], self.kinds.index("Flatten")
        first = 2 * sum(kind in ("Conv2d", "Linear") for kind in self.kinds[:flat])
        for number, param in enumerate(params):
            if param.ndim == 4:
                param = param.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))
            elif number == first:
                channels = len(params[first - 1])
                side = round((param.shape[1] // channels) ** 0.5)
                axes = (side, side, channels) if back else (channels, side, side)
                order = (0, 3, 1, 2) if back else (0, 2, 3, 1)
                param = param.reshape(-1, *axes).transpose(order).reshape(param.shape)
            made.append(np.ascontiguousarray(param))
        return made

    def loss(self, params, images, labels):
        lax, x, params = self.jax.lax, images, iter(params)
        last = self.channels_last
        for kind in self.kinds:
            if kind == "Conv2d":
                layout = ("NHWC", "HWIO", "NHWC") if last else ("NCHW", "OIHW", "NCHW")
                x = lax.conv_general_dilated(
                    x, next(params), (1, 1), "VALID", dimension_numbers=layout
                )
                bias = next(params)
                x = x + (bias if last else bias[:, None, None])
            elif kind == "ReLU":
                x = self.jax.nn.relu(x)
            elif kind == "MaxPool2d":
                window = (1, 2, 2, 1) if last else (1, 1, 2, 2)
                x = lax.reduce_window(x, -np.inf, lax.max, window, window, "VALID")
            elif kind == "Flatten":
                x = x.reshape(len(x), -1)
            else:
                x = x @ next(params).T + next(params)
        scores = self.jax.nn.log_softmax(x)
        return -self.jax.numpy.take_along_axis(scores, labels[:, None], 1).mean()

    def plain_step(self, state, images, labels, batch):
        params, means, squares, count = state
        loss, grads = self.jax.value_and_grad(self.loss)(params, images[batch], labels[batch])
        (first, second), count = BETAS, count + 1
        rate = LEARNING_RATE * (1 - second**count) ** 0.5 / (1 - first**count)
        means = [first * m + (1 - first) * g for m, g in zip(means, grads, strict=True)]
        squares = [second * s + (1 - second) * g * g for s, g in zip(squares, grads, strict=True)]
        corrected = EPSILON * (1 - second**count) ** 0.5
        params = [
            p - rate * m / (self.jax.numpy.sqrt(s) + corrected)
            for p, m, s in zip(params, means, squares, strict=True)
        ]
        return (params, means, squares, count), loss * len(batch)

    def scanned(self, state, images, labels, batches):
        def body(state, batch):
            return self.plain_step(state, images, labels, batch)

        state, losses = self.jax.lax.scan(body, state, batches)
        return state, losses.sum()

    def first_batch(self, count):
        gradient = self.jax.jit(self.jax.value_and_grad(self.loss))
        loss, grads = gradient(self.state[0], self.images[:count], self.labels[:count])
        return [np.float32(loss), *self.to_layout([np.array(each) for each in grads], back=True)]

    def epoch(self, images=None):
        order = self.rng.permutation(len(self.images))[:images].astype(np.int32)
        losses, full = [], len(order) // self.batch_size * self.batch_size
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if self.scan and full:
            whole = order[:full].reshape(-1, self.batch_size)
            self.state, loss = self.steps(self.state, self.images, self.labels, whole)
            losses.append(loss)
            batches = batches[len(whole) :]
        for batch in batches:
            self.state, loss = self.step(self.state, self.images, self.labels, batch)
            losses.append(loss)
        return sum(float(loss) for loss in losses)


class Numpy:
    """Some steps of an epoch of LeNet-5, from benchmarks/numpy_lenet5.py."""

    def __init__(self, state, images, labels, batch_size, steps):
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self.model = NumpyLeNet5(state)
        self.optimizer = NumpyAdam(self.model.params, LEARNING_RATE)
        self.samples = min(steps * batch_size, len(images))
        self.rng = np.random.default_rng(0)

    def first_batch(self, count):
        loss, grads = self.model.loss_and_gradient(self.images[:count], self.labels[:count])
        return [np.float32(loss), *grads.values()]

    def epoch(self):
        """Train on the first `samples` of an epoch's order only."""
        order = self.rng.permutation(len(self.images))[: self.samples]
        total = 0.0
        for start in range(0, self.samples, self.batch_size):
            batch = order[start : start + self.batch_size]
            loss, grads = self.model.loss_and_gradient(self.images[batch], self.labels[batch])
            self.optimizer.step(grads)
            total += loss * len(batch)


def ways(name):
    """Return the settings of an engine to compare in a trial."""
    layouts = [{"channels_last": last} for last in (False, True)]
    if name == "JAX":
        return [layout | {"scan": scan} for layout in layouts for scan in (False, True)]
    if name == "PyTorch":
        return [layout | {"fused": fused} for layout in layouts for fused in (False, True)]
    if name == "torch.compile":
        return [layout | {"fused": True, "compiled": True} for layout in layouts]
    bfloat16 = {"fused": True, "bfloat16": True}
    return [layout | bfloat16 for layout in layouts] + [layouts[1] | bfloat16 | {"compiled": True}]


# Name -> (kind, the peer in common.PEERS, tolerance of the first batch's gradient).
ENGINES = {
    "PyTorch": (PyTorch, "PyTorch", 1e-4),
    "torch.compile": (PyTorch, "PyTorch", 1e-4),
    "PyTorch, bfloat16": (PyTorch, "PyTorch", 0.1),
    "JAX": (Jax, "JAX", 1e-4),
}


def fastest(name, module, model, images, labels, batch_size):
    """Return the contender of an engine with the settings that are fastest in a trial."""
    kind, *_ = ENGINES[name]
    candidates = [kind(module, model, images, labels, batch_size, **way) for way in ways(name)]
    count = min(TRIAL_STEPS * batch_size, len(images))
    for each in candidates:
        each.epoch(count)
    seconds = [
        min(timed(lambda run=each.epoch: run(count), 1) for _ in range(3)) for each in candidates
    ]
    best = candidates[int(np.argmin(seconds))]
    return kind(module, model, images, labels, batch_size, **ways(name)[candidates.index(best)])
