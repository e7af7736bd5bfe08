"""Random calls of activations, losses, optimizers and distortions, compared with the reference."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from lenet5c import nn, optim, reference
from lenet5c.datasets import Distortion
from torture.guarded import GuardedMemory
from torture.kernel_cases import Case, Results, call
from torture.rounding import UNIT, check

EPS = 2 * UNIT[np.dtype(np.float32)]


def activation(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Within some roundings of the argument or of the derivative, which is about 1 at most."""
    kind = str(rng.choice(list(nn.ACTIVATIONS)))
    options: dict[str, Any] = {
        "leaky_relu": {"negative_slope": float(rng.uniform(-1, 1))},
        "gelu": {"approximate": str(rng.choice(["none", "tanh"]))},
        "scaled_tanh": {name: float(rng.uniform(0.3, 2)) for name in ("amplitude", "slope")},
    }.get(kind, {})  # fmt: skip
    layer = nn.ACTIVATIONS[kind](**options)
    shape = tuple(rng.integers(1, 9, size=rng.choice([1, 3])).tolist())
    x = rng.choice([-1, 1]) * np.exp(rng.uniform(-12, 3, (int(rng.integers(0, 51)), *shape)))
    x = x.astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    y = layer.forward(memory.put(x), training=True)
    counterpart = getattr(reference, kind)(x, **options)
    check("y", y, counterpart, 8 * EPS * (abs(x) + abs(counterpart)))
    dx = layer.backward(memory.put(dy))
    of = x if kind in ("leaky_relu", "gelu") else counterpart
    counterpart = getattr(reference, f"{kind}_backward")(dy, of, **options)
    steepest = max(1.2, options.get("amplitude", 1) * options.get("slope", 1))
    check("dx", dx, counterpart, 16 * EPS * steepest * abs(dy))
    return [y, dx]


