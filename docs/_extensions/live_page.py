"""The page of the model in the package, exported into the built site, where `draw.md` shows it."""

from pathlib import Path

from lenet5c.datasets import mnist
from lenet5c.export import to_html
from lenet5c.export.html_model import choose_examples
from lenet5c.training import open_model

PLACE = "live/lenet5.html"


def write_page(app, error):
    """Write the page beside the built ones."""
    if error or app.builder.name != "html":
        return
    path = Path(app.outdir, PLACE)
    path.parent.mkdir(exist_ok=True)
    page = to_html(
        open_model(), "the model that comes with lenet5c", examples=choose_examples(mnist()[0])
    )
    path.write_text(page, encoding="utf-8")


def setup(app):
    app.connect("build-finished", write_page)
    return {"parallel_read_safe": True}
