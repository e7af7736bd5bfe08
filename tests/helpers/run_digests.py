"""Digests of the files of runs."""

import hashlib
from pathlib import Path


def digests(folder):
    """Return the digests of all files in a folder by name, but for summaries, which have times."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "summary.json"
    }
