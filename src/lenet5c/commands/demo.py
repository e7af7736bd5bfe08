"""``lenet5c demo``: draw a digit in the browser and watch the model classify it."""

import os
import sys
import threading
import webbrowser
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lenet5c.commands.cli import (
    MODEL_HELP,
    add_read_options,
    add_threads,
    describe_model,
    directory,
    read_options,
    say,
    whole,
)
from lenet5c.errors import RunError

SAMPLES = "lenet5c-samples"
DESCRIPTION = (
    "Draw a digit in the browser and watch the model classify it. The page is served to this "
    "machine only."
)
EXAMPLES = f"""examples:
  lenet5c demo
  lenet5c demo --model runs/first --port 8000 --no-browser
  lenet5c demo --samples my-digits
  lenet5c predict --model {SAMPLES}-model-1.safetensors digit.png

Samples are saved as SAMPLES/CLASS/*.png, which can be used with lenet5c train --data. A
fine-tuned model that you keep is saved next to that folder. Press Ctrl-C to end the demo."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--model", default="best", metavar="MODEL", help=f"{MODEL_HELP} (default: best)")
    text = "data set for test images and fine-tuning"
    add("--data", metavar="NAME_OR_PATH", help=f"{text} (default: that of the run, else mnist)")
    add(
        "--samples",
        type=directory,
        default=Path(SAMPLES),
        metavar="DIR",
        help=f"folder for drawn samples (default: {SAMPLES})",
    )
    text = "port of the page; 0 chooses a free one (default: 0)"
    add("--port", type=whole(0, 65535), default=0, metavar="N", help=text)
    add(
        "--no-browser", action="store_true", help="print the address of the page without opening it"
    )
    add_read_options(parser)
    add_threads(parser, " for fine-tuning")


def run(options: Namespace) -> None:
    """Serve the page until Ctrl-C."""
    # Imported here, because the parser does not need NumPy.
    from lenet5c.datasets.source import open_source, source_name
    from lenet5c.demo.server import DemoServer
    from lenet5c.demo.session import Session
    from lenet5c.training import open_model
    from lenet5c.training.interrupt import StopRequest

    trained, name = open_model(options.model), describe_model(options.model)
    if options.data is not None:
        how = replace(read_options(options), skip_bad=True)
        source = open_source(source_name(options.data), how, on_message=say)
        session = Session(trained, name, options.samples, lambda: source)
    else:
        # The folder of a run may come from another machine: its data is used if available.
        of_run = recorded_run(options.model)
        data, how = (
            of_run.get("data", "mnist"),
            replace(read_options(options, of_run), skip_bad=True),
        )
        session = Session(
            trained, name, options.samples, lambda: open_source(data, how, download=False)
        )
    server = DemoServer(session, options.port)
    # Shorter switch interval, so that other requests are answered during computations.
    sys.setswitchinterval(0.0005)
    with StopRequest() as stop:
        try:
            say(
                f"The demo is at {server.address}\nSamples are saved in {session.samples.path}\n"
                "Press Ctrl-C to end it."
            )
            # The data is read while the page opens.
            threading.Thread(target=session.tests, daemon=True).start()
            if not options.no_browser:
                threading.Thread(target=open_page, args=[server.address], daemon=True).start()
            server.serve(stop)
            say("\nThe demo has ended.")
        finally:
            server.close()
            session.close()


def recorded_run(name: str) -> dict[str, Any]:
    """Return the record of a model's run if its data are available, otherwise an empty one."""
    from lenet5c.datasets.source import NAMES
    from lenet5c.training.run_folder import read_record

    record: dict[str, Any] = {}
    if name != "best":
        with suppress(RunError):  # the data is optional
            record = read_record(name)
    data = record.get("data")
    return record if data and (data in NAMES or Path(data).exists()) else {}


def open_page(address: str) -> None:
    """Open the page in a browser, if there is a screen."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY"}
    if sys.platform.startswith("linux") and not any(map(os.environ.get, screens)):
        return  # text browsers cannot draw
    with suppress(webbrowser.Error, OSError):  # the address is printed anyway
        webbrowser.open(address)
