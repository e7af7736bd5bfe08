"""``lenet5c export``: export a model to ONNX, C, HTML or PyTorch, or import one from PyTorch.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c import _files
from lenet5c._text import format_p
from lenet5c.commands.cli import (
    MODEL_HELP,
    describe_model,
    file,
    number,
    pair,
    read_options,
    say,
    setting,
    whole,
)
from lenet5c.datasets import Preparation, mnist
from lenet5c.datasets.dataset import Dataset
from lenet5c.datasets.mapped import take
from lenet5c.datasets.source import open_source, source_name
from lenet5c.export import (
    ExportError,
    import_torch,
    quantize_int8,
    quantize_weights,
    to_c,
    to_html,
    to_onnx,
    to_torch,
    torch_source,
)
from lenet5c.export.c import QUANTIZATIONS
from lenet5c.export.c_text import check_prefix
from lenet5c.export.footprint import TARGETS, has_compiler, measure_c, with_footprints
from lenet5c.export.html_model import choose_examples
from lenet5c.export.integer_build import IMAGES, RANGES
from lenet5c.export.onnx import INPUTS, OPSET
from lenet5c.nn import LeNet5
from lenet5c.training import RunError, TrainedModel, evaluate, mcnemar, open_model, save_model
from lenet5c.training.matching import match_dataset, match_size
from lenet5c.training.model_file import BEST
from lenet5c.training.run_folder import read_record, recorded_accuracy

FORMS = {
    "onnx": "ONNX, for ONNX Runtime and other runtimes",
    "c": "one C99 file without dependencies, for microcontrollers and C programs",
    "html": "one page to draw on, for any browser, offline",
    "torch": "safetensors with PyTorch's names, and the net as PyTorch source code",
    "lenet5c": "a lenet5c model file, from safetensors written by PyTorch",
}
SUFFIXES = {
    "onnx": ".onnx",
    "c": ".c",
    "html": ".html",
    "torch": ".safetensors",
    "lenet5c": ".safetensors",
}
MARK = b", written by lenet5c "  # in the first lines of sources
BY_SUFFIX = {".onnx": "onnx", ".c": "c", ".h": "c", ".html": "html"}
#: The only format for which an option is valid.
FORM_OF = (
    {"input": "onnx"}
    | dict.fromkeys(("quantize", "calibrate", "images", "ranges"), "c")
    | dict.fromkeys(("like", "names", "net", "mean", "std"), "lenet5c")
)
DESCRIPTION = "Export a model to another format, or import one from PyTorch."
EXAMPLES = """examples:
  lenet5c export best --to onnx
  lenet5c export runs/first --to c --name digits --out digits.c
  lenet5c export best --to c --quantize int8
  lenet5c export model.safetensors --to c --quantize int8 --calibrate my-folder --images 500
  lenet5c export best --to html
  lenet5c export runs/first/model.safetensors --to torch
  lenet5c export theirs.safetensors --to lenet5c --like best --names conv1=features.0
  lenet5c export theirs.safetensors --to lenet5c --net input_size=28 padding=[2,0] --mean 0.1307"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL_HELP)
    text = "; ".join(f"{name}: {what}" for name, what in FORMS.items())
    add(
        "--to",
        choices=FORMS,
        metavar="FORM",
        help=f"{text} (default: by the file extension of --out)",
    )
    text = "file to write (default: NAME with the extension of the format, in this folder)"
    add("--out", type=file, metavar="FILE", help=text)
    text = "prefix of C functions and files (default: lenet5)"
    add("--name", default="lenet5", metavar="NAME", help=text)
    text = "for onnx: uint8, raw images that the graph prepares; or float, prepared images"
    add("--input", choices=INPUTS, help=f"{text} (default: uint8)")
    text = (
        "for c: weights (int8 weights, float activations) or int8 (int8 weights and activations, "
        "no floating point) (default: none)"
    )
    add("--quantize", choices=(*QUANTIZATIONS, "int8"), help=text)
    text = (
        "for --quantize int8: data set whose training images determine the ranges of activations, "
        "as for lenet5c train (default: that of the run in folder MODEL, else mnist)"
    )
    add("--calibrate", metavar="NAME_OR_PATH", help=text)
    text = (
        f"for --quantize int8: number of calibration images, chosen at random (default: {IMAGES:,})"
    )
    add("--images", type=whole(1), metavar="N", help=text)
    text = (
        "for --quantize int8: range of each activation: mse (minimum mean squared error) or "
        "minmax (all values that occur) (default: mse)"
    )
    add("--ranges", choices=RANGES, help=text)
    text = "for lenet5c: model with the same net, preparation and class names"
    add("--like", metavar="MODEL", help=text)
    text = "for lenet5c, instead of --like: arguments of lenet5c.nn.LeNet5, such as activation=tanh"
    add("--net", type=setting, nargs="+", metavar="NAME=VALUE", help=text)
    text = "with --net: mean of the pixels, from 0 (black) to 1 (white) (default: 0.1307)"
    add("--mean", type=number(-100, 100), metavar="F", help=text)
    text = "with --net: standard deviation of the pixels (default: 0.3081)"
    add("--std", type=number(0, 1e6, above=True), metavar="F", help=text)
    text = "for lenet5c: corresponding layers, if names and shapes are ambiguous"
    add("--names", type=pair, nargs="+", metavar="OURS=THEIRS", help=text)


