"""Tables of models."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from lenet5c._text import html_table, table, to_html
from lenet5c.nn.layer import Shape

if TYPE_CHECKING:
    from lenet5c.nn.sequential import Sequential

COUNTS = ("neurons", "parameters", "connections", "multiply-adds")


class Summary(str):
    """A table of layers, displayed as text in a console and as HTML in a notebook.

    Created by `summary`.
    """

    cells: list[tuple[str, ...]]

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_table(self.cells[0], self.cells[1:])


def summary(model: Sequential, input_shape: Shape) -> Summary:
    """Return a table of the layers with a row of totals."""
    each = layer_rows(model, input_shape)
    rows: list[tuple[str, ...]] = [("layer", "kind", "output", *COUNTS)]
    for row in each:
        counts = (f"{row[name]:,}" if row[name] else "-" for name in COUNTS)
        rows.append((row["layer"], row["kind"], " x ".join(map(str, row["output"])), *counts))
    # The input has no neurons and no parameters, and is left out of the totals.
    rows[1] = (*rows[1][:4], "", "", "")
    rows.append(("total", "", "", *(f"{sum(row[name] for row in each[1:]):,}" for name in COUNTS)))
    heading, *lines, total = table(rows, "lllrrrr").splitlines()
    rule = "-" * max(map(len, (heading, *lines, total)))
    made = Summary("\n".join([heading, rule, *lines, rule, total]))
    made.cells = rows
    return made


def to_notebook(model: Sequential) -> str:
    """Return a model as HTML: its summary if the input shape is known, else its layers.

    The input shape is known if the model defines it, as a LeNet does, or has processed an input.
    """
    name, shape = type(model).__name__, model.input_shape or model.accepted
    if shape is None:
        rows = [
            (name, repr(layer), f"{layer.num_params:,}") for name, layer in model.layers.items()
        ]
        shown = html_table(("layer", "kind", "parameters"), rows)
    else:
        shown = summary(model, shape)._repr_html_()
    return f"<div><b>{to_html(name)}</b>, {model.num_params:,} parameters{shown}</div>"


def layer_rows(model: Sequential, input_shape: Shape) -> list[dict[str, Any]]:
    """Return a row for the input and for each layer, including those of inner Sequentials.

    Each member of an ensemble has a row; the ensemble itself has a row for the remainder. A row has
    the keys layer, kind, output (the shape), neurons, parameters, connections and multiply-adds.
    """
    shape = tuple(input_shape)
    rows = [_row("input", "", shape, prod(shape), 0, 0, 0)]
    for name, layer in model.flat_items():
        connections, work = layer.connections(shape), layer.multiply_adds(shape)
        parameters = layer.num_params
        for own, member in getattr(layer, "members", {}).items():  # of an ensemble
            counts = member.num_params, member.connections(shape), member.multiply_adds(shape)
            output = member.output_shape(shape)
            rows.append(_row(f"{name}.{own}", inner_kind(member), output, 0, *counts))
            parameters -= counts[0]
            connections -= counts[1]
            work -= counts[2]
        shape = layer.output_shape(shape)
        # Units with connections are neurons; an activation or a Flatten only passes their values
        # on.
        neurons = prod(shape) if connections else 0
        kind = type(layer).__name__
        rows.append(_row(name, kind, shape, neurons, parameters, connections, work))
    return rows


def inner_kind(model: Sequential) -> str:
    """Return the class name of a model, or of the model that ends a plain chain."""
    last = list(model.layers.values())[-1]
    is_chain = isinstance(getattr(last, "layers", None), dict)
    return type(last if is_chain and model.input_shape is None else model).__name__


def _row(layer: str, kind: str, output: Shape, *counts: int) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer, "kind": kind, "output": list(output)}
    return row | dict(zip(COUNTS, counts, strict=True))
