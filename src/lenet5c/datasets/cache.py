"""Cache folder of downloaded data sets, and its lock."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lenet5c import _files

FOLDER, OFFLINE = "LENET5C_DATA", "LENET5C_OFFLINE"


def cache_folder() -> Path:
    """Return ``$LENET5C_DATA``, or the cache folder of the platform.

    The default is that of platformdirs, ``user_cache_dir("lenet5c", False, opinion=False)``.
    """
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification says to ignore relative paths.
        base = base if base.is_absolute() else Path.home() / ".cache"
    return base / "lenet5c"


def is_offline() -> bool:
    """Return True if ``$LENET5C_OFFLINE`` is set to anything but an empty string or 0."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


@contextmanager
def lock(
    path: Path, waiting: Callable[[], object] | None = None, pause: float = 0.2
) -> Iterator[None]:
    """Hold a lock file; it is left empty on exit, and released if the process is killed.

    `waiting` is called once if another process holds the lock; `pause` is the number of seconds
    between attempts.
    """
    with _files.open_to_change(path) as file:
        # None if the file system does not support locks.
        while _files.try_lock(file.fileno()) is False:
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(pause)
        yield
