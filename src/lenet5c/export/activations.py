"""Activations in all export formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lenet5c.export.network import Step
    from lenet5c.export.onnx import Graph


@dataclass(frozen=True)
class Activation:
    """Export functions of one activation of `lenet5c.nn`."""

    onnx: Callable[[Graph, Step, str], str]  # adds its nodes and returns the name of the result
    c: Callable[[Any], str]  # statement that replaces the float `v` with its activation
    torch: Callable[[Any], str]  # expression of the module


def float_text(value: Any) -> str:
    """Return a C float literal that parses to the same float32."""
    return f"{np.array(value, np.float32).astype(str)}f"


def _node(op: str) -> Callable[[Graph, Step, str], str]:
    return lambda graph, step, x: graph.add(op, x)


def _scaled_tanh(graph: Graph, step: Step, x: str) -> str:
    slope, amplitude = (
        graph.constant(f"{step.name}.{name}", np.float32(getattr(step.layer, name)))
        for name in ("slope", "amplitude")
    )
    return graph.add("Mul", graph.add("Tanh", graph.add("Mul", x, slope)), amplitude)


def _gelu(graph: Graph, step: Step, x: str) -> str:
    def constant(name: str, value: float) -> str:
        return graph.constant(f"{step.name}.{name}", np.float32(value))

    if step.layer.approximate == "tanh":
        cube = graph.add("Mul", graph.add("Mul", x, x), x)
        cube = graph.add("Mul", cube, constant("cubic", 0.044715))
        z = graph.add("Mul", graph.add("Add", x, cube), constant("slope", sqrt(2 / pi)))
        z = graph.add("Tanh", z)
    else:
        z = graph.add("Erf", graph.add("Mul", x, constant("slope", sqrt(0.5))))
    share = graph.add("Add", z, constant("one", 1))
    return graph.add("Mul", graph.add("Mul", x, constant("half", 0.5)), share)


def _gelu_c(layer: Any) -> str:
    if layer.approximate == "tanh":
        cubic = f"v + {float_text(0.044715)} * v * v * v"
        return f"v = 0.5f * v * (1.0f + tanhf({float_text(sqrt(2 / pi))} * ({cubic})));"
    return f"v = 0.5f * v * (1.0f + erff({float_text(sqrt(0.5))} * v));"


ACTIVATIONS = {
    "ReLU": Activation(
        _node("Relu"), lambda layer: "v = v > 0.0f ? v : 0.0f;", lambda layer: "nn.ReLU()"
    ),
    "Sigmoid": Activation(
        _node("Sigmoid"),
        # Without overflow: with -ffast-math the quotient of an infinity would be undefined.
        lambda layer: "v = 1.0f / (1.0f + expf(v < -80.0f ? 80.0f : -v));",
        lambda layer: "nn.Sigmoid()",
    ),
    "Tanh": Activation(_node("Tanh"), lambda layer: "v = tanhf(v);", lambda layer: "nn.Tanh()"),
    "ScaledTanh": Activation(
        _scaled_tanh,
        lambda layer: f"v = {float_text(layer.amplitude)} * tanhf({float_text(layer.slope)} * v);",
        lambda layer: f"ScaledTanh({layer.amplitude!r}, {layer.slope!r})",
    ),
    "LeakyReLU": Activation(
        lambda graph, step, x: graph.add("LeakyRelu", x, alpha=step.layer.negative_slope),
        lambda layer: f"v = v > 0.0f ? v : {float_text(layer.negative_slope)} * v;",
        lambda layer: f"nn.LeakyReLU({layer.negative_slope!r})",
    ),
    "GELU": Activation(_gelu, _gelu_c, lambda layer: f"nn.GELU(approximate={layer.approximate!r})"),
}
