"""A model as a table."""

from math import prod

COUNTS = ("neurons", "parameters", "connections")


def summary(model, input_shape):
    """Text: a row for each layer, with a last row of sums."""
    each = layer_rows(model, input_shape)
    rows = [("layer", "kind", "output", *COUNTS)]
    for row in each:
        rows.append(
            (
                row["layer"],
                row["kind"],
                _shape(row["output"]),
                *(_count(row[name]) for name in COUNTS),
            )
        )
    # The input is no neuron and has nothing to learn: its numbers stay out of the sums.
    rows[1] = (*rows[1][:3], f"{each[0]['neurons']:,}", "", "")
    rows.append(("total", "", "", *(f"{sum(row[name] for row in each[1:]):,}" for name in COUNTS)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[i].ljust(widths[i]) for i in range(3)] + [
            row[i].rjust(widths[i]) for i in range(3, 6)
        ]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def layer_rows(model, input_shape):
    """A dict for the input and for each layer: layer, kind, output (its shape), neurons, parameters, connections."""
    shape = tuple(input_shape)
    rows = [
        dict(
            layer="input",
            kind="",
            output=list(shape),
            neurons=prod(shape),
            parameters=0,
            connections=0,
        )
    ]
    for name, layer in model.layers.items():
        connections = layer.connections(shape)
        shape = layer.output_shape(shape)
        # Units that read something are neurons; an activation or a flattening only passes their values on.
        neurons = prod(shape) if connections else 0
        rows.append(
            dict(
                layer=name,
                kind=type(layer).__name__,
                output=list(shape),
                neurons=neurons,
                parameters=layer.num_params,
                connections=connections,
            )
        )
    return rows


def _count(number):
    return f"{number:,}" if number else "-"


def _shape(shape):
    return " x ".join(map(str, shape))
