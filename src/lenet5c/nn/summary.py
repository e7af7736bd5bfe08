"""A model as a table."""

from math import prod


def summary(model, input_shape):
    """Text: a row for each layer, with a last row of sums."""
    rows = [("layer", "kind", "output", "neurons", "parameters", "connections")]
    totals = [0, 0, 0]
    shape = input_shape
    rows.append(("input", "", _shape(shape), f"{prod(shape):,}", "", ""))
    for name, layer in model.layers.items():
        connections = layer.connections(shape)
        shape = layer.output_shape(shape)
        # Units that read something are neurons; an activation or a flattening only passes their values on.
        numbers = (prod(shape) if connections else 0, layer.num_params, connections)
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        rows.append((name, type(layer).__name__, _shape(shape), *(f"{number:,}" if number else "-" for number in numbers)))
    rows.append(("total", "", "", *(f"{total:,}" for total in totals)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[i].ljust(widths[i]) for i in range(3)] + [row[i].rjust(widths[i]) for i in range(3, 6)]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _shape(shape):
    return " x ".join(map(str, shape))