def run(options: Namespace) -> None:
    """Write a model in another format and describe it."""
    form = options.to or BY_SUFFIX.get(options.out.suffix.lower() if options.out else "")
    if form is None:
        raise ExportError(f"--to must be one of {', '.join(FORMS)}, got nothing")
    for name in ("calibrate", "images", "ranges"):
        if getattr(options, name) is not None and options.quantize != "int8":
            raise ExportError(f"--{name} requires --quantize int8")
    for name, of in FORM_OF.items():
        if getattr(options, name) is not None and form != of:
            raise ExportError(f"--{name} requires --to {of}, got --to {form}")
    for name in ("mean", "std"):
        if getattr(options, name) is not None and options.net is None:
            raise ExportError(f"--{name} requires --net; --like uses the value of that model")
    prefix = check_prefix(options.name)
    out = options.out or Path(f"{prefix}{SUFFIXES[form]}")
    if out.is_dir():
        inside = out / (prefix + SUFFIXES[form])
        raise ExportError(f"--out must be a file, got {out}, which is a folder; try {inside}")
    if out.exists() and not out.is_file():
        raise ExportError(f"--out must be a regular file, got {out}")
    if form == "lenet5c":
        bring(options, out)
        return
    trained = open_model(options.model)
    assert trained.path is not None
    _check_not_read(trained.path, out)
    if options.out is None and form in ("c", "html"):
        _check_own(out)
    if form == "onnx":
        write_onnx(trained, out, options, recorded_accuracy(trained.path))
    elif form == "c":
        write_c(trained, out, options, prefix)
    elif form == "html":
        write_html(trained, out, options.model)
    else:
        write_torch(trained, out)


def bring(options: Namespace, out: Path) -> None:
    """Write a model file from PyTorch's weights."""
    if (options.like is None) == (options.net is None):
        raise ExportError(
            f"--to lenet5c requires --like MODEL, a model of the same architecture ({BEST} is "
            "LeNet-5 with ReLU and average pooling), or --net with settings, such as input_size=28"
        )
    if options.like is None:
        like = make_untrained(dict(options.net), options.mean, options.std)
    else:
        like = open_model(options.like)
        assert like.path is not None
        _check_not_read(like.path, out)
    _check_not_read(Path(options.model), out)
    trained = import_torch(options.model, like, dict(options.names or []))
    save_model(out, trained)
    say(f"{out}: {type(trained.model).__name__} with the weights of {options.model}")
    if reads_digits(trained):
        say(f"Test accuracy on MNIST: {evaluate(trained, mnist()[1])}")


def make_untrained(settings: dict[str, Any], mean: float | None, std: float | None) -> TrainedModel:
    """Return an untrained model with these settings."""
    if drawn := settings.keys() & {"rng", "init", "conv_init"}:
        raise ExportError(
            f"--net must not contain {', '.join(drawn)}, since the weights are those of PyTorch"
        )
    try:
        model = LeNet5(**settings)
        assert model.input_shape is not None
        channels, *size = model.input_shape
        height, width = size
        preparation = Preparation(
            (height, width),
            mean=0.1307 if mean is None else mean,
            std=0.3081 if std is None else std,
        )
    except (TypeError, ValueError) as error:
        raise ExportError(f"--net: {str(error).replace('LeNet5.__init__() ', '')}") from None
    names = tuple(map(str, range(model.settings()["num_classes"])))
    if min(size) >= 28 and max(size) <= 32:
        height, width = 28, 28
    return TrainedModel(model, preparation, names, (channels, height, width))


def write_onnx(trained: TrainedModel, out: Path, options: Namespace, accuracy: str | None) -> None:
    """Write a model as ONNX."""
    content = to_onnx(trained, input=options.input or "uint8", accuracy=accuracy)
    _files.write_bytes(out, content)
    takes = f"image: uint8 (N, {', '.join(map(str, trained.image_shape))}), unscaled"
    if options.input == "float":
        shape = (trained.image_shape[0], *trained.preparation.size)
        takes = f"input: prepared float32 (N, {', '.join(map(str, shape))})"
    say(
        f"{out}: {len(content):,} bytes, opset {OPSET}\n  in   {takes}\n"
        f"  out  logits, probabilities: float32 (N, {len(trained.class_names)})"
    )


