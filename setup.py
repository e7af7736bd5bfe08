"""The compiled part of the build: Cython, instruction sets, OpenMP."""

import os
import re
import sys
import sysconfig
import tempfile
from copy import copy
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

# Wheels for the stable ABI of CPython 3.11 serve all later versions; free-threaded builds have no
# stable ABI yet.
STABLE_ABI = sys.implementation.name == "cpython" and not sysconfig.get_config_var(
    "Py_GIL_DISABLED"
)
LIMITED_API = "0x030b0000"

KERNELS = "src/lenet5c/kernels"
TILE_SOURCES = [
    *(f"simd/{name}" for name in ("simd.h", "tiles.pxd", "tiles.pxi", "simd.pxi", "peak.pxi")),
    *(f"ops/{path.name}" for path in sorted(Path(KERNELS, "ops").glob("*.pxi"))),
    "simd/rows.pxi",
    "direct/direct.pxi",
]
DOUBLE_SOURCES = [
    *(f"simd/{name}" for name in ("doubles.h", "doubles.pxi", "rows.pxi", "tiles.pxd")),
    "direct/direct.pxi",
    "ops/softmax.pxi",
]
PLANE_SOURCES = [f"planes/{path.name}" for path in sorted(Path(KERNELS, "planes").glob("*.px[di]"))]
PROGRAM_SOURCES = ["simd/tiles.pxd", "canary.pxi", "engine/_update.pxd"]
PROGRAM_SOURCES += [
    f"engine/{path.name}"
    for ending in ("h", "pxi")
    for path in sorted(Path(KERNELS, "engine").glob(f"*.{ending}"))
]
# Debug builds: canaries behind the memory of ops, threads that sleep at chosen points; and, for
# tests, some modules only.
DEBUG = [
    (name, "1") for name in ("LENET5C_CANARIES", "LENET5C_SLEEPS") if os.environ.get(name) == "1"
]
ONLY = os.environ.get("LENET5C_MODULES", "").split()
# Sanitizers, such as "address,undefined". At -O3, with all that the tile modules inline and unroll,
# they take the compiler half an hour; at -O1, with what it likes to inline, seconds. Python's own
# flags make signed overflow defined, and hide it.
SANITIZERS = os.environ.get("LENET5C_SANITIZE", "")
SANITIZE = [
    "-O1",
    "-g1",
    "-fno-omit-frame-pointer",
    "-fno-wrapv",
    f"-fsanitize={SANITIZERS}",
    "-fno-sanitize-recover=undefined",
]

# Flags an instruction set needs, by compiler family. The baseline is the platform's own: SSE2 on
# x86-64, NEON on arm64.
ISA_FLAGS = {
    "baseline": {"unix": [], "msvc": []},
    "avx2": {"unix": ["-mavx2", "-mfma"], "msvc": ["/arch:AVX2"]},
    "avx512": {
        "unix": [
            "-mavx2",
            "-mfma",
            "-mavx512f",
            "-mavx512vl",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx512cd",
        ],
        "msvc": ["/arch:AVX512"],
    },
}

# A multiply-add is fused where the source says so and nowhere else, and nothing is reordered:
# results do not depend on the compiler's mood. -O3 with full unrolling of constant loops is what
# keeps accumulators in registers. Python's own flags ask for debug information, several times the
# size of the code; a -g in CFLAGS keeps it.
NO_DEBUG = [] if "-g" in os.environ.get("CFLAGS", "").split() else ["-g0"]
OPTIMISE = {
    "unix": ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", *NO_DEBUG],
    "msvc": ["/O2", "/fp:precise"],
}
GCC_UNROLL = ["--param=max-completely-peeled-insns=1000", "--param=max-completely-peel-times=32"]
# The loops of plane kernels are left to the compiler to vectorize: before it unrolls them.
GCC_VECTORIZE = ["--param=max-completely-peel-times=2"]

OPENMP_CHOICES = {
    "unix": [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])],
    "msvc": [(["/openmp"], [])],
}
OPENMP_PROBE = (
    "#include <omp.h>\nint lenet5c_openmp_probe(void) { return omp_get_max_threads(); }\n"
)


def is_x86_64():
    # ARCHFLAGS names the architectures where Python itself was built for several, as python.org's
    # for macOS is.
    target = os.environ.get("ARCHFLAGS") or sysconfig.get_platform()
    return target.endswith(("x86_64", "amd64")) and "arm64" not in target


