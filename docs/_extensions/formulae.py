"""Formulas as inline SVG, drawn by matplotlib's mathtext, without scripts or downloads."""

from html import escape

import matplotlib
from docutils.nodes import SkipNode
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from sphinx.errors import ExtensionError

SIZE = 100  # units of the drawing for one em


def svg(tex, scale):
    """Return one formula as an SVG element, with its baseline on that of the text."""
    tex = " ".join(tex.split()).replace(r"\lt", "<").replace(r"\gt", ">")
    with matplotlib.rc_context({"mathtext.fontset": "cm"}):
        try:
            _, _, depth, _, _ = MathTextParser("path").parse(
                f"${tex}$", 72, FontProperties(size=SIZE)
            )
            shape = TextPath((0, 0), f"${tex}$", size=SIZE, prop=FontProperties())
        except ValueError as error:
            raise ExtensionError(f"the formula {tex!r} cannot be drawn: {error}") from None
    box = shape.get_extents()
    left, right, top, bottom = box.x0, box.x1, max(box.y1, 0), min(box.y0, -depth)
    em = scale / SIZE
    return (
        f'<svg class="formula" role="img" aria-label="{escape(tex)}" '
        f'viewBox="{left:.1f} {-top:.1f} {right - left:.1f} {top - bottom:.1f}" '
        f'style="width:{(right - left) * em:.3f}em;height:{(top - bottom) * em:.3f}em;'
        f'vertical-align:{bottom * em:.3f}em"><path d="{outline(shape)}"/></svg>'
    )


def outline(shape):
    """Return a path's SVG commands; SVG's axis points down."""
    letters = {
        Path.MOVETO: "M",
        Path.LINETO: "L",
        Path.CURVE3: "Q",
        Path.CURVE4: "C",
        Path.CLOSEPOLY: "Z",
    }
    parts = []
    for points, code in shape.iter_segments(curves=True, simplify=False):
        numbers = (
            ""
            if code == Path.CLOSEPOLY
            else " ".join(
                f"{value if i % 2 == 0 else -value:.1f}" for i, value in enumerate(points)
            )
        )
        parts.append(letters[code] + numbers)
    return "".join(parts)


def visit_inline(translator, node):
    translator.body.append(svg(node.astext(), 1.05))
    raise SkipNode


def visit_block(translator, node):
    tex = node.astext().replace(
        r"\frac", r"\dfrac"
    )  # with a line of its own, a fraction can be large
    translator.body.append(f'<div class="formula">{svg(tex, 1.15)}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