def loss(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Within 8 roundings of 1, a probability, or of the largest output, and of the weights."""
    batch, classes = int(rng.integers(1, 51)), int(rng.integers(1, 60))
    scale = float(rng.choice([1e-3, 1, 20]))
    outputs = (scale * rng.standard_normal((batch, classes))).astype(np.float32)
    labels = rng.integers(classes, size=batch)
    kind = str(rng.choice([*nn.LOSSES, "nll"]))
    smoothing, j = float(rng.choice([0, 0.1, 0.9])), float(rng.uniform(0.1, 5))
    common: dict[str, Any] = {"reduction": str(rng.choice(["mean", "sum", "none"]))}
    weighted = {"sample_weight": None}
    if rng.random() < 0.5:
        weights = (rng.uniform(0, 2, batch) * rng.integers(2, size=batch)).astype(np.float32)
        weights[0] = 1
        weighted = {"sample_weight": memory.put(weights)}
    of_class, target = dict(common), labels
    if rng.random() < 0.5:
        of_class["weight"] = rng.uniform(0.1, 2, classes).astype(np.float32)
    if kind == "cross_entropy" and rng.random() < 0.5:
        target = rng.dirichlet(np.ones(classes), batch).astype(np.float32)
    elif kind in ("cross_entropy", "nll") and rng.random() < 0.5:
        target = np.where(rng.random(batch) < 0.3, -7, labels)
        target[0], of_class["ignore_index"] = labels[0], -7
    # The derived setting as the kernel has it, in float32.
    made, counterpart = {
        "cross_entropy": (
            nn.CrossEntropyLoss(label_smoothing=smoothing, **of_class),
            lambda: reference.cross_entropy(outputs, target, smoothing, **of_class, **weighted)),
        "nll": (nn.NLLLoss(**of_class),
                lambda: reference.nll_loss(outputs, target, **of_class, **weighted)),
        "mse": (nn.MSELoss(**common),
                lambda: reference.mse_loss(outputs, np.eye(classes)[labels], **common, **weighted)),
        "mle": (nn.MLELoss(**common),
                lambda: reference.mle_loss(outputs, labels, **common, **weighted)),
        "map": (nn.MAPLoss(j, **common),
                lambda: reference.map_loss(outputs, labels, np.float32(j), **common, **weighted)),
    }[kind]  # fmt: skip
    value, gradient = made(memory.put(outputs), memory.put(target), **weighted)
    expected, counterpart_gradient = counterpart()
    most, parts = max(1.0, float(abs(outputs).max()), j), 1
    if weighted["sample_weight"] is not None or "weight" in of_class or target is not labels:
        most *= 8  # weights are at most 4 together, and the mean may divide by less
    if common["reduction"] == "mean":
        parts = 1 if most >= 8 else batch
    most *= batch if common["reduction"] == "sum" else 1
    assert np.all(abs(value - expected) <= 8 * EPS * most * np.maximum(1, abs(expected))), (
        f"{kind}: {value}, expected {expected}"
    )
    check(f"d{kind}", gradient, counterpart_gradient, 8 * EPS * most / parts)
    again = made.value(memory.put(outputs), target, **weighted)
    assert np.array_equal(again, value), "value differs from a call's"
    return [gradient, np.float64(np.ravel(value))]


def softmax(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Any shape and axis; within roundings of a probability, or of the logits."""
    shape = tuple(rng.integers(1, 9, size=int(rng.integers(1, 5))).tolist())
    axis = int(rng.integers(-len(shape), len(shape)))
    stretched = list(shape)
    stretched[axis] = int(rng.choice([1, 2, 15, 31, 32, 33, 48, 100]))
    shape = tuple(stretched)
    dtype = rng.choice([np.float32, np.float64])
    x, dy = (np.exp(rng.uniform(-3, 3)) * rng.standard_normal((2, *shape))).astype(dtype)
    name, eps = str(rng.choice(["softmax", "log_softmax"])), 2 * UNIT[np.dtype(dtype)]
    most = (8 + shape[axis]) * eps * np.maximum(1, abs(x).max())
    [y] = call(rng, memory, name, [x], {"axis": axis}, [shape])
    check("y", y, getattr(reference, name)(x, axis), most, dtype)
    [dx] = call(rng, memory, f"{name}_backward", [dy, y], {"axis": axis}, [shape])
    counterpart = getattr(reference, f"{name}_backward")(dy, y, axis)
    check("dx", dx, counterpart, most * np.maximum(1, shape[axis] * abs(dy).max()), dtype)
    return [y, dx]


STEPS: dict[str, Any] = {
    "sgd": (reference.sgd_step, ("momentum", "nesterov", "weight_decay")),
    "adam": (reference.adam_step, ("betas", "eps", "weight_decay")),
    "adamw": (reference.adam_step, ("betas", "eps", "weight_decay")),
    "nadam": (reference.nadam_step, ("betas", "eps", "weight_decay")),
    "adagrad": (reference.adagrad_step, ("eps", "weight_decay")),
    "rmsprop": (reference.rmsprop_step, ("eps", "momentum", "weight_decay")),
    "lion": (reference.lion_step, ("betas", "weight_decay")),
    "sdlm": (reference.sdlm_step, ()),
}


def optimizer(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Three steps, each within 16 roundings of the parameter and of its total change.

    A step is some ten operations. The size is that of the reference steps for absolute gradients:
    means of gradients of both signs cancel, their errors do not.
    """
    kind, size, lr = str(rng.choice(list(STEPS))), int(rng.integers(1, 400)), 0.05
    step, names = STEPS[kind]
    drawn = {
        "momentum": float(rng.choice([0.5, 0.9])), "nesterov": bool(rng.integers(2)),
        "weight_decay": float(rng.choice([0, 1e-3])), "betas": (0.9, 0.99), "eps": 1e-6,
    }  # fmt: skip
    options = {name: drawn[name] for name in names}
    params, grads = (memory.empty((size,), np.float32, ("contiguous",)) for _ in range(2))
    params[:], grads[:] = rng.standard_normal(size), 0
    model: Any = SimpleNamespace(vector=params, grad_vector=grads)
    made: Any = optim.OPTIMIZERS[kind].make(model, lr=lr, **options)
    if kind == "adamw":
        options["decoupled"] = True
    if kind == "sdlm":
        made.set_curvature(abs(params))
    p = params.astype(np.float64)
    state = {name: getattr(made, name).astype(np.float64) for name in made.vectors}
    if kind == "sdlm":
        state = {"inverse": abs(p)}
    sizes = dict(state)
    for name in made.vectors:
        vector = memory.empty((size,), np.float32, ("contiguous",))
        vector[:] = getattr(made, name)
        setattr(made, name, vector)
    gone, decay = np.zeros(size), options.get("weight_decay", 0) * abs(p).max()
    for number in range(1, 4):
        grads[:] = rng.standard_normal(size) * 10.0 ** rng.uniform(-4, 0, size)
        grads[abs(grads) < 2 * decay] = 1  # which a weight decay must not cancel
        count = (number,) if "adam" in kind else ()
        squares = {name: state[name] for name in state if name not in ("m", "velocity")}
        magnitude = np.zeros(size), abs(grads) + decay
        largest = step(*magnitude, *(sizes | squares).values(), *count, lr=lr, **options)
        result = step(p, grads, *state.values(), *count, lr=lr, **options)
        if kind == "lion":  # the sign of a sum that is nearly zero may be either
            kept = options["betas"][0]
            terms = kept * state["m"], (1 - kept) * grads
            gone += (abs(sum(terms)) < 8 * EPS * (abs(terms[0]) + abs(terms[1]))) * 2 * lr / EPS
        if kind == "sdlm":
            result, largest = (result, state["inverse"]), (largest, state["inverse"])
        p, *values = result
        moved, *large_values = largest
        gone += abs(moved) + options.get("weight_decay", 0) * lr * abs(p)
        state = dict(zip(state, values, strict=True))
        sizes = dict(zip(sizes, map(abs, large_values), strict=True))
        made.step()
        check(kind, params, p, EPS * ((number + 1) * abs(p) + 16 * gone))
    return [params.copy(), *(getattr(made, name).copy() for name in made.vectors)]


def distortion(rng: np.random.Generator, memory: GuardedMemory) -> Results:
    """Gray levels; a position is rounded relative to how far the map reaches from the center."""
    draw = rng.uniform
    settings: dict[str, Any] = {
        "translation": draw(0, 3), "scaling": draw(0, 0.4), "squeeze": draw(0, 0.4),
        "shear": draw(0, 0.5), "rotation": draw(0, 90), "flip": draw(), "probability": draw(0.5, 1),
        "elastic": draw(0, 20) * rng.integers(2), "elastic_sigma": draw(0.3, 4),
        "flip_vertical": draw(), "crop": draw(0, 0.9), "crop_padding": rng.integers(9),
        "brightness": draw(), "contrast": draw(), "saturation": draw(), "hue": draw(0, 180),
        "grayscale": draw(), "erasing": draw(), "erasing_area": draw(),
        "mixup": draw(0.01, 3) * rng.integers(2),
    }  # fmt: skip
    outside = ("black", "edge", "reflect")[rng.integers(3)]
    made = Distortion(outside=outside, **{name: float(settings[name]) for name in settings})
    shape = (int(rng.integers(1, 4)), *rng.integers(1, 20, size=2).tolist())
    images = rng.integers(0, 256, (int(rng.integers(1, 4)), *shape), np.uint8)
    seed, index = int(rng.integers(1000)), rng.integers(len(images), size=rng.integers(5))
    results = made(memory.put(images), seed, 3, memory.put(index))
    keys = reference.distortion_keys(seed, 3, len(images))
    if len(index):  # the counterpart is slow
        pair = [int(at) for at in (index[0], index[1 % len(index)])]
        share = reference.distortion_draws(keys[pair[0]], made.to_dict())["share"]
        counterpart = reference.mix(
            *(reference.distort(images[at], keys[at], made.to_dict()) for at in pair), share
        )
        reach = max(_reach(made, keys[at], shape) for at in pair)
        check("image", results[0], counterpart, 2e-3 + 4e-6 * 255 * reach)
    return [results]


def _reach(made: Distortion, key: int, shape: tuple[int, ...]) -> float:
    """Return the largest displacement of a sample's map in pixels; 0 for the identity."""
    draws = reference.distortion_draws(key, made.to_dict())
    if not draws["distorted"]:
        return 0.0
    steepest = float(abs(reference.distortion_map(draws)).max())
    padded = max(shape[1:]) + made.translation + made.crop_padding
    return steepest * padded + 2 * made.elastic


CASES: dict[str, Case] = {
    "activation": activation,
    "loss": loss,
    "softmax": softmax,
    "optimizer": optimizer,
    "distortion": distortion,
}
