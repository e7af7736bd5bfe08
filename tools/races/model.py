"""The model of the protocol, `team.pml`, checked by spin, and faults that it must find."""

import re
import shutil
import subprocess
import time
from pathlib import Path

MODEL = Path(__file__).with_name("team.pml")
MEMORY = 3800  # megabytes at most

# threads, shards, slices, batches, batches per step, and whether threads may stop for ever
SIZES = [
    (2, 2, 2, 3, 1, True),
    (2, 2, 1, 4, 2, True),
    (2, 3, 2, 2, 1, False),
    (3, 1, 1, 2, 1, True),
    (3, 2, 1, 2, 1, False),
    (4, 1, 1, 2, 1, False),
]
LOOPS = (2, 2, 1, 2, 1, False)  # where endless loops are looked for

# text of the model, and what takes its place
FAULTS = {
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
    "readers are looked for before a thread announces": ("  reading[me] = b;\n  MAY_STOP;\n", ""),
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
}


def check(folder):
    """Check the model for 2, 3 and 4 threads; print states, errors and time."""
    if not available():
        return False
    fine = True
    for size in SIZES:
        fine &= report(describe(size), *search(folder, MODEL.read_text(), size))
    text = f"{describe(LOOPS)}, endless loops"
    return report(text, *search(folder, MODEL.read_text(), LOOPS, loops=True)) and fine


def check_faults(folder):
    """Check that each fault is an error of the model."""
    if not available():
        return False
    fine = True
    for fault, (text, instead) in FAULTS.items():
        source = MODEL.read_text()
        if source.count(text) != 1:
            raise ValueError(f"team.pml must have {text!r} once, got {source.count(text)}")
        _, errors, _ = search(folder, source.replace(text, instead), SIZES[0])
        print(f"{'found' if errors else 'NOT FOUND'}: {fault}", flush=True)
        fine = fine and bool(errors)
    return fine


def available():
    if shutil.which("spin") and shutil.which("gcc"):
        return True
    print("needs spin and gcc")
    return False


def describe(size):
    threads, shards, slices, batches, batches_per_step, stop = size
    text = f"{threads} threads, {shards} shards, {slices} slices, {batches} batches"
    text += f", {batches_per_step} in a step" if batches_per_step > 1 else ""
    return text + (", threads stop for ever" if stop else "")


def report(what, states, errors, seconds):
    print(f"{what}: {states:,} states, {errors} errors, {seconds:.0f} s", flush=True)
    return errors == 0 and states > 0


def search(folder, source, size, loops=False):
    """Return the number of states, of errors, and the seconds of a complete search."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "team.pml").write_text(source)
    names = ["THREADS", "SHARDS", "SLICES", "BATCHES", "BATCHES_PER_STEP"]
    settings = [f"-D{name}={value}" for name, value in zip(names, size, strict=False)]
    settings += ["-DSTOP"] if size[-1] else []
    run(folder, "spin", "-a", *settings, "team.pml")
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
    """Return what a command prints; it may fail only by saying so there."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0 and command[0] != "./pan":
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout
