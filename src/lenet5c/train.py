"""``python -m lenet5c.train`` is ``lenet5c train``."""

import sys

from lenet5c.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
