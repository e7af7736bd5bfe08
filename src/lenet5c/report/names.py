"""Class names of any script and length in pictures."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from lenet5c._text import shorten

# Families to try first if the default font lacks a character; then all others.
PREFERRED = (
    *("Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC"),
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "WenQuanYi Zen Hei"),
    "Droid Sans Fallback",
)
MAX_FONTS = 300


def drawable(
    names: Sequence[str], width: int, stand_in: Callable[[int], str] = "class {}".format
) -> list[str]:
    """Return names as texts for a picture, and select fonts that have their characters.

    Call it inside `style`; texts created afterwards use these fonts.

    Parameters
    ----------
    names : sequence of str
    width : int
        Maximum number of columns of each name.
    stand_in : callable, optional
        Returns a replacement for the name at a position, if no font has its characters.

    Returns
    -------
    list of str
    """
    import matplotlib

    texts = [shorten(name, width) for name in names]
    families, lacking = _find_fonts(frozenset("".join(texts)) - {" "})
    matplotlib.rcParams["font.family"] = families
    # A dollar sign would start a formula.
    return [
        stand_in(number) if lacking & set(text) else text.replace("$", r"\$")
        for number, text in enumerate(texts)
    ]


@cache
def _find_fonts(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return families that together have these characters, and the characters that none has."""
    from matplotlib.font_manager import findfont, fontManager, get_font

    families, lacking = ["DejaVu Sans"], characters
    lacking -= {chr(code) for code in get_font(findfont("DejaVu Sans")).get_charmap()}
    if not lacking:
        return families, lacking
    fonts = sorted(fontManager.ttflist, key=lambda font: font.fname)
    paths = {
        font.name: font.fname
        for font in fonts
        if not font.name.startswith(("Last Resort", ".Last")) and "Emoji" not in font.name
    }
    preferred = [name for name in PREFERRED if name in paths]
    for name in [*preferred, *sorted(paths)][:MAX_FONTS]:
        try:
            found = lacking & {chr(code) for code in get_font(paths[name]).get_charmap()}
        except (OSError, RuntimeError):  # a font file that cannot be read
            continue
        if found:
            families.append(name)
            lacking -= found
        if not lacking:
            break
    return families, lacking


def text_width(texts: Iterable[str], size: float) -> float:
    """Return the width in inches of the widest text at a font size in points."""
    import matplotlib
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, 144)
    font = FontProperties(family=matplotlib.rcParams["font.family"], size=size)
    widths = (
        renderer.get_text_width_height_descent(text.replace(r"\$", "$"), font, False)[0]
        for text in texts
    )
    return max(widths, default=0) / 144
