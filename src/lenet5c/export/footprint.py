"""Flash, RAM and stack of a C file, measured with a compiler for microcontrollers."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lenet5c.export.errors import ExportError

COMPILER = "arm-none-eabi-gcc"
#: Compiler options by processor.
TARGETS = {
    "cortex-m0plus": ("-mcpu=cortex-m0plus",),
    "cortex-m4": ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
}
OPTIMIZE = "-O2"
UNKNOWN = " *     stack  not measured\n"


@dataclass(frozen=True)
class Footprint:
    """Memory of a function and everything that it calls, including the C library.

    Attributes
    ----------
    cpu : str
    flash : int
        Code and constants.
    ram : int
        Static memory.
    stack : int
        Maximum stack of all nested calls.
    """

    cpu: str
    flash: int
    ram: int
    stack: int


def measure_c(text: str, cpu: str) -> Footprint:
    """Return the `Footprint` of a C file of `to_c`.

    Stack frames of the file's functions are those of the compiler's ``-fstack-usage``; those of
    functions of the C library are determined from their first instructions.

    Parameters
    ----------
    text : str
    cpu : {'cortex-m0plus', 'cortex-m4'}

    Raises
    ------
    ExportError
        If the compiler is not installed, or does not compile the file.
    """
    head = re.search(r"int best = (\w+)\(", text)
    if head is None:
        raise ExportError("text must be a C file written by lenet5c, got other text")
    function = head.group(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.c").write_text(text, encoding="ascii")
        options = [*TARGETS[cpu], "-mthumb", OPTIMIZE, "-ffunction-sections", "-fdata-sections"]
        options += ["-fstack-usage", "-nostartfiles", f"-Wl,-e,{function}", "-Wl,--gc-sections"]
        _run(folder, COMPILER, *options, "model.c", "-o", "model.elf", "-lm")
        sizes = _run(folder, "arm-none-eabi-size", "model.elf").splitlines()[1].split()
        code = _run(folder, "arm-none-eabi-objdump", "-d", "--no-show-raw-insn", "model.elf")
        frames = {}
        for path in folder.glob("*.su"):
            for line in path.read_text().splitlines():
                place, size, _ = line.split("\t")
                frames[place.rsplit(":", 1)[1]] = int(size)
    text_size, data, bss = map(int, sizes[:3])
    return Footprint(cpu, text_size + data, data + bss, _deepest(function, code, frames))


def with_footprints(text: str, footprints: list[Footprint]) -> str:
    """Return a C file with the measured memory in its comment."""
    if not footprints:
        return text
    version = _run(None, COMPILER, "-dumpversion").strip()
    stack = ", ".join(f"{each.stack:,} bytes on {each.cpu}" for each in footprints)
    flash = ", ".join(f"{each.flash:,} bytes on {each.cpu}" for each in footprints)
    lines = [f"stack  {stack}", f"all    {flash} of flash, with code and library"]
    lines.append(f"       by {COMPILER} {version} {OPTIMIZE}")
    return text.replace(UNKNOWN, "".join(f" *     {line}\n" for line in lines), 1)


def has_compiler() -> bool:
    """Return True if the compiler is installed."""
    return shutil.which(COMPILER) is not None


def _run(folder: Path | None, *command: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise ExportError(f"{command[0]} must be installed to measure a C file: {error}") from None
    if done.returncode:
        raise ExportError(f"{command[0]} must compile the C file, got: {done.stderr[:500]}")
    return done.stdout


def _deepest(function: str, code: str, frames: dict[str, int]) -> int:
    """Return the maximum stack of a function and the functions it calls."""
    bodies = dict(_bodies(code))

    @cache
    def depth(name: str) -> int:
        lines = bodies.get(name, [])
        frame = frames.get(name.split(".")[0])
        if frame is None:
            frame = sum(map(_pushed, lines))
        called = {
            target
            for line in lines
            if (target := _target(line)) is not None and target in bodies and target != name
        }
        return frame + max(map(depth, called), default=0)

    return depth(function)


def _bodies(code: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the functions of a disassembly with their instructions."""
    for part in re.split(r"\n(?=[0-9a-f]{8} <)", code):
        head = re.match(r"[0-9a-f]{8} <([^>]+)>:", part)
        if head:
            yield head.group(1), [line.split("\t", 1)[-1] for line in part.splitlines()[1:]]


def _target(line: str) -> str | None:
    """Return the target function of a call or jump instruction."""
    match = re.match(r"b[a-z.]*\s+[0-9a-f]+ <([^>+]+)>", line)
    return match.group(1) if match else None


def _pushed(line: str) -> int:
    """Return the number of stack bytes allocated by an instruction."""
    if match := re.match(r"(?:v?push|stmdb\s+sp!,|vstmdb\s+sp!,)\s*\{([^}]*)\}", line):
        size = 8 if "d" in match.group(1) else 4
        return size * sum(map(_registers, match.group(1).split(",")))
    if match := re.match(r"sub(?:\.w|w)?\s+sp,(?: sp,)?\s*#(\d+)", line):
        return int(match.group(1))
    if match := re.match(r"str(?:\.w)?\s+\w+, \[sp, #-(\d+)\]!", line):
        return int(match.group(1))
    return 0


def _registers(text: str) -> int:
    """Return the number of registers in a part of a list."""
    numbers = re.findall(r"\d+", text)
    return int(numbers[1]) - int(numbers[0]) + 1 if "-" in text else 1
