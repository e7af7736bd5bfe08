"""Settings of a run from a file."""

import json

import pytest

from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig
from lenet5c.recipes.config_file import read_config_file
from lenet5c.training.run_folder import RunFolder


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_config_of_a_run_repeats_it(tmp_path):
    config = RunConfig.named("fast", seed=4, epochs=3, pooling="max", folder=tmp_path / "run")
    RunFolder(tmp_path / "run").path.mkdir()
    RunFolder(tmp_path / "run").create(config.to_dict() | {"data_digest": "d" * 64})
    read = read_config_file(tmp_path / "run" / "config.json", folder=tmp_path / "other")
    assert read.to_dict() == config.to_dict() | {"data_digest": "d" * 64}
    assert read.folder == tmp_path / "other"
    changed = read_config_file(tmp_path / "run" / "config.json", lr=0.1, activation="tanh", seed=5)
    assert (changed.seed, changed.settings.lr, changed.settings.epochs) == (5, 0.1, 3)
    assert changed.settings.model["activation"] == "tanh" and changed.data_digest == "d" * 64
    # Of other data the digest is another.
    assert read_config_file(tmp_path / "run" / "config.json", data="mnist").data_digest is None


@pytest.mark.parametrize("name", ["a.toml", "a.json"])
def test_settings_by_the_names_of_options(tmp_path, name):
    if name.endswith("toml"):
        text = 'recipe = "fast"\nbatch-size = 32\npooling = "max"\n[distortion]\nrotation = 10.0\n'
    else:
        text = json.dumps(
            {"recipe": "fast", "batch_size": 32, "pooling": "max", "distortion": {"rotation": 10.0}}
        )
    config = read_config_file(write(tmp_path / name, text), epochs=7)
    expected = RunConfig.named(
        "fast", batch_size=32, pooling="max", distortion={"rotation": 10.0}, epochs=7
    )
    assert config == expected


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.toml", "epohcs = 1", "unknown setting epohcs; did you mean epochs"),
        ("a.toml", "epochs = ", "must be JSON, or TOML in a file ending in .toml"),
        ("a.json", "[1]", "must contain settings by name, got list"),
        ("a.json", '{"epochs": 0}', "epochs must be an integer from 1"),
        ("a.json", '{"data": "nowhere"}', "data must be a file or folder"),
        ("a.json", '{"recipe": "fats"}', "fats"),
        ("a.json", "[" * 100_000, "must be JSON"),
        ("a.json", '{"folder": "x"}', "unknown setting folder"),
        ("a.json", '{"lenet5c": "0.1.0"}', "configuration lacks the setting recipe"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, name, content, message):
    with pytest.raises((RunError, ValueError), match=message):
        read_config_file(write(tmp_path / name, content))


def test_an_edited_config_is_refused(tmp_path):
    RunFolder(tmp_path).create(RunConfig.named("fast").to_dict())
    file = tmp_path / "config.json"
    write(file, file.read_text().replace('"epochs": 1', '"epochs": 3'))
    with pytest.raises(RunError, match="damaged or was edited"):
        read_config_file(file)
