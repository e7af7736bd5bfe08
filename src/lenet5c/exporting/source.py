"""What MODEL means to a command: a file, the folder of a run, or the model of the package."""

from pathlib import Path

from lenet5c.training import RunError, load_model, pretrained
from lenet5c.training.pretrained import FOLDER
from lenet5c.training.run_folder import RunFolder

BEST = "best"


def open_model(text):
    """(TrainedModel, path, accuracy as '9958/10000' or None) of a model file, a run's folder, or 'best'."""
    if text == BEST:
        return pretrained(), FOLDER / "model.safetensors", _accuracy(FOLDER)
    path = Path(text)
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.model_file.exists():
            raise RunError(f"{path} holds no {folder.model_file.name}; name a model file, the folder of a run that has "
                           f"come to its end, or {BEST} for the model of the package")  # fmt: skip
        path = folder.model_file
    if not path.exists():
        raise RunError(
            f"there is no {path}; name a model file, the folder of a run, or {BEST} for the model of the package"
        )
    accuracy = _accuracy(path.parent) if path.name == RunFolder(path.parent).model_file.name else None
    return load_model(path), path, accuracy


def _accuracy(folder):
    """What the summary beside a run's model says."""
    try:
        summary = RunFolder(folder).read_summary()
    except RunError:
        return None
    return summary and f"{summary['test_correct']}/{summary['test_count']}"
