"""The folder of fetched data sets, and the lock that lets one process at a time write there."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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
    with open(path, "ab", opener=open_own) as file:
        while not _try_lock(file):
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(pause)
        yield


def open_own(path: str, flags: int) -> int:
    """Open a file of ours for `open`: no link is followed, and no pipe is waited for."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _try_lock(file: BinaryIO) -> bool:
    """Return whether the lock is held, or the file system knows none."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return True
        except OSError:
            return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