def extensions():
    macros = [("Py_LIMITED_API", LIMITED_API)] if STABLE_ABI else []
    common = {"py_limited_api": STABLE_ABI}

    def extension(name, sources=(), define_macros=(), **options):
        return Extension(
            f"lenet5c.kernels.{name.replace('/', '.')}",
            [f"{KERNELS}/{name}.pyx", *sources],
            define_macros=[*macros, *DEBUG, *define_macros],
            **common,
            **options,
        )

    modules = [
        extension("simd/_cpu", depends=[f"{KERNELS}/simd/cpu.h"]),
        extension("_openmp", depends=[f"{KERNELS}/openmp.h", f"{KERNELS}/simd/tiles.pxd"]),
        extension("_arrays", depends=[f"{KERNELS}/buffers.pxi"]),
        extension("_im2col"),
        extension("engine/_workspace"),
        extension("engine/_program", depends=[f"{KERNELS}/{name}" for name in PROGRAM_SOURCES]),
        extension("engine/_update", depends=[f"{KERNELS}/simd/tiles.pxd"]),
        extension("simd/_peak"),
        extension("ops/_distort", depends=[f"{KERNELS}/simd/tiles.pxd", f"{KERNELS}/canary.pxi"]),
        extension("ops/_softmax", depends=[f"{KERNELS}/simd/tiles.pxd", f"{KERNELS}/canary.pxi"]),
        extension("direct/_strips", depends=[f"{KERNELS}/canary.pxi"]),
        extension("direct/_direct"),
        extension("direct/_products"),
        extension(
            "planes/_pooling",
            depends=[f"{KERNELS}/{name}" for name in ("planes/planes.pxd", "buffers.pxi")],
        ),
        extension("cykernels"),
    ]
    # Built once for each instruction set; `dispatch` chooses.
    by_isa = {
        "simd/_tiles": TILE_SOURCES,
        "simd/_doubles": DOUBLE_SOURCES,
        "planes/_planes": PLANE_SOURCES,
    }
    for isa in ISA_FLAGS if is_x86_64() else ["baseline"]:
        for path, sources in by_isa.items():
            name = f"{path.rpartition('/')[2]}_{isa}"
            guard = {}
            if isa != "baseline":
                # isa_guard.c owns the init function and calls the real one only where the
                # instructions exist.
                guard["sources"] = [f"{KERNELS}/simd/isa_guard.c"]
                guard["define_macros"] = [
                    (f"PyInit_{name}", "lenet5c_guarded_init"),
                    ("LENET5C_INIT", f"PyInit_{name}"),
                    ("LENET5C_NEEDS", f"lenet5c_cpu_has_{isa}"),
                ]
            depends = [f"{KERNELS}/{source}" for source in sources]
            modules.append(extension(f"{path}_{isa}", depends=depends, **guard))
    return [module for module in modules if not ONLY or module.name.rpartition(".")[2] in ONLY]


class BuildExt(build_ext):
    """Adds the flags of compiler, instruction set and OpenMP; warns when OpenMP is missing."""

    def build_extensions(self):
        family = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        compile_openmp, link_openmp = self.find_openmp(family)
        peel = {}
        sanitize, link_sanitizers = [], []
        if SANITIZERS:
            sanitize, link_sanitizers = SANITIZE, [f"-fsanitize={SANITIZERS}"]
        elif family == "unix" and self.accepts(GCC_UNROLL):
            peel = {"tiles": GCC_UNROLL, "doubles": GCC_UNROLL, "planes": GCC_VECTORIZE}
        for module in self.extensions:
            kernels = re.search(r"\._(tiles|doubles|planes)_(\w+)$", module.name)
            if kernels:
                kind, isa = kernels.groups()
                # Every small function of a kernel must be inlined for its accumulators to stay in
                # registers.
                inline = (
                    "__forceinline" if family == "msvc" else "inline __attribute__((always_inline))"
                )
                module.define_macros.append(("CYTHON_INLINE", "inline" if SANITIZERS else inline))
                module.extra_compile_args = [
                    *OPTIMISE[family],
                    *peel.get(kind, []),
                    *ISA_FLAGS[isa][family],
                ]
            else:
                module.extra_compile_args = [*OPTIMISE[family], *compile_openmp]
                module.extra_link_args = list(link_openmp)
            module.extra_compile_args += sanitize
            module.extra_link_args += link_sanitizers
        super().build_extensions()

    def build_extension(self, ext):
        # In a folder of its own: isa_guard.c is compiled for several modules, perhaps at once.
        own = copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        super(BuildExt, own).build_extension(ext)

    def find_openmp(self, family):
        if os.environ.get("LENET5C_NO_OPENMP") == "1":
            message = (
                "OpenMP was left out, as LENET5C_NO_OPENMP=1 asks: lenet5c will run on one thread."
            )
        else:
            for compile_args, link_args in OPENMP_CHOICES[family]:
                if self.accepts(compile_args, link_args, OPENMP_PROBE):
                    return compile_args, link_args
            message = (
                "OpenMP was not found: lenet5c would run on one thread only. With gcc it comes "
                "along; with Apple's clang install libomp and point CFLAGS and LDFLAGS at it."
            )
        if os.environ.get("LENET5C_REQUIRE_OPENMP") == "1":
            raise CompileError(f"LENET5C_REQUIRE_OPENMP=1, but {message}")
        line = "*" * 100
        print(f"{line}\nWARNING: {message}\n{line}", file=sys.stderr, flush=True)
        return [], []

    def accepts(self, compile_args, link_args=(), source="int lenet5c_probe(void) { return 0; }\n"):
        """Return whether the compiler builds a shared library of this source with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.c"
            path.write_text(source)
            try:
                objects = self.compiler.compile(
                    [str(path)], output_dir=folder, extra_postargs=list(compile_args)
                )
                # A shared library, not a program: the latter would miss LDFLAGS.
                self.compiler.link_shared_object(
                    objects, str(Path(folder) / "probe.so"), extra_postargs=list(link_args)
                )
            except (CompileError, LinkError):
                return False
        return True


setup(
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=["src"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "initializedcheck": False,
            # Arguments come from anywhere; the tile modules have no objects to look at.
            "nonecheck": True,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
