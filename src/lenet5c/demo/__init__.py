"""``lenet5c demo``: draw a digit in the browser, and watch the net read it.

A local web page, served to this machine alone. `server` has the HTTP side, `session` what the page can ask for,
`drawing`, `transform` and `answer` the way from strokes to an answer, `samples` and `tuning` how it is taught.
"""

from lenet5c.command import Parser, directory, fail, one_blas_thread, prepare_streams, run, wait_briefly, whole

PROG = "lenet5c demo"
SAMPLES = "lenet5c-samples"


def main(argv=None):
    """Run the command with these arguments (those of the process if not given); returns the exit code."""
    prepare_streams()
    options = make_parser().parse_args(argv)
    wait_briefly()  # before the kernels load OpenMP
    one_blas_thread()
    try:
        from lenet5c import kernels
        from lenet5c.demo import start
    except ImportError as error:  # such as an unknown LENET5C_ISA
        return fail(PROG, error)
    if options.threads is not None:
        kernels.set_num_threads(options.threads)
    return run(PROG, start.demo, options)


def make_parser():
    parser = Parser(
        prog=PROG,
        description="Draw a digit in the browser, and watch the net read it: a page for this machine alone.",
        epilog=f"""\
examples:
  lenet5c demo
  lenet5c demo --model runs/first --port 8000 --no-browser
  lenet5c demo --samples my-digits
  lenet5c predict --model {SAMPLES}-model-1.safetensors digit.png

Samples are saved as SAMPLES/CLASS/*.png, the form of folder that lenet5c train --data takes; a fine-tuned
model that you keep is saved beside that folder. Ctrl-C ends the demo.""",
    )
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
    add("--port", type=whole(0, 65535), default=0, metavar="N", help="of the page, 0 for a free one (default: 0)")
    add("--no-browser", action="store_true", help="only print the page's address")
    add(
        "--threads",
        type=whole(1, 1024),
        metavar="N",
        help="of fine-tuning; the result does not depend on it (default: all cores)",
    )
    return parser
