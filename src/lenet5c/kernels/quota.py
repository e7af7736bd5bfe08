"""CPU quota of the control groups of the process, such as that of a container (Linux only)."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def cpu_quota(root: str | Path = "/") -> float | None:
    """Return the CPU quota of the process in processors, such as 1.5, or None; read once.

    The limit of a group also applies to the groups in it, so the smallest limit among the parents
    counts. Limits that cannot be read or parsed are ignored.
    """
    return min((limit for folder in _groups(Path(root)) for limit in _limits(folder)), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the possible folders of the groups of the process, and their parents.

    A container may see its group as the root of the file system although /proc contains the path
    outside; folders that do not exist are skipped, and the search ends at that root.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, names_and_path = line.partition(":")
        names, _, path = names_and_path.partition(":")
        if names and "cpu" not in names.split(","):
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for mount in (names, "cpu") if names else ("", "unified"):
            for depth in range(len(parts), -1, -1):
                yield root.joinpath("sys/fs/cgroup", mount, *parts[:depth])


def _limits(folder: Path) -> Iterator[float]:
    """Yield the limits of a group (cgroup v2 or v1); 'max 100000' and -1 are no limits."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        words = " ".join(_read(folder / name) for name in files).split()
        try:
            quota, period = map(int, words)
            if quota > 0 and period > 0:
                yield quota / period
        except (ValueError, OverflowError):
            continue


def _read(path: Path) -> str:
    """Return the text of a file, or an empty text if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except (OSError, ValueError):  # no such file, or an invalid file name
        return ""
