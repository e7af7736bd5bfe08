"""``lenet5c export``: a model as ONNX, as a C file, for PyTorch, and from PyTorch back.

Exit codes: 0 done, 1 failed, 2 bad use, 130 interrupted.
"""

from pathlib import Path
from shlex import quote

from lenet5c import _files
from lenet5c.commands.cli import file, number, pair, say, setting
from lenet5c.datasets import Preparation, mnist
from lenet5c.export import (
    ExportError,
    import_torch,
    quantize_int8,
    to_c,
    to_onnx,
    to_torch,
    torch_source,
)
from lenet5c.export.c import QUANTIZATIONS
from lenet5c.export.c_text import prefix_of
from lenet5c.export.onnx import INPUTS, OPSET
from lenet5c.nn import LeNet5
from lenet5c.training import TrainedModel, evaluate, open_model, save_model
from lenet5c.training.model_file import BEST
from lenet5c.training.run_folder import recorded_accuracy

FORMS = {
    "onnx": "ONNX, for ONNX Runtime and other runtimes",
    "c": "one C99 file without dependencies, for microcontrollers and C programs",
    "torch": "safetensors with PyTorch's names, and the net as PyTorch source beside it",
    "lenet5c": "a lenet5c model file, from safetensors that PyTorch wrote",
}
SUFFIXES = {"onnx": ".onnx", "c": ".c", "torch": ".safetensors", "lenet5c": ".safetensors"}
MARK = b", written by lenet5c "  # in the first lines of sources
BY_SUFFIX = {".onnx": "onnx", ".c": "c", ".h": "c"}
# Options that mean something to one form alone.
OPTIONS = {
    "input": "onnx",
    "quantize": "c",
    "like": "lenet5c",
    "names": "lenet5c",
    "net": "lenet5c",
    "mean": "lenet5c",
    "std": "lenet5c",
}
DESCRIPTION = "Take a model elsewhere, or bring one from PyTorch."
EXAMPLES = """examples:
  lenet5c export best --to onnx
  lenet5c export runs/first --to c --name digits --out digits.c
  lenet5c export best --to c --quantize int8
  lenet5c export runs/first/model.safetensors --to torch
  lenet5c export theirs.safetensors --to lenet5c --like best --names conv1=features.0
  lenet5c export theirs.safetensors --to lenet5c --net input_size=28 padding=2 pooling=max --mean 0.1307 --std 0.3081"""


def add_arguments(parser):
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help=f"a model file, the folder of a run, or {BEST}, the model of the package",
    )
    add(
        "--to",
        choices=FORMS,
        metavar="FORM",
        help="; ".join(f"{name}: {what}" for name, what in FORMS.items())
        + " (default: as --out ends)",
    )
    add(
        "--out",
        type=file,
        metavar="FILE",
        help="what to write (default: NAME with the ending of the form, here)",
    )
    add(
        "--name",
        default="lenet5",
        metavar="NAME",
        help="begins the names of C functions, and of files (default: lenet5)",
    )
    add(
        "--input",
        choices=INPUTS,
        help="of onnx: uint8, images as they are, prepared inside the graph; or float, prepared already (default: uint8)",
    )
    add("--quantize", choices=QUANTIZATIONS, help="of c: weights as one byte each (default: none)")
    add(
        "--like",
        metavar="MODEL",
        help="of lenet5c: the model whose net, preparation and class names these are",
    )
    add(
        "--net",
        type=setting,
        nargs="+",
        metavar="NAME=VALUE",
        help="of lenet5c, instead of --like: settings of lenet5c.nn.LeNet5, such as activation=tanh",
    )
    add(
        "--mean",
        type=number(-100, 100),
        metavar="F",
        help="with --net: of the pixels, 0 is black and 1 is white (default: 0.1307)",
    )
    add(
        "--std",
        type=number(0, 1e6, above=True),
        metavar="F",
        help="with --net: likewise, what pixels less the mean are divided by (default: 0.3081)",
    )
    add(
        "--names",
        type=pair,
        nargs="+",
        metavar="OURS=THEIRS",
        help="of lenet5c: layers whose names or shapes do not tell which they are",
    )


def run(options):
    """Write what is asked for, and say what it is."""
    form = options.to or BY_SUFFIX.get(options.out.suffix.lower() if options.out else None)
    if form is None:
        raise ExportError(f"--to is not given; it should be one of {', '.join(FORMS)}")
    for name, of in OPTIONS.items():
        if getattr(options, name) is not None and form != of:
            raise ExportError(f"--{name} is of --to {of} alone; leave it out, or write {of}")
    for name in ("mean", "std"):
        if getattr(options, name) is not None and options.net is None:
            raise ExportError(f"--{name} goes with --net; with --like it is that model's")
    prefix = prefix_of(options.name)
    out = options.out or Path(f"{prefix}{SUFFIXES[form]}")
    if out.is_dir():
        raise ExportError(
            f"--out is {out}, which is a folder; name a file in it, such as {out / (prefix + SUFFIXES[form])}"
        )
    if out.exists() and not out.is_file():
        raise ExportError(
            f"--out is {out}, which is no regular file; name one that may be replaced"
        )
    if form == "lenet5c":
        return bring(options, out)
    trained = open_model(options.model)
    accuracy = recorded_accuracy(trained.path)
    _keep(trained.path, out)
    if options.out is None and form == "c":
        _keep_foreign(out)
    {"onnx": _onnx, "c": _c, "torch": _torch}[form](trained, out, options, accuracy, prefix)
    return 0


