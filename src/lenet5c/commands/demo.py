"""``lenet5c demo``: draw a digit in the browser, and watch the net read it."""

import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path

from lenet5c.commands.cli import add_threads, directory, say, whole

SAMPLES = "lenet5c-samples"


DESCRIPTION = (
    "Draw a digit in the browser, and watch the net read it: a page for this machine alone."
)
EXAMPLES = f"""examples:
  lenet5c demo
  lenet5c demo --model runs/first --port 8000 --no-browser
  lenet5c demo --samples my-digits
  lenet5c predict --model {SAMPLES}-model-1.safetensors digit.png

Samples are saved as SAMPLES/CLASS/*.png, the form of folder that lenet5c train --data takes; a fine-tuned
model that you keep is saved beside that folder. Ctrl-C ends the demo."""


def add_arguments(parser):
    add = parser.add_argument
    add(
        "--model",
        metavar="MODEL",
        help="a model file, the folder of a run, or best, the model that comes with lenet5c (default: best)",
    )
    add(
        "--data",
        metavar="NAME_OR_DIR",
        help="the images the model was trained on, for test digits and fine-tuning (default: the run's, or mnist)",
    )
    add(
        "--samples",
        type=directory,
        default=None,
        metavar="DIR",
        help=f"where drawn samples are saved (default: {SAMPLES} in the current folder)",
    )
    add(
        "--port",
        type=whole(0, 65535),
        default=0,
        metavar="N",
        help="of the page, 0 for a free one (default: 0)",
    )
    add("--no-browser", action="store_true", help="only print the page's address")
    add_threads(parser, "of fine-tuning; ")


def run(options):
    """Serve the page until Ctrl-C."""
    # Not at the top: the parser needs no NumPy.
    from lenet5c.datasets.source import open_source, source_name
    from lenet5c.demo.server import make_server
    from lenet5c.demo.session import Session
    from lenet5c.training import open_model

    trained = open_model(options.model)
    name = describe_model(options.model)
    if options.data is not None:
        source = open_source(
            source_name(options.data), skip_bad=True, tell=say
        )  # what is wrong with it is told at once
        session = Session(trained, name, options.samples or SAMPLES, lambda: source)
    else:
        # A run's folder may come from anywhere: what it names is read if it is here, and not fetched.
        data = recorded_data(options.model) or "mnist"
        session = Session(
            trained,
            name,
            options.samples or SAMPLES,
            lambda: open_source(data, skip_bad=True, download=False),
        )
    server = make_server(session, options.port)
    on_polite_kill()
    try:
        say(
            f"The demo is at {server.address}\nSamples are saved in {session.samples.path}\nCtrl-C ends it."
        )
        threading.Thread(
            target=session.tests, daemon=True
        ).start()  # the data is read while the page opens
        if not options.no_browser:
            threading.Thread(target=open_page, args=[server.address], daemon=True).start()
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        say("\nThe demo has ended.")  # which is how it is meant to end
    finally:
        server.server_close()
        session.close()


def describe_model(name):
    """Return a model's name for the page."""
    from lenet5c.training.model_file import BEST

    return "the model that comes with lenet5c" if name in (None, BEST) else str(name)


def recorded_data(name):
    """Return the data that a model's run names, if they are here; None otherwise."""
    from lenet5c.datasets.source import NAMES
    from lenet5c.training.model_file import BEST
    from lenet5c.training.run_folder import read_record

    data = None if name in (None, BEST) else read_record(name).get("data")
    return data if data and (data in NAMES or Path(data).is_dir()) else None


def on_polite_kill():
    """SIGTERM ends the demo as Ctrl-C does."""

    def end(number, frame):
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        # A shell without job control starts background jobs with Ctrl-C ignored; `kill -INT` is then still heard.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def open_page(address):
    """Show the page, where there is a screen to show it on."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return  # a browser in the terminal cannot draw
    try:
        webbrowser.open(address)
    except (webbrowser.Error, OSError):
        pass  # the address stands in the terminal
