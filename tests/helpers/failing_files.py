"""File objects that fail."""

import errno
import io
import os


class FailingClose(io.BufferedReader):
    """A file with a read error on close."""

    def __init__(self, path, most=None):
        super().__init__(io.FileIO(path))

    def close(self):
        if not self.closed:
            super().close()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
