"""``python -m lenet5c.demo``."""

import sys

from lenet5c.demo import main

if __name__ == "__main__":
    sys.exit(main())
