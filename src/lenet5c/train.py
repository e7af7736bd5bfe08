"""``python -m lenet5c.train``, equivalent to ``lenet5c train``."""

from lenet5c.__main__ import start

if __name__ == "__main__":
    start("train")
