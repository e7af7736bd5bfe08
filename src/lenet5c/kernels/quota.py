"""Quota of processor time of the process's control groups, as a container's (Linux only)."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def cpu_quota(root: str | Path = "/") -> float | None:
    """Return the processors whose time the process may take, as 1.5, or None; read once.

    A group's limit holds for the groups in it, so the least on the way up counts. What cannot be
    read, or says nothing sensible, is no limit.
    """
    return min((limit for folder in _groups(Path(root)) for limit in _limits(folder)), default=None)


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders where the process's groups may be, and those around them.

    A container may see its group as the root of the file system although /proc names the path
    outside: folders that are not there are passed over, and the way up ends at that root.
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
    """Yield a group's limits, in cgroup v2's file or v1's two: 'max 100000' and -1 are none."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        words = " ".join(_read(folder / name) for name in files).split()
        try:
            quota, period = map(int, words)
            if quota > 0 and period > 0:
                yield quota / period
        except (ValueError, OverflowError):
            continue


def _read(path: Path) -> str:
    """Return the text of a file, empty if it cannot be read."""
    try:
        return path.read_text("utf-8", "replace")
    except (OSError, ValueError):  # no such file; a name that no file can have
        return ""
