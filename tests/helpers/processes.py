"""Python code in new interpreters."""

import os
import subprocess
import sys

#: Seconds after which a process or a server hangs. A machine may be slow or busy: no test is a
#: measurement of speed.
HANGING = 600


def run_python(code, *arguments, timeout=HANGING, **environment):
    """Run code in a new interpreter; return the finished process. None unsets a variable."""
    variables = {
        name: value for name, value in {**os.environ, **environment}.items() if value is not None
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables, timeout=timeout)


def output(code, *arguments, **options):
    """Run code in a new interpreter; return the words that it prints."""
    done = run_python(code, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
