"""``lenet5c doctor``: show the environment of lenet5c and check its results.

Exit codes: 0 no problems, 1 something needs attention, 2 bad use.
"""

import json
import os
import platform
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any

import lenet5c
from lenet5c._optional import require
from lenet5c._text import count, table
from lenet5c.commands.cli import FAILED, say
from lenet5c.errors import MissingExtraError, UserError

DESCRIPTION = "Show the environment of lenet5c, check its results, and report problems."
EXAMPLES = """examples:
  lenet5c doctor
  lenet5c doctor --with torch --json > report.json"""
VARIABLES = ("LENET5C_ISA", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
OPENMP_KINDS = ("libgomp", "libomp", "libiomp", "vcomp")
ONE_SOURCE = "install all packages from one source (all with pip or all with conda)"
# Loss of `check_itself`, and tolerance for differences between instruction sets and NumPy versions.
KNOWN_LOSS, TOLERANCE = 4.393968, 1e-4

Facts = dict[str, Any]
#: True if it needs attention (False for information), the problem, the remedy.
Finding = tuple[bool, str, str]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--with",
        dest="modules",
        action="append",
        default=[],
        metavar="NAME",
        help=(
            "import this module first, as your program does, to check for conflicts; may be "
            "repeated"
        ),
    )
    text = "print everything as JSON, for a bug report"
    parser.add_argument("--json", action="store_true", help=text)


def run(options: Namespace) -> int:
    """Report on this machine; return 1 if something needs attention."""
    for name in options.modules:
        import_first(name)
    facts = examine()
    findings = diagnose(facts)
    well = not any(finding["attention"] for finding in findings)
    everything = facts | {"findings": findings, "well": well}
    say(json.dumps(everything, indent=2) if options.json else report(facts, findings))
    return 0 if well else FAILED