def write_c(trained: TrainedModel, out: Path, options: Namespace, prefix: str) -> None:
    """Write a model as a C file."""
    train, test = None, mnist()[1] if reads_digits(trained) else None
    image = None if test is None else test.images[0]
    if options.quantize == "int8":
        train, test = open_calibration(trained, options)
        small = quantize_int8(trained, train, ranges=options.ranges or RANGES[0])
        text = to_c(small, prefix, image=image)
    else:
        text = to_c(trained, prefix, quantize=options.quantize or "none", image=image)
    if has_compiler():
        text = with_footprints(text, [measure_c(text, cpu) for cpu in TARGETS])
    _files.write_bytes(out, text.encode("ascii"))
    head = [line for line in text.splitlines()[:10] if line.startswith(" *     ")]
    language = "" if out.suffix == ".c" else "-x c "
    library = "" if options.quantize == "int8" else " -lm"
    lines = [
        f"{out}: {prefix}_predict()",
        *(line.removeprefix(" *     ") for line in head[: 4 + 2 * has_compiler()]),
        f"check it: cc -O2 -DLENET5C_MODEL_MAIN {language}{quote(str(out))}{library} && ./a.out",
    ]
    say("\n  ".join(lines))
    if test is None or options.quantize in (None, "none"):
        return
    before = evaluate(trained, test)
    if train is None:
        right, what = evaluate(quantize_weights(trained), test).right, "int8 weights"
    else:
        right, what = small.predict(test.images) == test.labels, "int8"
    p = mcnemar(before.right, right).p_value
    name = "MNIST" if test.name == "mnist" else test.name or "these data"
    say(
        f"Test accuracy on {name}: {100 * right.mean():.2f}% "
        f"({right.sum()}/{len(right)}) with {what}, {before} before "
        f"(McNemar's exact test: {format_p(p, name='p')})"
    )


def open_calibration(
    trained: TrainedModel, options: Namespace
) -> tuple[NDArray[np.uint8], Dataset | None]:
    """Return training images for `quantize_int8`, and the test images of the same data.

    The test images are None if their classes differ from those of the model.
    """
    of_run = read_record(options.model) if options.calibrate is None else {}
    data = source_name(options.calibrate or of_run.get("data", "mnist"), "--calibrate")
    source = open_source(data, read_options(options, of_run), on_message=say)
    images = source.train.images
    channels = trained.image_shape[0]
    if images.shape[1] != channels:
        raise ExportError(
            f"--calibrate must have images with the {channels} channels of the model, got "
            f"{images.shape[1]} in {data}; use the training data of the model"
        )
    count = min(options.images or IMAGES, len(images))
    chosen = np.sort(np.random.default_rng(0).choice(len(images), count, replace=False))
    fitted, _ = match_size(trained, take(images, chosen))
    try:
        test = match_dataset(trained, source.test)[0]
    except RunError:
        test = None
    return np.asarray(fitted), test


def write_html(trained: TrainedModel, out: Path, name: str) -> None:
    """Write a model as a page."""
    examples = choose_examples(mnist()[0]) if reads_digits(trained) else None
    content = to_html(trained, describe_model(name), examples=examples).encode()
    _files.write_bytes(out, content)
    say(f"{out}: {len(content):,} bytes\n  open it in a browser: {out.absolute().as_uri()}")


def write_torch(trained: TrainedModel, out: Path) -> None:
    """Write the weights of a model for PyTorch, and the source code of its net."""
    source = out.with_suffix(".py")
    content, text = to_torch(trained), torch_source(trained, out.name)
    if source == out:
        raise ExportError(
            f"--out must end in .safetensors, got {out}, the name of the PyTorch source file"
        )
    _check_own(source)
    _files.write_bytes(out, content)
    _files.write_bytes(source, text.encode("ascii"))
    say(
        f"{out}: weights, {len(content):,} bytes\n"
        f"{source}: load() returns the net, prepare(images) its input"
    )


def reads_digits(trained: TrainedModel) -> bool:
    """Return True if a model accepts images like those of MNIST."""
    digits = trained.class_names == tuple("0123456789") and trained.reading == "ink"
    return digits and trained.image_shape == (1, 28, 28)


def _check_own(source: Path) -> None:
    """Refuse to replace an existing source file that was not written by lenet5c."""
    if not source.exists():
        return
    ours = False
    if source.is_file():
        with _files.name_errors(source), _files.open_regular(source) as file:
            ours = MARK in file.read(400)
    if not ours:
        raise ExportError(
            f"{source} already exists and was not written by lenet5c; move it, or choose another "
            "file with --out"
        )


def _check_not_read(path: Path, out: Path) -> None:
    """Refuse to replace the input file."""
    if path.exists() and out.exists() and path.samefile(out):
        raise ExportError(f"--out must differ from the input file, got {out} for both")
