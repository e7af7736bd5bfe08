"""Commands of lenet5c in separate processes: new interpreters, or forks of a prepared one.

A new interpreter needs half a second for the imports of a training. The `Server` has imported them
without starting a thread: its forks start a command within milliseconds.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

CAN_FORK = sys.platform == "linux"
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
#: What the commands import when they run, where it is installed.
IMPORTS = (
    *("lenet5c.__main__", "lenet5c.commands.train", "lenet5c.commands.evaluate"),
    *("lenet5c.commands.export", "lenet5c.commands.data", "lenet5c.export.c"),
    *("lenet5c.report.run", "lenet5c.report.matrix", "lenet5c.training.curves"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("tensorboard.compat.proto.event_pb2", "tensorboard.summary.writer.record_writer"),
    *("tensorboard.compat.tensorflow_stub.pywrap_tensorflow", "PIL.PngImagePlugin"),
    *("scipy.ndimage", "onnx"),
)


class Child:
    """A process with its own session, whose output goes to a file.

    Parameters
    ----------
    pid : int
    log : Path
        Standard output and standard error.
    wait : callable
        ``wait(seconds)`` returns the exit code, negative for a signal, or None while it runs.
    """

    def __init__(self, pid, log, wait):
        self.pid, self.log, self._wait = pid, log, wait

    def wait(self, seconds=300.0):
        """Return the exit code; one that takes longer is killed, and a TimeoutError raised."""
        code = self._wait(seconds)
        if code is None:
            self.kill(group=True)
            self._wait(10)
            raise TimeoutError(f"it runs for more than {seconds:.0f} s: {self.output()[-500:]}")
        return code

    def poll(self):
        """Return the exit code, or None while it runs."""
        return self._wait(0)

    def kill(self, group=False, number=KILL):
        """Send a signal, optionally to the whole process group."""
        with suppress(ProcessLookupError):
            if group and hasattr(os, "killpg"):
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def output(self):
        """Return the output so far."""
        return self.log.read_text(errors="replace")


def start_fresh(
    arguments,
    log: Path,
    environment: Mapping[str, str] | None = None,
    errors: Path | None = None,
    folder: Path | None = None,
) -> Child:
    """Start ``python -m lenet5c`` in a new interpreter."""
    with open(log, "wb") as file, open(errors or os.devnull, "wb") as error_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lenet5c", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=error_file if errors else subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )

    def wait(seconds):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    return Child(process.pid, log, wait)


class Server:
    """An interpreter that forks a child for each command, or new interpreters if it cannot.

    Parameters
    ----------
    environment : dict, optional
        Variables of the server's, such as LD_PRELOAD.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.process = None
        if CAN_FORK:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={
                    **os.environ,
                    # As the command sets it; and OpenBLAS would start its threads at import.
                    "GOMP_SPINCOUNT": "2000",
                    "OPENBLAS_NUM_THREADS": "1",
                    **(environment or {}),
                },
            )
            self._ask()  # it has imported everything

    def start(
        self,
        arguments,
        log: Path,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start a command; `environment` adds variables to it.

        The first argument may be ``@module:function``, which is called with the others. Standard
        error goes to the file `errors`, by default to `log`; `folder` is the working directory.
        """
        if self.process is None:
            return start_fresh(arguments, log, environment, errors, folder)
        request = {
            "run": [str(argument) for argument in arguments],
            "log": str(log),
            "environment": dict(environment or {}),
            "errors": str(errors or log),
            "folder": str(folder or ""),
        }
        pid = self._ask(request)
        return Child(pid, log, lambda seconds: self._ask({"wait": pid, "seconds": seconds}))

    def close(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()

    def _ask(self, request=None):
        if request is not None:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the server of processes has ended")
        return json.loads(answer)


@contextmanager
def serve_processes(environment: Mapping[str, str] | None = None):
    """Yield a `Server`, which ends with the context."""
    server = Server(environment)
    try:
        yield server
    finally:
        server.close()


def serve() -> None:
    """Process the requests on standard input, one per line."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    for name in IMPORTS:
        with suppress(ImportError):
            import_module(name)
    codes: dict[int, int] = {}
    answers = sys.stdout
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "run" in request:
            pid = os.fork()
            if pid == 0:
                answers.close()
                run_child(**request)
            codes.pop(pid, None)  # of another child: numbers come again
            answer = pid
        else:
            answer = wait_for(request["wait"], request["seconds"], codes)
        print(json.dumps(answer), file=answers, flush=True)


def wait_for(pid: int, seconds: float, codes: dict[int, int]) -> int | None:
    """Return the exit code of a child, None if it still runs after these seconds."""
    until = time.monotonic() + seconds
    while pid not in codes:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() >= until:
            return None
        else:
            time.sleep(0.001)
    return codes[pid]


def run_child(
    run: list[str], log: str, environment: dict[str, str], errors: str, folder: str
) -> None:
    """Run a command like a newly started process; end the process."""
    code = 99
    try:
        os.setsid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        places = [os.open(os.devnull, os.O_RDONLY), os.open(log, flags)]
        places.append(places[1] if errors == log else os.open(errors, flags))
        for place, descriptor in enumerate(places):
            os.dup2(descriptor, place)
        for descriptor in set(places):
            os.close(descriptor)
        if folder:
            os.chdir(folder)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.update(environment)
        try:
            code = call(run)
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else int(done.code is not None)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def call(words: list[str]) -> int:
    """Run a command of lenet5c, or the function named by the first word."""
    from torture import shim

    shim.begin()
    if words[0].startswith("@"):
        module, name = words[0][1:].split(":")
        return getattr(import_module(module), name)(*words[1:]) or 0
    from lenet5c.__main__ import main

    return main(words)


if __name__ == "__main__":
    serve()
