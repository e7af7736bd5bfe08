"""Models of the protocols, `team.pml` and `stages.pml`, checked by spin, and faults to detect."""

import re
import shutil
import subprocess
import time
from pathlib import Path

FOLDER = Path(__file__).parent
MEMORY = 3800  # megabytes at most

# of each model, its sizes: what they are in words, and the values that are searched through
SIZES = {
    "team.pml": {
        "THREADS": "threads",
        "SHARDS": "shards",
        "SLICES": "slices",
        "BATCHES": "batches",
        "BATCHES_PER_STEP": "batches in a step",
        "STOP": "threads stop for ever",
    },
    "stages.pml": {
        "THREADS": "threads",
        "SHARDS": "shards",
        "LAST_SHARDS": "shards in the last step",
        "SLICES": "slices",
        "CUTS": "cuts",
        "STEPS": "steps",
    },
}
SEARCHED = {
    "team.pml": [
        (2, 2, 2, 3, 1, True),
        (2, 2, 1, 4, 2, True),
        (2, 3, 2, 2, 1, False),
        (3, 1, 1, 2, 1, True),
        (3, 2, 1, 2, 1, False),
        (4, 1, 1, 2, 1, False),
    ],
    "stages.pml": [
        (2, 2, 2, 2, 1, 3),
        (2, 3, 1, 2, 2, 2),
        (3, 2, 1, 3, 1, 2),
        (3, 3, 2, 2, 1, 2),
        (4, 2, 1, 2, 1, 1),
    ],
}
# where endless loops are looked for
LOOPS = {"team.pml": (2, 2, 1, 2, 1, False), "stages.pml": (2, 3, 2, 2, 1, 2)}

# of each model: text, and what takes its place
FAULTS = {
    "team.pml": {
        "the next shard is set before the slots are open": (
            "             slices_done = 0; shard = 0\n",
            "             number = n + 1; buffer = target; drawn = 0;\n"
            "             shard = 0\n           };\n           d_step {\n"
            "             slices_done = 0\n",
        ),
        "parameters are updated in place, whoever reads them": (
            "busy = busy | (1 << reading[shard])",
            "skip",
        ),
        "who has announced a buffer does not look whether the shard is still open": (
            "wanted = IS_OPEN(shard);\n    if\n    :: wanted -> assert",
            "wanted = true;\n    if\n    :: wanted -> assert",
        ),
        "readers are looked for before a thread announces": (
            "  reading[me] = b;\n  MAY_STOP;\n",
            "",
        ),
        "a slot is closed whatever its number": (
            "       :: IS_OPEN(shard) ->\n          closed",
            "       :: !closed[shard] ->\n          closed",
        ),
        "there is one buffer fewer than threads": (
            "#define BUFFERS THREADS",
            "#define BUFFERS (THREADS - 1)",
        ),
        "nobody computes the shard of a sleeper": (
            "  :: IS_OPEN(0) -> shard = 0 /* out of patience */\n"
            "  :: IS_OPEN(SHARDS / 2) -> shard = SHARDS / 2\n"
            "  :: IS_OPEN(SHARDS - 1) -> shard = SHARDS - 1\n",
            "",
        ),
    },
    "stages.pml": {
        "a unit is claimed whatever its number": (
            "mine = seen <= n && claim[i] == seen;",
            "mine = claim[i] == seen;",
        ),
        "who claims a unit does not look whether another one has": (
            "mine = seen <= n && claim[i] == seen;",
            "mine = seen <= n;",
        ),
        "the next stage begins before its counter is set back": (
            "           units_done = 0;\n           stage = n + 1;\n",
            "           stage = n + 1;\n           units_done = 0;\n",
        ),
        "the end is set after the next stage has begun": (
            "           if\n"
            "           :: PART(n) == CUTS && wrong -> end = (STEP(n) + 1) * OF_STEP\n"
            "           :: else\n           fi;\n"
            "           units_done = 0;\n           stage = n + 1;\n",
            "           units_done = 0;\n           stage = n + 1;\n"
            "           if\n"
            "           :: PART(n) == CUTS && wrong -> end = (STEP(n) + 1) * OF_STEP\n"
            "           :: else\n           fi;\n",
        ),
        "nobody waits for the units that others do": (
            "mine = units_done == UNITS_OF(n) };",
            "mine = units_done == UNITS_OF(n) - (UNITS_OF(n) > 1 -> 1 : 0) };",
        ),
    },
}


def check(folder, short=False):
    """Check the models for 2, 3 and 4 threads; print states, errors and time.

    `short` takes the first size of each model alone, and no endless loops; without spin it is fine.
    """
    if not available():
        return short
    fine = True
    for name, sizes in SEARCHED.items():
        for size in sizes[:1] if short else sizes:
            fine &= report(describe(name, size), *search(folder, name, read(name), size))
        if short:
            continue
        size = LOOPS[name]
        text = f"{describe(name, size)}, endless loops"
        fine &= report(text, *search(folder, name, read(name), size, loops=True))
    return fine


def check_faults(folder):
    """Check that each fault is an error of its model."""
    if not available():
        return False
    fine = True
    for name, faults in FAULTS.items():
        for fault, (text, instead) in faults.items():
            source = read(name)
            if source.count(text) != 1:
                raise ValueError(f"{name} must have {text!r} once, got {source.count(text)}")
            source = source.replace(text, instead)
            _, errors, _ = search(folder, name, source, SEARCHED[name][0])
            print(f"{'found' if errors else 'NOT FOUND'}: {fault}", flush=True)
            fine = fine and bool(errors)
    return fine


def available():
    if shutil.which("spin") and shutil.which("gcc"):
        return True
    print("spin and gcc are not both installed: the models are not checked")
    return False


def read(name):
    return (FOLDER / name).read_text()


def describe(name, size):
    words = SIZES[name].values()
    parts = [
        word if value is True else f"{value} {word}"
        for word, value in zip(words, size, strict=True)
        if value is not False
    ]
    return f"{name}: {', '.join(parts)}"


def report(what, states, errors, seconds):
    print(f"{what}: {states:,} states, {errors} errors, {seconds:.0f} s", flush=True)
    return errors == 0 and states > 0


def search(folder, name, source, size, loops=False):
    """Return the number of states, of errors, and the seconds of a complete search."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / name).write_text(source)
    settings = [
        f"-D{key}={value:d}"
        for key, value in zip(SIZES[name], size, strict=True)
        if value is not False
    ]
    run(folder, "spin", "-a", *settings, name)
    kind = "-DNP" if loops else "-DSAFETY"
    run(folder, "gcc", "-w", "-O2", kind, "-DCOLLAPSE", f"-DMEMLIM={MEMORY}", "-o", "pan", "pan.c")
    began = time.monotonic()
    text = run(folder, "./pan", "-m1000000", "-w26", *(["-l"] if loops else []))
    seconds = time.monotonic() - began
    if "Search not completed" in text and "errors: 0" in text:
        raise RuntimeError(f"the search was not complete:\n{text[:1000]}")
    states = re.search(r"(\d+) states, stored", text)
    errors = re.search(r"errors: (\d+)", text)
    return int(states[1]), int(errors[1]), seconds


def run(folder, *command):
    """Return the output of a command, which also reports failures."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0 and command[0] != "./pan":
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout
