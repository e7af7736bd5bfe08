"""Fuzz one reader of lenet5c with Atheris, or repeat inputs.

    python tools/torture/fuzz TARGET --seconds 60     fuzz it
    python tools/torture/fuzz TARGET FILE ...         read these inputs, without Atheris
    python tools/torture/fuzz TARGET --seeds          read its seeds alone, without Atheris
    python tools/torture/fuzz --list                  the targets

An input fails if the reader raises an undocumented error, warns, or needs more than 4 seconds or
300 MB (peak memory of the process in addition to the imports). It is written to the folder
`--crashes` with its traceback, once per location in the code.
"""

import argparse
import atexit
import hashlib
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType, TracebackType

sys.path.insert(0, str(Path(__file__).parents[2]))
# Threads that wait for each other would cost more than they bring.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

from torture.fuzz.targets import SHARES

SECONDS, MEGABYTES = 4, 300  # a picture of the largest size takes 2.3 on a quiet core
SKIPPED = 4  # exit code where a library is missing
LONG = 20  # seconds of fuzzing that must be left for large inputs to be read
#: Form of a message that was written for it, not by an accident.
MEANT = re.compile(r"must .*(got |missing: )|lacks |has the unknown setting", re.DOTALL)


class Judge:
    """Calls a reader, and records the inputs that fail."""

    def __init__(self, target: ModuleType, name: str, crashes: Path) -> None:
        from lenet5c.errors import UserError

        self.read: Callable[[bytes], None] = target.read
        self.refused = (UserError, FileNotFoundError)
        self.documented = getattr(target, "ERRORS", ())
        self.name, self.crashes = name, crashes
        self.seen: set[tuple[object, ...]] = set()
        self.accepted = 0
        self.base = measure_peak()
        warnings.simplefilter("error")

    def __call__(self, data: bytes) -> None:
        """Read an input."""
        try:
            self.read(data)
            self.accepted += 1
        except self.refused:
            pass
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # panics of Rust are no Exception
            if not isinstance(error, self.documented) or not is_meant(error):
                self.record(data, find_place(error), traceback.format_exc())
        if (taken := measure_peak() - self.base) > MEGABYTES:
            self.record(data, ("memory",), f"took {taken} MB\n")

    def time(self, data: bytes) -> float:
        """Read an input; return its seconds, without waiting for a processor."""
        began, waited = time.perf_counter(), measure_wait()
        self(data)
        return time.perf_counter() - began - (measure_wait() - waited)

    def report(self) -> None:
        """Print the failures."""
        for report in sorted(self.crashes.glob("*.txt")):
            print(report.read_text(), end="")

    def record(self, data: bytes, place: tuple[object, ...], text: str) -> None:
        """Write the input and its failure, if it is the first one at this location."""
        if place not in self.seen:
            self.seen.add(place)
            digest = hashlib.sha256(repr(place).encode()).hexdigest()
            path = self.crashes / f"{self.name}-{digest[:12]}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(text, errors="backslashreplace")


def is_meant(error: BaseException) -> bool:
    """Return whether the reader raises this error on purpose."""
    return not isinstance(error, (ValueError, TypeError)) or bool(MEANT.search(str(error)))


def find_place(error: BaseException) -> tuple[object, ...]:
    """Return the kind of an error and the innermost line of lenet5c, or of the target."""
    place: tuple[object, ...] = ()
    step: TracebackType | None = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if "lenet5c" in file or "targets" in file or not place:
            place = (file, step.tb_lineno)
        step = step.tb_next
    return type(error).__name__, *place


def measure_peak() -> int:
    """Return the peak of the memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def measure_wait() -> float:
    """Return the seconds that this thread has waited for a processor, if known."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def remove_empty(folder: Path) -> None:
    """Delete a folder if it is empty."""
    with suppress(OSError):
        folder.rmdir()


