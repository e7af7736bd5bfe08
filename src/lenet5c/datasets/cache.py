"""The folder of fetched data sets, and the lock that lets one process at a time write there."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet5c import _files

FOLDER, OFFLINE = "LENET5C_DATA", "LENET5C_OFFLINE"


def cache_folder() -> Path:
    """Return ``$LENET5C_DATA``, or the platform's folder for files that can be fetched again.

    The folder is that of platformdirs, ``user_cache_dir("lenet5c", False, opinion=False)``.
    """
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification has relative paths ignored.
        base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "lenet5c"


def is_offline() -> bool:
    """Return whether ``$LENET5C_OFFLINE`` forbids downloads; empty and 0 do not."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


@contextmanager
def lock(
    path: Path, waiting: Callable[[], object] | None = None, pause: float = 0.2
) -> Iterator[None]:
    """Hold a lock file, which stays, empty; a killed process releases it.

    `waiting` is called once if another process holds it; `pause` are the seconds between attempts.
    """
    with _files.open_to_change(path) as file:
        # None is a file system that knows no locks.
        while _files.try_lock(file.fileno()) is False:
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(pause)
        yield
