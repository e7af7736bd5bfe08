"""Where fetched data sets are kept, and the lock that lets one process at a time write there."""

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

FOLDER, OFFLINE = "LENET5C_DATA", "LENET5C_OFFLINE"


def cache_folder():
    """Path : Where data sets are kept: ``$LENET5C_DATA``, or the platform's place for what can be fetched again."""
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification has relative paths ignored.
        base = base if os.path.isabs(base) else Path.home() / ".cache"
    return Path(base) / "lenet5c"


def is_offline():
    """bool : Whether ``$LENET5C_OFFLINE`` forbids downloads; empty and 0 do not."""
    return os.environ.get(OFFLINE, "0") not in ("", "0")


@contextmanager
def locked(path, waiting=None, pause=0.2):
    """Hold a lock file; another process that asks for it waits. It is given up even if this process is killed.

    Parameters
    ----------
    path : Path
        Stays behind, empty.
    waiting : callable, optional
        Called once if another process holds it.
    """
    with open(path, "ab") as file:
        while not _try_lock(file):
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(pause)
        yield


def _try_lock(file):
    """Whether this process may go on: it has the lock, or the file system knows none."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
