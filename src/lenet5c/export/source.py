"""A model as a command names it, with its file, and what its run says of it."""

from pathlib import Path

from lenet5c import training
from lenet5c.training import RunError
from lenet5c.training.model_file import MODEL_NAME
from lenet5c.training.pretrained import FOLDER
from lenet5c.training.run_folder import RunFolder

BEST = "best"


def open_model(text):
    """(TrainedModel, path of its file, accuracy as '9958/10000' or None) of what `lenet5c.training.open_model` takes."""
    trained = training.open_model(text)
    path = FOLDER if text == BEST else Path(text)
    path = path / MODEL_NAME if path.is_dir() else path
    return trained, path, _accuracy(path.parent) if path.name == MODEL_NAME else None


def _accuracy(folder):
    """What the summary beside a run's model says."""
    try:
        summary = RunFolder(folder).read_summary()
    except RunError:
        return None
    return summary and f"{summary['test_correct']}/{summary['test_count']}"
