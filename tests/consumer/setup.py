"""Build with Cython, which finds the .pxd files of the installed lenet5c; nothing is linked."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# For the prange of this project; lenet5c's own functions are serial in here. Apple's compiler comes
# without OpenMP.
compile_args, link_args = {"win32": (["/openmp"], []), "darwin": ([], [])}.get(
    sys.platform, (["-fopenmp"],) * 2
)

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"consumer.{path.stem}",
                [str(path)],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
            for path in Path("consumer").glob("*.pyx")
        ],
        language_level=3,
    )
)
