"""Builds of commits, cached by the sources of compiled modules."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

# A change of nothing else needs no new compilation.
COMPILED_FROM = (".pyx", ".pxd", ".pxi", ".h", ".c", "setup.py")
WORKING_TREE = "."


class BuildError(Exception):
    """A commit cannot be found or built; the message says why."""


def default_cache():
    user = os.getuid() if hasattr(os, "getuid") else ""
    return Path(tempfile.gettempdir()) / f"lenet5c-guard-{user}"


def git(repository, *arguments, **environment):
    """Return what git prints, as bytes."""
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment)
    if done.returncode:
        raise BuildError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def tree(repository, commit):
    """Return the id of the files of a commit, or of the working tree as it stands.

    The latter is with changes that are not committed and with new files that are not ignored.
    """
    if commit != WORKING_TREE:
        return git(repository, "rev-parse", f"{commit}^{{tree}}").decode().strip()
    index = Path(git(repository, "rev-parse", "--absolute-git-dir").decode().strip()) / "index"
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(index, folder)
        git(repository, "add", "--all", ":/", GIT_INDEX_FILE=copy)
        return git(repository, "write-tree", GIT_INDEX_FILE=copy).decode().strip()


def build(repository, tree_id, cache):
    """Return the folder of a tree with its modules compiled in place, made if it is not there."""
    prepare(cache)
    key = digest(repository, tree_id)
    folder = cache / f"{tree_id[:12]}-{key}"
    if folder.is_dir():
        return folder
    with unfinished(cache) as new:
        with tarfile.open(fileobj=BytesIO(git(repository, "archive", tree_id))) as files:
            files.extractall(new, filter="data")
        modules = cache / f"modules-{key}"
        if not modules.is_dir():
            compile_modules(new, cache, modules)
        shutil.copytree(modules, new, dirs_exist_ok=True)
        # The first start of a command should not write it.
        subprocess.run([sys.executable, "-m", "compileall", "-q", "src"], cwd=new, check=False)
        settle(new, folder)
    return folder


def compile_modules(source, cache, target):
    """Compile all modules in a folder of sources, and put copies of them into `target`."""
    print(f"compiling {target.name} …", file=sys.stderr, flush=True)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise BuildError(f"setup.py build_ext failed:\n{done.stderr.strip()[-2000:]}")
    shutil.rmtree(source / "build", ignore_errors=True)
    with unfinished(cache) as new:
        for module in source.glob("src/**/*"):
            if module.suffix in (".so", ".pyd"):
                copy = new / module.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(module, copy)
        settle(new, target)


def digest(repository, tree_id):
    """Return a digest of the inputs of a build: sources, interpreter, compiler, flags."""
    files = git(repository, "ls-tree", "-r", tree_id).decode().splitlines()
    compiler = os.environ.get("CC", sysconfig.get_config_var("CC") or "cc")
    found = subprocess.run([*compiler.split(), "--version"], capture_output=True)
    flags = [
        f"{name}={os.environ.get(name)}" for name in ("CFLAGS", "LDFLAGS", "LENET5C_NO_OPENMP")
    ]
    parts = [line for line in files if line.endswith(COMPILED_FROM)]
    parts += [sys.version, sysconfig.get_platform(), str(found.stdout), *flags]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def prepare(cache):
    """Make the folder of builds; it must be owned by this user, since its code is executed."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and cache.stat().st_uid != os.getuid():
        raise BuildError(f"--cache must be a folder of one's own, got {cache}, another user's")


@contextmanager
def unfinished(cache):
    """Context manager for a folder that is deleted on exit, unless it has been settled."""
    folder = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(folder, target):
    """Give a finished folder its name, unless another process has been faster."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
