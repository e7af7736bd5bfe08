"""``lenet5c doctor``: what lenet5c runs on here, whether it computes right, and what stands in its way.

Exit codes: 0 all is well, 1 something needs attention, 2 bad use.
"""

import json
import os
import platform
import re
import sys
from contextlib import redirect_stdout
from importlib import import_module
from math import ceil
from pathlib import Path

import lenet5c
from lenet5c.commands.cli import say
from lenet5c.errors import UserError

DESCRIPTION = (
    "Show what lenet5c runs on here, check that it computes right, and name what stands in its way."
)
EXAMPLES = """examples:
  lenet5c doctor
  lenet5c doctor --with torch --json > report.json"""
NEEDS_ATTENTION = 1
VARIABLES = ("LENET5C_ISA", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
OPENMP_KINDS = ("libgomp", "libomp", "libiomp", "vcomp")
# The loss of `check_itself`, within what the instruction sets and NumPy's functions differ by.
KNOWN_LOSS, TOLERANCE = 4.393968, 1e-4


def add_arguments(parser):
    add = parser.add_argument
    text = "import this module first, as your program does, to see how the two get along; may be repeated"
    add("--with", dest="modules", action="append", default=[], metavar="NAME", help=text)
    add("--json", action="store_true", help="print everything as JSON, for a bug report")


def run(options):
    """Report on this machine; return 1 if something needs attention."""
    for name in options.modules:
        import_first(name)
    facts = examine()
    findings = diagnose(facts)
    well = not any(finding["attention"] for finding in findings)
    say(
        json.dumps(facts | {"findings": findings, "well": well}, indent=2)
        if options.json
        else report(facts, findings)
    )
    return 0 if well else NEEDS_ATTENTION


def import_first(name):
    """Import a module that the user's program has."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"--with must be the name of a module, such as torch, got {name!r}")
    try:
        with redirect_stdout(sys.stderr):  # standard output is the report's
            import_module(name)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"--with must be a module that can be imported, got {name!r} ({reason}); install it "
            f"beside lenet5c, or start python -m lenet5c doctor in its folder"
        ) from None


def examine():
    """All facts about this process, as plain data for JSON."""
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
        "libraries": loaded_libraries(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def check_itself():
    """A training step on made-up weights and images: its loss, and whether two threads give the bits of one."""
    import numpy as np

    from lenet5c import nn
    from lenet5c.kernels import threads

    model, loss_function = nn.LeNet5(rng=0), nn.CrossEntropyLoss()
    model.vector[:] = 0.2 * np.sin(np.arange(model.vector.size) ** 2.0)
    images = np.cos(np.arange(64 * 32 * 32)).astype(np.float32).reshape(64, 1, 32, 32)
    results = []
    try:
        for count in (1, 2):
            threads.set_num_threads(count)
            loss, _ = model.train_step(images, np.arange(64) % 10, loss_function)
            results.append((loss, model.grad_vector.tobytes()))
    finally:
        threads.set_num_threads(None)
    return {
        "loss": repr(loss),  # as text: JSON has no not-a-number
        "as_known": bool(
            abs(loss - KNOWN_LOSS) < TOLERANCE and np.isfinite(model.grad_vector).all()
        ),
        "same_bits": results[0] == results[1],
    }


def loaded_libraries():
    """The OpenMP and BLAS libraries in this process; None where that cannot be told."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        try:
            return libraries_in_maps(Path("/proc/self/maps").read_text("utf-8", "replace"))
        except OSError:
            return None
    return [
        {
            "kind": entry["prefix"] if entry["user_api"] == "openmp" else entry["internal_api"],
            "path": entry["filepath"],
            "threads": entry["num_threads"],
        }
        for entry in threadpool_info()
    ]


def libraries_in_maps(text):
    """The same, without thread counts, from the text of Linux's /proc/self/maps."""
    found = {}
    for path in re.findall(r"(/.*?\.so[.\d]*)(?: \(deleted\))?$", text, re.MULTILINE):
        if kind := re.match(
            r"lib(?:scipy_)?(gomp|omp|iomp|openblas|mkl_rt|blis)(?![a-z])", Path(path).name
        ):
            openmp = kind[1] in ("gomp", "omp", "iomp")
            found[path] = {
                "kind": f"lib{kind[1]}" if openmp else kind[1],
                "path": path,
                "threads": None,
            }
    return list(found.values())


def diagnose(facts):
    """What to say about the facts: problem and remedy, and whether it needs attention or is only worth knowing."""
    return [
        {"attention": attention, "problem": problem, "remedy": remedy}
        for examiner in (on_self_check, on_instructions, on_openmp, on_counts, on_runtimes, on_load)
        for attention, problem, remedy in examiner(facts)
    ]


def on_self_check(facts):
    check = facts["self_check"]
    remedy = "do not trust results; reinstall lenet5c, and if that does not help report it with `lenet5c doctor --json`"
    if not check["as_known"]:
        yield True, f"a training step gave the loss {check['loss']} instead of {KNOWN_LOSS}", remedy
    if not check["same_bits"]:
        yield True, "a training step on two threads gave other bits than on one", remedy


def on_instructions(facts):
    used, best = facts["instructions"]["used"], facts["instructions"]["supported"][0]
    if used != best:
        yield (
            used == "baseline",
            f"LENET5C_ISA asks for {used}; {best} is faster here",
            "unset LENET5C_ISA",
        )


def on_openmp(facts):
    if not facts["openmp"]["version"]:
        yield (
            True,
            "this lenet5c was built without OpenMP and runs on one thread",
            "install a wheel, or build with LENET5C_REQUIRE_OPENMP=1, which says what is missing",
        )


def on_counts(facts):
    if not facts["openmp"]["version"]:
        return
    counts, text = facts["threads"], facts["environment"].get("OMP_NUM_THREADS")
    processors, quota, wish = counts["processors"], counts["quota"], counts["wish"]
    room = processors if quota is None else min(processors, ceil(quota))
    remedy = f"unset it, or set it to at most {room}"
    if text and wish is None:
        yield True, f"OMP_NUM_THREADS is {text!r}, which is no thread count and is ignored", remedy
    elif wish is not None and wish > processors:
        yield (
            True,
            f"OMP_NUM_THREADS is {wish}, but this process may run on {plural(processors)}",
            remedy,
        )
    elif wish is not None and wish > room:
        yield (
            True,
            f"OMP_NUM_THREADS is {wish}, but the container may use the time of {plural(quota)}",
            remedy,
        )
    elif wish is None and room < processors:
        yield (
            False,
            f"the container may use the time of {plural(quota)} only; lenet5c heeds that, other libraries may not",
            f"set OMP_NUM_THREADS={room} for them",
        )


def on_runtimes(facts):
    runtimes = [library for library in facts["libraries"] or [] if library["kind"] in OPENMP_KINDS]
    kinds = sorted({library["kind"] for library in runtimes})
    if len(kinds) > 1:
        yield (
            True,
            f"different OpenMP runtimes are loaded ({', '.join(kinds)}), which may hang, crash or slow each other down",
            "install all packages from one source (all with pip or all with conda), or use separate processes",
        )
    elif len(runtimes) > 1:
        yield (
            kinds != ["libgomp"],
            f"{kinds[0]} is loaded {len(runtimes)} times: each copy has threads of its own",
            "nothing, unless both compute at once: then share the cores out with OMP_NUM_THREADS"
            if kinds == ["libgomp"]
            else "install all packages from one source (all with pip or all with conda), so that they share one",
        )


def on_load(facts):
    load, environment = facts["load"], facts["environment"]
    brief = environment.get("OMP_WAIT_POLICY", "").lower() == "passive" or (
        environment.get("OMP_WAIT_POLICY", "").lower() != "active"
        and (environment.keys() & {"GOMP_SPINCOUNT", "KMP_BLOCKTIME"})
    )
    if load is not None and load > facts["threads"]["processors"] > 1 and not brief:
        yield (
            False,
            f"the machine is busy (load {load:.1f}); OpenMP's waiting threads then keep others from their work",
            "start your program with OMP_WAIT_POLICY=passive, or GOMP_SPINCOUNT=2000 as lenet5c train does",
        )


def report(facts, findings):
    """The facts and findings as text."""
    counts, check, openmp = facts["threads"], facts["self_check"], facts["openmp"]
    mine = (
        f"{counts['processors']} for this process, " if openmp["version"] else ""
    )  # OpenMP is who tells
    rows = [
        ("lenet5c", f"{facts['lenet5c']} in {facts['installed']}"),
        ("running on", f"Python {facts['python']}, NumPy {facts['numpy']}, {facts['platform']}"),
        (
            "instructions",
            f"{facts['instructions']['used']}, of {', '.join(facts['instructions']['supported'])}",
        ),
        ("threads", f"{counts['default']}: {reason(facts)}"),
        ("  processors", f"{mine}{counts['cores']} in the machine"),
        (
            "  quota",
            "none" if counts["quota"] is None else f"the time of {plural(counts['quota'])}",
        ),
        *((f"  {name}", value) for name, value in facts["environment"].items()),
        ("OpenMP", f"yes, {openmp['library'] or openmp['version']}" if openmp["version"] else "no"),
        ("self check", "passed" if check["as_known"] and check["same_bits"] else "FAILED"),
    ]
    if facts["libraries"] is None:
        rows.append(("libraries", "not known (pip install threadpoolctl to see them)"))
    for number, library in enumerate(facts["libraries"] or []):
        threads = "" if library["threads"] is None else f" ({library['threads']} threads)"
        rows.append(
            ("" if number else "libraries", f"{library['kind']}{threads} {library['path']}")
        )
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:{width}}{value}" for name, value in rows]
    for attention, title in ((True, "Needs attention:"), (False, "Worth knowing:")):
        chosen = [finding for finding in findings if finding["attention"] == attention]
        if chosen:
            lines += ["", title]
        for finding in chosen:
            lines += [f"  * {finding['problem']}", f"    remedy: {finding['remedy']}"]
    if not any(finding["attention"] for finding in findings):
        lines += ["", "All is well."]
    return "\n".join(lines)


def reason(facts):
    """What the default thread count comes from."""
    counts = facts["threads"]
    if not facts["openmp"]["version"]:
        return "there is no OpenMP"
    if counts["wish"] is not None:
        return (
            "as OMP_NUM_THREADS asks"
            if counts["default"] == counts["wish"]
            else "a limit set inside this program"
        )
    if counts["default"] == counts["processors"]:
        return "a thread for each processor"
    if counts["default"] == counts["openmp"]:
        return "a limit set inside this program"
    return "the container's quota"


def plural(processors):
    return f"{processors:g} processor{'' if processors == 1 else 's'}"
