"""Find races in the team of threads and in all other multithreaded code.

    python tools/races           all of the following; takes some minutes
    python tools/races model     check models of the protocols, team.pml and stages.pml, with spin
    python tools/races sleeps    check results with threads that sleep at selected points
    python tools/races threads   the same under ThreadSanitizer, on each instruction set
    python tools/races faults    check that faults inserted into models and code are detected

    python tools/races --short   check the smallest size of each model only; takes seconds

Reports missing requirements (clang with its runtime, libomp with archer, spin). The exit code is 1
if anything was found or is missing. With --short, nothing is required.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from races import builds, model

MISSING = "needs clang, its ThreadSanitizer runtime and libomp with archer"


def run_sleeps(folder, seeds):
    """Build with the default compiler, and run with sleeping threads."""
    builds.copy_sources(folder)
    builds.build(folder)
    code, text, _, errors = builds.drive(folder, "--seeds", seeds)
    print(text if code in (0, 1) else errors)
    return code == 0


def run_threads(folder, seeds):
    """Build under ThreadSanitizer, and run on each instruction set of this processor."""
    clang = builds.find_clang()
    if clang is None:
        print(MISSING)
        return False
    builds.copy_sources(folder)
    builds.build_with_sanitizer(folder, clang)
    fine = True
    _, isas, _, errors = builds.drive(folder, "--isas", clang=clang)
    if not isas:
        print(errors)
        return False
    for isa in isas.split():
        code, text, reports, errors = builds.drive(folder, "--seeds", seeds, clang=clang, isa=isa)
        print(text if code in (0, 1, 66) else errors)
        print(f"{isa}: {len(reports)} reports of ThreadSanitizer", *reports[:3], sep="\n")
        fine = fine and code == 0 and not reports
    return fine


def run_faults(folder, seeds):
    """Check that faults in the code are found under ThreadSanitizer."""
    clang = builds.find_clang()
    if clang is None:
        print(MISSING)
        return False
    fine = True
    builds.copy_sources(folder)
    builds.build_with_sanitizer(folder, clang)
    for fault in builds.FAULTS:
        builds.copy_sources(folder)
        builds.break_protocol(folder, fault)
        builds.build_with_sanitizer(folder, clang, "_program")
        arguments = ["sleeps", "--threads", 3, "--seeds", seeds // 5]
        code, _, reports, errors = builds.drive(
            folder, *arguments, clang=clang, isa="baseline", halt=True
        )
        if code not in (1, 66):
            print(errors[-2000:])
        found = code in (1, 66)
        print(f"{'found' if found else 'NOT FOUND'} ({len(reports)} reports): {fault}", flush=True)
        fine = fine and found
    return fine


def main():
    """Run the named parts; return the exit code."""
    parts = ["model", "sleeps", "threads", "faults"]
    parser = argparse.ArgumentParser(
        prog="python tools/races",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--seeds", type=int, default=100, help="of random sleeps (default 100)")
    parser.add_argument("--folder", type=Path, help="build there, and leave it")
    parser.add_argument("--short", action="store_true", help="the smallest models alone")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"PART must be of {', '.join(parts)}, got {', '.join(sorted(unknown))}")
    fine = True
    with tempfile.TemporaryDirectory(prefix="races-") as temporary:
        folder = options.folder or Path(temporary)
        for name in options.parts or (["model"] if options.short else parts):
            began = time.monotonic()
            if name == "model":
                good = model.check(folder / name, options.short)
            elif name == "faults":
                good = model.check_faults(folder / name) & run_faults(folder / name, options.seeds)
            else:
                run = {"sleeps": run_sleeps, "threads": run_threads}[name]
                good = run(folder / name, options.seeds)
            seconds = time.monotonic() - began
            print(f"{name}: {'fine' if good else 'FAILED'} in {seconds:.0f} s", flush=True)
            fine = fine and good
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
