"""The compiled part of the build: Cython, instruction sets, OpenMP."""

import multiprocessing
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

# Modules are compiled side by side, unless build_ext is given another number: one takes half a GB.
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
JOBS = min(8, CPUS)

KERNELS = "src/lenet5c/kernels"
SOURCES = Path("src")
# What a source names that is compiled with it: files that it includes, and .pxd files.
NAMED = re.compile(
    r'^[ \t]*(?:include[ \t]+"(?P<included>[^"]+)"'
    r"|from[ \t]+(?P<module>lenet5c[\w.]*)[ \t]+cimport"
    r'|cdef[ \t]+extern[ \t]+from[ \t]+"(?P<declared>[^"<]+)"'
    r'|#[ \t]*include[ \t]+"(?P<header>[^"]+)")',
    re.MULTILINE,
)
# Debug builds: canaries behind the memory of ops, threads that sleep at chosen points; compiled at
# -O1, in half the time. And, for tests, some modules only.
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


def find_dependencies(sources):
    """Return the files that these are compiled with, those that they name, and so on."""
    found, left = set(), [Path(source) for source in sources]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".pyx" and path.with_suffix(".pxd").exists():
            left.append(path.with_suffix(".pxd"))
        for match in NAMED.finditer(path.read_text(encoding="utf-8")):
            if match["module"]:
                places = [SOURCES / f"{match['module'].replace('.', '/')}.pxd"]
            else:
                name = match["included"] or match["declared"] or match["header"]
                places = [path.parent / name, SOURCES / name]
            left += [Path(os.path.normpath(place)) for place in places if place.exists()][:1]
    return sorted(map(Path.as_posix, found.difference(map(Path, sources))))


def extensions():
    macros = [("Py_LIMITED_API", LIMITED_API)] if STABLE_ABI else []

    def extension(name, sources=(), define_macros=()):
        sources = [f"{KERNELS}/{name}.pyx", *sources]
        return Extension(
            f"lenet5c.kernels.{name.replace('/', '.')}",
            sources,
            define_macros=[*macros, *DEBUG, *define_macros],
            depends=find_dependencies(sources),
            py_limited_api=STABLE_ABI,
        )

    modules = [
        extension(name)
        for name in (
            "simd/_cpu",
            "simd/_peak",
            "_openmp",
            "_arrays",
            "_im2col",
            "engine/_workspace",
            "engine/_program",
            "engine/_update",
            "ops/_distort",
            "ops/_softmax",
            "direct/_strips",
            "direct/_direct",
            "direct/_products",
            "planes/_pooling",
            "cykernels",
        )
    ]
    # Built once for each instruction set; `dispatch` chooses.
    for isa in ISA_FLAGS if is_x86_64() else ["baseline"]:
        for path in ("simd/_tiles", "simd/_doubles", "planes/_planes"):
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
            modules.append(extension(f"{path}_{isa}", **guard))
    return [module for module in modules if not ONLY or module.name.rpartition(".")[2] in ONLY]


class BuildExt(build_ext):
    """Adds the flags of compiler, instruction set and OpenMP; warns when OpenMP is missing."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = JOBS

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
            if DEBUG and family == "unix":
                module.extra_compile_args.append("-O1")
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
        # Processes that are not forked would run this file again.
        nthreads=JOBS if multiprocessing.get_start_method() == "fork" else 0,
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
