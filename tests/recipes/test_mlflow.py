"""The program of the how-to page that logs to MLflow."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "tune.md"


@pytest.mark.filterwarnings("ignore")  # of its own packages
def test_each_epoch_is_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(program, str(PAGE), "exec"), {})
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    accuracies = client.get_metric_history(run.info.run_id, "validation_accuracy")
    assert [each.step for each in accuracies] == [1, 2] and 0.5 < accuracies[-1].value <= 1
    assert run.data.params["num_classes"] == "10"