def forget_peak() -> int:
    """Reset the peak to the current memory of the process in MB, if the system supports it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return measure_peak()


def read_again(judge: Judge, files: list[Path], limit: float) -> int:
    """Read inputs, each in `limit` seconds; return the exit code."""
    failed = False
    for file in files:
        data = file.read_bytes()
        judge.base = forget_peak()
        seconds = judge.time(data)
        failed = failed or bool(judge.seen) or seconds > limit
        print(f"{file}: {seconds:.2f} s, {measure_peak() - judge.base} MB")
    judge.report()
    return int(failed)


def read_seeds(judge: Judge, seeds: list[bytes]) -> int:
    """Read the seeds of a target, which are mostly valid; return the exit code."""
    for seed in seeds:
        judge(seed)
    print(f"{judge.accepted} of {len(seeds)} accepted")
    judge.report()
    return int(bool(judge.seen) or judge.accepted == 0)


def read_large(target: ModuleType, judge: Judge, end: float) -> None:
    """Read the large inputs of a target once, if time is left; they would slow down the fuzzing."""
    for number, data in enumerate(getattr(target, "large", lambda: ())()):
        if end - time.monotonic() < LONG:
            break
        judge.base = forget_peak()
        if judge.time(data) > SECONDS:
            (judge.crashes / f"{judge.name}-timeout-large-{number}").write_bytes(data)
    judge.base = forget_peak()


def fuzz(target: ModuleType, judge: Judge, options: argparse.Namespace, end: float) -> None:
    """Run libFuzzer, which ends the process."""
    import atheris

    if end - time.monotonic() > LONG:
        read_large(target, judge, end)
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    flags = [
        f"-seed={options.seed + 1}",  # 0 would mean one by the clock
        f"-max_total_time={max(1, round(end - time.monotonic()))}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={judge.base + MEGABYTES}",
        f"-artifact_prefix={judge.crashes}/{options.target}-",
        "-print_final_stats=1",
        f"-verbosity={int(options.verbose)}",
        f"-max_len={getattr(target, 'MAX_LENGTH', 4096)}",
    ]
    if words := getattr(target, "DICTIONARY", ()):
        path = corpus.with_name(f"{corpus.name}.dict")
        quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
        path.write_text("".join(f'"{word}"\n' for word in quoted))
        flags.append(f"-dict={path}")
    custom = {}
    if hasattr(target, "mutate"):
        random = Random(options.seed)

        def mutate(data: bytes, most: int, seed: int) -> bytes:
            if random.random() < 0.25:
                return atheris.Mutate(data, most)
            changed = target.mutate(data, random, lambda part: atheris.Mutate(part, most))
            return changed[:most]

        custom["custom_mutator"] = mutate
    print(f"stat::base_rss_mb: {judge.base}", file=sys.stderr)
    print(f"stat::base_cpu_ms: {time.process_time() * 1000:.0f}", file=sys.stderr, flush=True)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], judge, **custom)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, or read inputs, by the options."""
    parser = argparse.ArgumentParser(
        prog="python tools/torture/fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", nargs="?", choices=sorted(SHARES), metavar="TARGET")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="list the targets")
    parser.add_argument("--seeds", action="store_true", help="read the seeds alone")
    parser.add_argument("--seconds", type=float, default=60.0, help="time (default 60)")
    parser.add_argument(
        "--answer-within",
        type=float,
        default=SECONDS,
        metavar="S",
        help=f"seconds for each FILE (default {SECONDS}); more on a busy machine",
    )
    parser.add_argument("--until", type=float, metavar="T", help="end by the system's clock")
    parser.add_argument("--seed", type=int, default=0, help="of the changes (default 0)")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="inputs, kept and added to")
    parser.add_argument("--crashes", type=Path, metavar="DIR", help="where failures are written")
    parser.add_argument("--verbose", action="store_true", help="show what libFuzzer finds")
    options = parser.parse_args()
    if options.target is None:
        for name in sorted(SHARES):
            print(f"{name:12}{import_module(f'torture.fuzz.targets.{name}').__doc__}")
        return 0
    end = options.until or time.monotonic() + options.seconds
    where = f"torture.fuzz.targets.{options.target}"
    crashes = options.crashes or Path(tempfile.mkdtemp(prefix="fuzz-crashes-"))
    crashes.mkdir(parents=True, exist_ok=True)
    atexit.register(remove_empty, crashes)
    instrument: AbstractContextManager[object] = nullcontext()
    if not (options.files or options.seeds):
        import atheris

        instrument = atheris.instrument_imports(include=["lenet5c"])
    try:
        with instrument:
            target = import_module(where)
    except ImportError as error:  # of an extra
        print(f"skipped: {error}", file=sys.stderr)
        return SKIPPED
    if options.files:
        judge = Judge(target, options.target, crashes)
        return read_again(judge, options.files, options.answer_within)
    if options.seeds:
        return read_seeds(Judge(target, options.target, crashes), list(target.seeds()))
    fuzz(target, Judge(target, options.target, crashes), options, end)
    return 0


if __name__ == "__main__":
    sys.exit(main())
