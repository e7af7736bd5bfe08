"""Run C files of models on emulated microcontrollers, for tests and benchmarks."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenet5c.export.footprint import COMPILER, TARGETS

HERE = Path(__file__).parent
EMULATOR = "qemu-system-arm"
#: Of each processor: the machine, flash and RAM in KB, and instructions a tick of its timer.
MACHINES = {
    "cortex-m0plus": ("microbit", 256, 16, 62.5),
    "cortex-m4": ("mps2-an386", 4096, 4096, 40.0),
}
LAYOUT = """
MEMORY {{ FLASH (rx) : ORIGIN = 0, LENGTH = {flash}K
          RAM (rw) : ORIGIN = 0x20000000, LENGTH = {ram}K }}
stack_top = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {{
    .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) . = ALIGN(4); }} > FLASH
    .ARM.exidx : {{ *(.ARM.exidx*) }} > FLASH
    data_source = LOADADDR(.data);
    .data : {{ data_start = .; *(.data*) . = ALIGN(4); data_end = .; }} > RAM AT > FLASH
    .bss : {{ bss_start = .; *(.bss*) *(COMMON) . = ALIGN(4); bss_end = .; }} > RAM
}}
"""


def has_tools() -> bool:
    """Return True if compiler and emulator are installed."""
    return bool(shutil.which(COMPILER) and shutil.which(EMULATOR))


@dataclass(frozen=True)
class Emulation:
    """Results of a model for some inputs: classes, scores, instructions and bytes of stack."""

    classes: np.ndarray
    scores: np.ndarray
    instructions: np.ndarray
    stack: np.ndarray


def emulate(
    folder: Path, text: str, x: np.ndarray, cpu: str, *options: str, optimize: str = "-O2"
) -> Emulation:
    """Return what a C file named 'model' computes for inputs on a processor of `MACHINES`."""
    machine, flash, ram, per_tick = MACHINES[cpu]
    (folder / "model.c").write_text(text, encoding="ascii")
    (folder / "layout.ld").write_text(LAYOUT.format(flash=flash, ram=ram))
    integer = "int32_t *scores" in text
    prepared = x.dtype != np.uint8
    names = {
        "INPUT": {"uint8": "uint8_t", "int8": "int8_t", "float32": "float"}[str(x.dtype)],
        "SCORE": "int32_t" if integer else "float",
        "PREDICT": "model_predict_input" if prepared else "model_predict",
        "COUNT": x[0].size,
    }
    defines = [f"-D{name}={value}" for name, value in names.items()]
    if machine == "microbit":
        defines.append("-DNRF51")
    target = ["-std=gnu99", "-mthumb", *TARGETS[cpu], f"-I{folder}"]
    model, program = folder / "model.o", folder / "program.elf"
    strict = ["-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror"]
    for command in (
        [*target, *strict, optimize, *options, "-c", folder / "model.c", "-o", model],
        [
            *(*target, "-O1", *defines, HERE / "program.c", model, "-o", program, "-lm"),
            *("-nostartfiles", "-T", folder / "layout.ld", "--specs=nosys.specs"),
        ],
    ):
        done = subprocess.run([COMPILER, *map(str, command)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{COMPILER}: {done.stderr[:2000]}")
    (folder / "in").write_bytes(np.ascontiguousarray(x).tobytes())
    command = [EMULATOR, "-M", machine, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0"]
    command += ["-kernel", str(program)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{EMULATOR}: exit code {done.returncode}, {done.stderr[:2000]}")
    score = np.int32 if integer else np.float32
    classes = int(text.split("_CLASSES ", 1)[1].split()[0])
    kinds = [("best", np.int32), ("scores", score, classes), ("ticks", "u4"), ("stack", "u4")]
    found = np.frombuffer((folder / "out").read_bytes(), kinds)
    ticks = found["ticks"] * per_tick
    return Emulation(found["best"], found["scores"].reshape(-1, classes), ticks, found["stack"])
