"""Fixtures for the tests of commands."""

import pytest
from train_command import train


@pytest.fixture
def quick(tmp_path, idx_files):
    """Run the command on the small data set; extra arguments are added."""

    def run(*arguments, out="run"):
        return train(
            "--data",
            idx_files,
            "--out",
            tmp_path / out,
            "--validation",
            0.1,
            *arguments,
            cwd=tmp_path,
        )

    return run
