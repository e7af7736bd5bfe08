"""Class names of any kind and length, in pictures and in tables of text."""

from functools import cache

from lenet5c._text import shorten

# Families that are looked at first where the usual font lacks a character; then all others there are, by name.
PREFERRED = (
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "PingFang SC",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)
MOST_FONTS = 300


def drawable(names, width):
    """Names as texts for a picture, in fonts that have their characters.

    To be called while a `style` is on; texts that are made after it have the fonts.

    Parameters
    ----------
    names : sequence of str
    width : int
        The most columns of each.

    Returns
    -------
    list of str
        Where no font here has the characters of a name, its number stands for it.
    """
    import matplotlib

    texts = [shorten(name, width) for name in names]
    needed = frozenset("".join(texts)) - {" "}
    families, lacking = _fonts(needed)
    matplotlib.rcParams["font.family"] = families
    # A dollar sign would begin a formula.
    return [
        f"class {number}" if lacking & set(text) else text.replace("$", r"\$")
        for number, text in enumerate(texts)
    ]


@cache
def _fonts(characters):
    """(families that together have these characters, characters that none has)."""
    from matplotlib.font_manager import findfont, fontManager, get_font

    families = ["DejaVu Sans"]
    lacking = characters - {chr(code) for code in get_font(findfont("DejaVu Sans")).get_charmap()}
    if lacking:
        paths = {
            font.name: font.fname
            for font in sorted(fontManager.ttflist, key=lambda font: font.fname)
        }
        others = sorted(
            name
            for name in paths
            if not name.startswith(("Last Resort", ".Last")) and "Emoji" not in name
        )
        for name in [*(n for n in PREFERRED if n in paths), *others][:MOST_FONTS]:
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


def text_width(texts, size):
    """The inches that the widest of these texts takes in a picture, at a font size in points."""
    import matplotlib
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer = RendererAgg(1, 1, 144)
    font = FontProperties(family=matplotlib.rcParams["font.family"], size=size)
    sizes = (
        renderer.get_text_width_height_descent(text.replace(r"\$", "$"), font, False)
        for text in texts
    )
    return max((width for width, _, _ in sizes), default=0) / 144