def import_first(name: str) -> None:
    """Import a module that the user's program uses."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--with must be the name of a module, such as torch, got {name!r}")
    try:
        with redirect_stdout(sys.stderr):  # standard output is for the report
            import_module(name)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"--with must be a module that can be imported, got {name!r} ({reason}); install it in "
            "the same environment, or run python -m lenet5c doctor in its folder"
        ) from None


def examine() -> Facts:
    """Return all facts about this process, for JSON."""
    import numpy as np

    from lenet5c import kernels
    from lenet5c.kernels import _openmp, threads
    from lenet5c.kernels.simd import _cpu

    library, limits = _openmp.library(), threads.limits()
    return {
        "lenet5c": lenet5c.__version__,
        "installed": str(Path(lenet5c.__file__).parent),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "instructions": {"used": kernels.isa, "supported": _cpu.supported()},
        "threads": {"default": threads.default(**limits), **limits, "cores": os.cpu_count()},
        "openmp": {
            "version": _openmp.version,
            "library": None if library is None else os.fsdecode(library),
        },
        "self_check": check_itself(),
        "libraries": list_libraries(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def check_itself() -> Facts:
    """Run one training step on synthetic weights and images, with one thread and with two.

    Returns the loss, whether it is correct, and whether both runs are bit-identical.
    """
    import numpy as np

    from lenet5c import nn
    from lenet5c.kernels import threads

    model, loss_function = nn.LeNet5(pooling="max", rng=0), nn.CrossEntropyLoss()
    model.vector[:] = 0.2 * np.sin(np.arange(model.vector.size) ** 2.0)
    images = np.cos(np.arange(64 * 32 * 32)).astype(np.float32).reshape(64, 1, 32, 32)
    results = []
    try:
        for number in (1, 2):
            threads.set_num_threads(number)
            loss, _ = model.train_step(images, np.arange(64) % 10, loss_function)
            results.append((loss, model.grad_vector.tobytes()))
    finally:
        threads.set_num_threads(None)
    finite = np.isfinite(model.grad_vector).all()
    return {
        "loss": repr(loss),  # as text, because JSON has no NaN
        "as_known": bool(abs(loss - KNOWN_LOSS) < TOLERANCE and finite),
        "same_bits": results[0] == results[1],
    }


def list_libraries() -> list[Facts] | None:
    """Return the OpenMP and BLAS libraries in this process; None without threadpoolctl."""
    try:
        threadpoolctl = require("threadpoolctl", "doctor", "library listings")
    except MissingExtraError:
        return None
    return [
        {
            "kind": entry["prefix"] if entry["user_api"] == "openmp" else entry["internal_api"],
            "path": entry["filepath"],
            "threads": entry["num_threads"],
        }
        for entry in threadpoolctl.threadpool_info()
    ]


def diagnose(facts: Facts) -> list[Facts]:
    """Return the findings for the facts, for JSON."""
    examiners = (
        check_result,
        check_instructions,
        check_openmp,
        check_counts,
        check_runtimes,
        check_load,
    )
    return [
        {"attention": attention, "problem": problem, "remedy": remedy}
        for examiner in examiners
        for attention, problem, remedy in examiner(facts)
    ]


def check_result(facts: Facts) -> Iterator[Finding]:
    """Find wrong results of `check_itself`."""
    check = facts["self_check"]
    remedy = (
        "do not trust results; reinstall lenet5c, and if that does not help, report the output "
        "of `lenet5c doctor --json`"
    )
    if not check["as_known"]:
        yield True, f"a training step gave the loss {check['loss']} instead of {KNOWN_LOSS}", remedy
    if not check["same_bits"]:
        yield True, "a training step gave different results on one and two threads", remedy


def check_instructions(facts: Facts) -> Iterator[Finding]:
    """Find a slower instruction set than the best available one."""
    used, best = facts["instructions"]["used"], facts["instructions"]["supported"][0]
    if used != best:
        problem = f"LENET5C_ISA selects {used}, but {best} is faster on this machine"
        yield used == "baseline", problem, "unset LENET5C_ISA"


def check_openmp(facts: Facts) -> Iterator[Finding]:
    """Find a build without OpenMP."""
    if not facts["openmp"]["version"]:
        yield (
            True,
            "this lenet5c was built without OpenMP and runs on one thread",
            "install a wheel, or build with LENET5C_REQUIRE_OPENMP=1, which reports what is "
            "missing",
        )


def check_counts(facts: Facts) -> Iterator[Finding]:
    """Find thread counts that do not match the number of processors."""
    if not facts["openmp"]["version"]:
        return
    counts, text = facts["threads"], facts["environment"].get("OMP_NUM_THREADS")
    processors, quota, wish = counts["processors"], counts["quota"], counts["wish"]
    room = processors if quota is None else min(processors, ceil(quota))
    remedy = f"unset it, or set it to at most {room}"
    if text and wish is None:
        yield True, f"OMP_NUM_THREADS is {text!r}, not a thread count, and is ignored", remedy
    elif wish is not None and wish > room:
        limit = f"this process may run on {count_processors(processors)}"
        if wish <= processors:
            limit = f"the container may use the time of {count_processors(quota)}"
        yield True, f"OMP_NUM_THREADS is {wish}, but {limit}", remedy
    elif wish is None and room < processors:
        yield (
            False,
            f"the container is limited to the time of {count_processors(quota)}; lenet5c respects "
            "this limit, other libraries may not",
            f"set OMP_NUM_THREADS={room} for them",
        )


def check_runtimes(facts: Facts) -> Iterator[Finding]:
    """Find several OpenMP runtimes in one process."""
    runtimes = [library for library in facts["libraries"] or [] if library["kind"] in OPENMP_KINDS]
    kinds = sorted({library["kind"] for library in runtimes})
    if len(kinds) > 1:
        yield (
            True,
            f"different OpenMP runtimes are loaded ({', '.join(kinds)}), which may hang, crash or "
            "slow each other down",
            f"{ONE_SOURCE}, or use separate processes",
        )
    elif len(runtimes) > 1:
        remedy = f"{ONE_SOURCE}, so that they share one"
        if kinds == ["libgomp"]:
            remedy = (
                "none, unless both compute at the same time: then divide the cores between them "
                "with OMP_NUM_THREADS"
            )
        problem = f"{kinds[0]} is loaded {len(runtimes)} times; each copy has its own threads"
        yield kinds != ["libgomp"], problem, remedy


def check_load(facts: Facts) -> Iterator[Finding]:
    """Find a busy machine with an unsuitable wait policy."""
    load, environment = facts["load"], facts["environment"]
    policy = environment.get("OMP_WAIT_POLICY", "").lower()
    set_briefly = policy != "active" and environment.keys() & {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    if policy == "passive" or set_briefly or load is None:
        return
    if load > facts["threads"]["processors"] > 1:
        yield (
            False,
            f"the machine is busy (load {load:.1f}), and waiting OpenMP threads may slow down "
            f"other "
            "threads",
            "start your program with OMP_WAIT_POLICY=passive, or with GOMP_SPINCOUNT=2000 like "
            "lenet5c train",
        )


def report(facts: Facts, findings: list[Facts]) -> str:
    """Return the facts and findings as text."""
    counts, check, openmp = facts["threads"], facts["self_check"], facts["openmp"]
    # The number of processors of a process is known only from OpenMP.
    mine = f"{counts['processors']} for this process, " if openmp["version"] else ""
    quota = counts["quota"]
    used, supported = facts["instructions"]["used"], ", ".join(facts["instructions"]["supported"])
    rows = [
        ("lenet5c", f"{facts['lenet5c']} in {facts['installed']}"),
        ("system", f"Python {facts['python']}, NumPy {facts['numpy']}, {facts['platform']}"),
        ("instructions", f"{used}, of {supported}"),
        ("threads", f"{counts['default']}: {explain_default(facts)}"),
        ("  processors", f"{mine}{counts['cores']} in the machine"),
        ("  quota", "none" if quota is None else f"the time of {count_processors(quota)}"),
        *((f"  {name}", value) for name, value in facts["environment"].items()),
        ("OpenMP", f"yes, {openmp['library'] or openmp['version']}" if openmp["version"] else "no"),
        ("self check", "passed" if check["as_known"] and check["same_bits"] else "FAILED"),
    ]
    if facts["libraries"] is None:
        rows.append(("libraries", "unknown (pip install 'lenet5c[doctor]' to list them)"))
    for number, library in enumerate(facts["libraries"] or []):
        threads = "" if library["threads"] is None else f" ({library['threads']} threads)"
        text = f"{library['kind']}{threads} {library['path']}"
        rows.append(("" if number else "libraries", text))
    lines = [table(rows, "ll")]
    for attention, title in ((True, "Needs attention:"), (False, "Information:")):
        chosen = [finding for finding in findings if finding["attention"] == attention]
        lines += ["", title] if chosen else []
        for finding in chosen:
            lines += [f"  * {finding['problem']}", f"    remedy: {finding['remedy']}"]
    if not any(finding["attention"] for finding in findings):
        lines += ["", "No problems found."]
    return "\n".join(lines)


def explain_default(facts: Facts) -> str:
    """Return the reason for the default thread count."""
    counts = facts["threads"]
    default, wish = counts["default"], counts["wish"]
    if not facts["openmp"]["version"]:
        return "no OpenMP"
    if wish is not None and default == wish:
        return "as OMP_NUM_THREADS asks"
    if wish is None and default == counts["processors"]:
        return "one thread per processor"
    if wish is not None or default == counts["openmp"]:
        return "limit set by this program"
    return "quota of the container"


def count_processors(number: float) -> str:
    """Return a number of processors, possibly fractional, as text."""
    return count(int(number), "processor") if number == int(number) else f"{number:g} processors"
