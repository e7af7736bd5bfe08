"""Export of a model as PyTorch source code."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lenet5c
from lenet5c import nn
from lenet5c.datasets.resampling import UNIT
from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.network import Network, Step, all_steps, to_network
from lenet5c.nn.ensemble import describe_kind
from lenet5c.training import TrainedModel

SCALED_TANH = '''
class ScaledTanh(nn.Module):
    """amplitude * tanh(slope * x)."""

    def __init__(self, amplitude, slope):
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, x):
        return self.amplitude * torch.tanh(self.slope * x)
'''
SUBSAMPLE = '''
class Subsample2d(nn.Module):
    """Sum of each window times a trained coefficient plus a trained bias of each map."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        area = self.kernel_size[0] * self.kernel_size[1]
        sums = nn.functional.avg_pool2d(x, self.kernel_size) * area
        return sums * self.weight[:, None, None] + self.bias[:, None, None]
'''
RBF = '''
class RBF(nn.Module):
    """Squared distance from the code of each class; smallest for the predicted class."""

    def __init__(self, classes, features):
        super().__init__()
        self.register_buffer("codes", torch.zeros(classes, features))

    def forward(self, x):
        return ((x[:, None] - self.codes) ** 2).sum(dim=2)
'''
RESIZE = f'''
def resize_matrix(length, source):
    """Return the triangle filter of lenet5c's resizing, (length, source)."""
    ratio = source / length
    center = (torch.arange(length, dtype=torch.float64)[:, None] + 0.5) * ratio
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - center).abs() / max(ratio, 1.0)
    weight = (1.0 - distance).clamp(min=0.0)
    weight /= weight.sum(dim=1, keepdim=True)
    units = torch.round(weight * 2**{UNIT})
    units[torch.arange(length), units.argmax(dim=1)] += 2**{UNIT} - units.sum(dim=1)
    return units / 2**{UNIT}
'''


RESIDUAL = '''
class Residual(nn.Module):
    """Sum of the output of layers and of a shortcut, or of the input."""

    def __init__(self, layers, shortcut=None):
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, x):
        return self.layers(x) + (x if self.shortcut is None else self.shortcut(x))
'''
ENSEMBLE = '''
class Ensemble(nn.Module):
    """Logarithm of the mean probabilities of several nets at their temperatures."""

    def __init__(self, members, divisors):
        super().__init__()
        self.members, self.divisors = nn.ModuleDict(members), divisors

    def forward(self, x):
        nets = zip(self.members.values(), self.divisors)
        log_p = torch.stack([torch.log_softmax(net(x) / divisor, dim=1) for net, divisor in nets])
        return torch.logsumexp(log_p, dim=0) - torch.log(torch.tensor(float(len(log_p))))
'''
PADDED = '''
class PaddedConv2d(nn.Conv2d):
    """Convolution with padding (left, right, top, bottom)."""

    def __init__(self, pads, *arguments, **options):
        super().__init__(*arguments, **options)
        self.pads = pads

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.pads))
'''

MEAN = '''
class MeanPool2d(nn.Module):
    """Mean of each window of a padded image over the counted pixels.

    `pads` is the padding (left, right, top, bottom), `counted` the part of it that is counted.
    """

    def __init__(self, kernel_size, stride, pads, counted):
        super().__init__()
        self.kernel_size, self.stride, self.pads, self.counted = kernel_size, stride, pads, counted

    def forward(self, x):
        pad, pool = nn.functional.pad, nn.functional.avg_pool2d
        rest = [pads - counted for pads, counted in zip(self.pads, self.counted)]
        ones = pad(torch.ones_like(x[:1, :1]), self.counted, value=1.0)
        share = pool(pad(ones, rest), self.kernel_size, self.stride)
        return pool(pad(x, self.pads), self.kernel_size, self.stride) / share
