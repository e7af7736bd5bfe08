"""Use in a notebook: train, plot, interrupt, continue."""

import warnings

import pytest
from processes import HANGING

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jupyter_client  # noqa: F401

CELLS = [
    """
import os, signal, lenet5c
trainer = lenet5c.trainer("fast", epochs=2, train_size=2000, validation=0.1)
history = trainer.fit()
history
""",
    "history.plot()",
    "lenet5c.report.pictures.filters(trainer.model)",
    "trainer",
    """
again = lenet5c.trainer("fast", epochs=2, train_size=2000, validation=0.1)
again.stretch_seconds = 0.01
stop = lambda trainer, row: os.kill(os.getpid(), signal.SIGINT) if row["epoch"] == 1 else None
again.fit(on_epoch=stop)
""",
    """
history = again.fit()
print(history.done, history == trainer.history, (again.model.vector == trainer.model.vector).all())
_, test = lenet5c.datasets.mnist()
print(lenet5c.training.evaluate(trainer.trained, test).accuracy > 0.9)
""",
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client, not of ours
        nbclient.NotebookClient(notebook, timeout=HANGING, kernel_name="python3").execute(
            cwd=tmp_path_factory.mktemp("nb")
        )
    return notebook.cells


def texts(cell, kind="text/plain"):
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


def streams(cell, name="stdout"):
    return "".join(
        output["text"]
        for output in cell.outputs
        if output["output_type"] == "stream" and output["name"] == name
    )


def test_the_figures_of_a_fit(cells):
    assert streams(cells[0]).count("/2 ") == 2
    (page,) = texts(cells[0], "text/html")
    assert "<table>" in page and "█" in page and "train loss" in page


def test_a_bar_without_noise(cells):
    assert "Warning" not in streams(cells[0], "stderr")
    bars = texts(cells[0], "application/vnd.jupyter.widget-view+json")
    assert bars or "epoch 2/2" in streams(cells[0])


def test_a_plot_is_shown(cells):
    pytest.importorskip("matplotlib")
    for cell in cells[1:3]:
        (png,) = texts(cell, "image/png")
        assert len(png) > 5000


def test_a_trainer_is_shown(cells):
    (page,) = texts(cells[3], "text/html")
    assert "52,710 parameters" in page and "<table>" in page


def test_the_stop_button_and_going_on(cells):
    text = streams(cells[4])
    assert (
        text.count("/2 ") == 1
        and "Interrupted in epoch 2 of 2" in text
        and "fit() to continue" in text
    )
    assert "1 of 2 epochs" in texts(cells[4])[-1]
    assert streams(cells[5]).splitlines()[-2:] == ["True True True", "True"]
