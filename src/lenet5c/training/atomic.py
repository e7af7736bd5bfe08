"""Files that are either the old or the new version, never half of one."""

import json
import os
from pathlib import Path


def write_bytes(path, content):
    """Replace the file at `path`. A crash leaves the old one; the temporary file is reused by the next write.

    Raises
    ------
    OSError
        Of `path`, not of the temporary file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def write_json(path, value):
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path, values):
    write_bytes(path, "".join(json.dumps(value) + "\n" for value in values).encode())
