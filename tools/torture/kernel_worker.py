"""A process that runs cases of kernels and nets, which may crash it.

Reads the numbers of cases, one per line, and prints a line of JSON before and after each.
"""

import hashlib
import json
import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from torture import kernel_cases, net_cases, other_cases
from torture.guarded import GuardedMemory

CASES = kernel_cases.CASES | other_cases.CASES | net_cases.CASES
# Nets take ten times as long as kernels, convolutions twice.
WEIGHTS = [0.3 if name.startswith("net ") else 1.0 for name in CASES]


def run(seed: int, number: int, memory: GuardedMemory) -> dict[str, object]:
    """Run a case; return its name, a digest of its results, and errors."""
    rng = np.random.default_rng([seed, number])
    shares = np.array(WEIGHTS) / sum(WEIGHTS)
    name = str(rng.choice(list(CASES), p=shares))
    print(json.dumps({"begun": name}), flush=True)
    memory.begin(rng)
    wrong, digest = "", hashlib.blake2b(digest_size=16)
    try:
        for result in CASES[name](rng, memory):
            digest.update(np.ascontiguousarray(result).tobytes())
        memory.check()
    except AssertionError as error:
        wrong = str(error)
    except Exception:
        wrong = traceback.format_exc()[-1500:]
    return {"name": name, "digest": digest.hexdigest(), "wrong": wrong}


def main() -> None:
    """Run cases until there are no more numbers."""
    seed, memory = int(sys.argv[1]), GuardedMemory()
    np.seterr(all="ignore")
    for line in sys.stdin:
        print(json.dumps(run(seed, int(line), memory)), flush=True)


if __name__ == "__main__":
    main()
