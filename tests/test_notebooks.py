"""The notebooks in examples run and have the stored output."""

import warnings
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import jupyter_client  # noqa: F401

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.ipynb"))


def printed(notebook):
    return [
        "".join(output["text"] for output in cell.outputs if output["output_type"] == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path, monkeypatch):
    if "plots" in path.read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small calls, beside other tests
    stored = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client, not of ours
        client = nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3")
        client.execute(cwd=tmp_path)
    assert printed(notebook) == printed(stored)
    assert any(printed(stored))


def test_stored_notebooks_have_printed_text_alone():
    assert len(NOTEBOOKS) >= 2
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert {output["output_type"] for output in outputs} == {"stream"}, path
        assert [cell.get("execution_count") for cell in cells] == [None] * len(cells), path