def bring(options, out):
    """A model file from PyTorch's weights."""
    if (options.like is None) == (options.net is None):
        raise ExportError(
            f"--to lenet5c needs either --like MODEL, a model of the same net ({BEST} is LeNet-5 with "
            f"ReLU and average pooling), or --net with settings such as padding=2"
        )
    if options.like is not None:
        like = open_model(options.like)
        _keep(like.path, out)
    else:
        like = described(dict(options.net), options.mean, options.std)
    _keep(Path(options.model), out)
    named = dict(options.names or [])
    trained = import_torch(options.model, like, named)
    save_model(out, trained)
    say(f"{out}: {type(trained.model).__name__} with the weights of {options.model}")
    if is_of_digits(trained):
        _, test = mnist()
        say(f"Accuracy on MNIST's test images: {evaluate(trained, test)}")
    return 0


def described(settings, mean, std):
    """An untrained model of these settings, for images of MNIST's size or of its own."""
    try:
        model = LeNet5(**settings)
        channels, *size = model.input_shape
        small = min(size) >= 28 and max(size) <= 32
        preparation = Preparation(
            size, mean=0.1307 if mean is None else mean, std=0.3081 if std is None else std
        )
    except (TypeError, ValueError) as error:
        raise ExportError(f"--net: {str(error).replace('LeNet5.__init__() ', '')}") from None
    names = tuple(str(i) for i in range(model.config["num_classes"]))
    return TrainedModel(model, preparation, names, (channels, *((28, 28) if small else size)))


def _onnx(trained, out, options, accuracy, prefix):
    content = to_onnx(trained, input=options.input or "uint8", accuracy=accuracy)
    _files.write_bytes(out, content)
    if options.input == "float":
        channels, (height, width) = trained.image_shape[0], trained.preparation.size
        takes = f"input: prepared float32 (N, {channels}, {height}, {width})"
    else:
        takes = f"image: uint8 (N, {', '.join(map(str, trained.image_shape))}), as it is"
    say(
        f"{out}: {len(content):,} bytes, opset {OPSET}\n  in   {takes}\n"
        f"  out  logits, probabilities: float32 (N, {len(trained.class_names)})"
    )


def _c(trained, out, options, accuracy, prefix):
    digits = is_of_digits(trained)
    test = mnist()[1] if digits else None
    text = to_c(
        trained,
        prefix,
        quantize=options.quantize or "none",
        image=test.images[0] if digits else None,
    )
    _files.write_bytes(out, text.encode("ascii"))
    language = "" if out.suffix == ".c" else "-x c "
    facts = [
        line.removeprefix(" * ").strip()
        for line in text.splitlines()[:6]
        if line.startswith(" *     ")
    ]
    say(
        "\n  ".join(
            [
                f"{out}: {prefix}_predict()",
                *facts,
                f"check it: cc -O2 -DLENET5C_MODEL_MAIN {language}{quote(str(out))} -lm && ./a.out",
            ]
        )
    )
    if options.quantize == "int8" and digits:
        found, before = (evaluate(each, test) for each in (quantize_int8(trained), trained))
        say(f"Accuracy on MNIST's test images: {found} with int8 weights, {before} before")


def _torch(trained, out, options, accuracy, prefix):
    source = out.with_suffix(".py")
    content, text = to_torch(trained), torch_source(trained, out.name)
    if source == out:
        raise ExportError(
            f"--out is {out}, which is where the PyTorch source goes; let it end in .safetensors"
        )
    _keep_foreign(source)
    _files.write_bytes(out, content)
    _files.write_bytes(source, text.encode("ascii"))
    say(
        f"{out}: weights, {len(content):,} bytes\n{source}: load() gives the net, prepare(images) its input"
    )


def is_of_digits(trained):
    """Whether MNIST's images are such as this model takes."""
    return (
        trained.image_shape == (1, 28, 28)
        and trained.class_names == tuple("0123456789")
        and trained.reading == "ink"
    )


def _keep_foreign(source):
    """Refuse to write over source code that somebody else wrote, where its name was not given."""
    if source.exists() and not (source.is_file() and MARK in source.read_bytes()[:400]):
        raise ExportError(
            f"{source} is there and was not written by lenet5c; move it, or name another file with --out"
        )


def _keep(path, out):
    """Refuse to write over what is read."""
    if path.exists() and out.exists() and path.samefile(out):
        raise ExportError(f"--out is {out}, the very file that is read; name another")