'''

# Modules that are not in PyTorch, by the start of their expression.
HELPERS = {
    "ScaledTanh(": SCALED_TANH,
    "Subsample2d(": SUBSAMPLE,
    "RBF(": RBF,
    "Residual(": RESIDUAL,
    "Ensemble(": ENSEMBLE,
    "PaddedConv2d(": PADDED,
    "MeanPool2d(": MEAN,
}
Steps = Mapping[str, Step]


def torch_source(
    model: TrainedModel | nn.Sequential,
    weights: str = "model.safetensors",
    *,
    input_shape: tuple[int, ...] | None = None,
) -> str:
    r"""Return Python source code of the same model for PyTorch.

    It defines `build`, `load` and, for a `TrainedModel`, `prepare`, `CLASS_NAMES` and
    `TEMPERATURE`.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    weights : str, optional
        Name of the file with the result of `to_torch`, in the same folder.
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` without an input shape.

    Returns
    -------
    str
        ASCII.

    Raises
    ------
    ExportError
        If a layer has no counterpart.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.export import torch_source
    >>> text = torch_source(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), input_shape=(4,))
    >>> print(*(line.strip() for line in text.splitlines() if "nn." in line), sep="\n")
    return nn.Sequential(OrderedDict([
    ('0', nn.Linear(4, 2)),
    ('1', nn.Tanh()),
    """
    net = to_network(model, input_shape)
    steps = {step.name: step for step in all_steps(net.steps)}
    lines = _layers(net.model.layers.items(), steps)
    trained = net.trained
    parts = [
        f'"""A {describe_kind(net.model)} for PyTorch, written by lenet5c {lenet5c.__version__}: '
        'load() gives it with its weights."""\n',
        "from collections import OrderedDict\nfrom pathlib import Path\n",
        "import torch\nfrom safetensors.torch import load_file\nfrom torch import nn\n",
    ]
    if trained is not None:
        names = "".join(f"    {name!a},\n" for name in trained.class_names)
        parts.append(f"CLASS_NAMES = (\n{names})\n")
        about = "# Probabilities are softmax(logits / TEMPERATURE)."
        parts.append(f"{about}\nTEMPERATURE = {trained.temperature!r}\n")
    found = {
        name for name in HELPERS for line in lines if re.search(rf"(^|[ =]){name[:-1]}\(", line)
    }
    parts += [text for name, text in HELPERS.items() if name in found]
    text = f"Return the untrained net for float32 (N, {', '.join(map(str, net.input_shape))})."
    if net.negated:
        text += (
            "\n\n    Outputs are penalties, smallest for the predicted class; "
            "negate them to get logits.\n    "
        )
    body = "".join(f"        {line}\n" for line in lines)
    build = f"    return nn.Sequential(OrderedDict([\n{body}    ]))\n"
    parts.append(f'\ndef build():\n    """{text}"""\n{build}')
    has_mean = trained is not None and trained.preparation.mean_image is not None
    pop = '    tensors.pop("preparation.mean_image")\n' if has_mean else ""
    parts.append(
        f"\ndef load(path=Path(__file__).with_name({weights!a})):\n"
        '    """Return the trained net, for inference."""\n'
        f"    tensors = load_file(path)\n{pop}    model = build()\n"
        "    model.load_state_dict(tensors)\n    return model.eval()\n"
    )
    if trained is not None:
        parts += _prepare(net)
    return "\n".join(parts)


def _prepare(net: Network) -> list[str]:
    assert net.trained is not None
    preparation, (C, h, w), (H, W) = net.trained.preparation, net.image_shape, net.input_shape[1:]
    about = f"Convert uint8 images (N, {C}, {h}, {w}) to the net's input."
    lines, parts, argument = ["    x = images.float()"], [], ""
    if net.margins is None:
        parts.append(RESIZE)
        lines = [
            f"    x = resize_matrix({H}, {h}) @ images.double() @ resize_matrix({W}, {w}).T",
            "    x = torch.floor(x + 0.5).float()",
        ]
    elif any(net.margins):
        top, left, bottom, right = net.margins
        pads = f"({left}, {right}, {top}, {bottom})"
        lines = [f"    x = nn.functional.pad(images.float(), {pads})"]
    if preparation.mean_image is not None:
        about += '\n\n    mean_image is load_file(...)["preparation.mean_image"].\n    '
        argument = ", mean_image"
        lines += ["    x = x - mean_image"]
    lines.append(f"    return (x / 255 - {preparation.mean!r}) / {preparation.std!r}")
    body = "\n".join(lines)
    return [*parts, f'\ndef prepare(images{argument}):\n    """{about}"""\n{body}\n']


def _layers(layers: Iterable[tuple[str, nn.Layer]], steps: Steps, prefix: str = "") -> list[str]:
    """Return lines of pairs (name, module)."""
    lines: list[str] = []
    for name, layer in layers:
        *head, last = _module(layer, steps, prefix + name)
        first, *rest = [*head, f"{last}),"]
        lines += [f"({name!a}, {first}", *rest]
    return lines


def _module(layer: Any, steps: Steps, name: str) -> list[str]:
    """Return the expression of a module, in lines."""
    if isinstance(layer, nn.Sequential):
        inner = _indent(_layers(layer.layers.items(), steps, f"{name}."))
        return ["nn.Sequential(OrderedDict([", *inner, "]))"]
    if isinstance(layer, nn.Residual):
        *within, end = _module(layer.layers, steps, f"{name}.layers")
        lines = ["Residual(", *_indent([*within, f"{end},"])]
        if layer.shortcut is not None:
            first, *rest = _module(layer.shortcut, steps, f"{name}.shortcut")
            lines += _indent([f"shortcut={first}", *rest])
        return [*lines, ")"]
    if isinstance(layer, nn.Ensemble):
        inner = _indent(_layers(layer.members.items(), steps, f"{name}.members."))
        return ["Ensemble(OrderedDict([", *inner, f"]), {layer.divisors!r})"]
    write = _WINDOWS.get(type(layer).__name__)
    return [write(layer, steps[name]) if write else _MODULES[type(layer).__name__](layer)]


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _pads(step: Step) -> tuple[int, int, int, int]:
    """Return the padding on the left and right, at the top and bottom."""
    (top, bottom), (left, right) = step.pads
    return left, right, top, bottom


def _is_even(step: Step) -> bool:
    (top, bottom), (left, right) = step.pads
    return top == bottom and left == right


def _conv2d(layer: nn.Conv2d, step: Step) -> str:
    pads = _pads(step)
    padding = (pads[2], pads[0]) if _is_even(step) else None
    options = "".join(
        f", {name}={value!r}"
        for name, value, default in (
            ("stride", layer.stride, (1, 1)),
            ("padding", (0, 0) if padding is None else padding, (0, 0)),
            ("dilation", layer.dilation, (1, 1)),
            ("groups", layer.groups, 1),
        )
        if value != default
    )
    arguments = f"{layer.in_channels}, {layer.out_channels}, {layer.kernel_size}"
    kind, pad = ("nn.Conv2d", "") if padding is not None else ("PaddedConv2d", f"{pads}, ")
    return f"{kind}({pad}{arguments}{options}{_bias(layer)})"


def _bias(layer: nn.Layer) -> str:
    return "" if "bias" in layer.params else ", bias=False"


def _pool(layer: Any, step: Step) -> str:
    """Pool, with a preceding padding module if PyTorch does not support the padding."""
    (left, right, top, bottom), (rows, columns) = _pads(step), step.beyond
    kind, kernel_size = type(layer).__name__, layer.kernel_size
    is_max = kind == "MaxPool2d"
    small = all(2 * p <= k for p, k in zip((top, left), kernel_size, strict=True))
    arguments = [repr(kernel_size)]
    arguments += [f"stride={layer.stride}"] if layer.stride != kernel_size else []
    arguments += [f"dilation={layer.dilation}"] if layer.dilation != (1, 1) else []
    if _is_even(step) and small:
        arguments += [f"padding={(top, left)}"] if top or left else []
        arguments += ["ceil_mode=True"] if rows or columns else []
        if not is_max and not layer.count_include_pad:
            arguments.append("count_include_pad=False")
        return f"nn.{kind}({', '.join(arguments)})"
    pads = left, right + columns, top, bottom + rows
    if is_max:
        pad = f"nn.ConstantPad2d({pads}, -float('inf'))"
        return f"nn.Sequential({pad}, nn.MaxPool2d({', '.join(arguments)}))"
    counted = (left, right, top, bottom) if layer.count_include_pad else (0, 0, 0, 0)
    return f"MeanPool2d({kernel_size}, {layer.stride}, {pads}, {counted})"


def _batch_norm(layer: Any) -> str:
    options = f"eps={layer.eps}, momentum={layer.momentum}"
    return f"nn.{type(layer).__name__}({layer.num_features}, {options})"


# Layers whose padding is that of a `Step`.
_WINDOWS: dict[str, Callable[[Any, Step], str]] = {
    "Conv2d": _conv2d,
    "MaxPool2d": _pool,
    "AvgPool2d": _pool,
}
_MODULES: dict[str, Callable[[Any], str]] = {
    "Linear": lambda layer: f"nn.Linear({layer.in_features}, {layer.out_features}{_bias(layer)})",
    "GlobalMaxPool2d": lambda layer: "nn.AdaptiveMaxPool2d(1)",
    "GlobalAvgPool2d": lambda layer: "nn.AdaptiveAvgPool2d(1)",
    "Subsample2d": lambda layer: f"Subsample2d({layer.channels}, {layer.kernel_size})",
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "RBF": lambda layer: "RBF({}, {})".format(*layer.buffers["codes"].shape),
    "Flatten": lambda layer: "nn.Flatten()",
    "Dropout": lambda layer: f"nn.Dropout({layer.p})",
    **{name: activation.torch for name, activation in ACTIVATIONS.items()},
}
