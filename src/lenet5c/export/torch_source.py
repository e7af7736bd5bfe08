"""The same net as source text for PyTorch."""

import lenet5c
from lenet5c.export.errors import ExportError
from lenet5c.export.network import network
from lenet5c.export.resampling import UNIT

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
    """The sum of each window times a trained coefficient, plus a trained bias; one of each a map."""

    def __init__(self, channels, kernel_size):
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        sums = nn.functional.avg_pool2d(x, self.kernel_size) * (self.kernel_size[0] * self.kernel_size[1])
        return sums * self.weight[:, None, None] + self.bias[:, None, None]
'''
RBF = '''
class RBF(nn.Module):
    """The squared distance from each class's code: the smallest is at the class."""

    def __init__(self, classes, features):
        super().__init__()
        self.register_buffer("codes", torch.zeros(classes, features))

    def forward(self, x):
        return ((x[:, None] - self.codes) ** 2).sum(dim=2)
'''
RESIZE = f'''
def resize_matrix(length, source):
    """The triangle filter that lenet5c resizes with, (length, source)."""
    ratio = source / length
    centre = (torch.arange(length, dtype=torch.float64)[:, None] + 0.5) * ratio
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - centre).abs() / max(ratio, 1.0)
    weight = (1.0 - distance).clamp(min=0.0)
    weight /= weight.sum(dim=1, keepdim=True)
    units = torch.round(weight * 2**{UNIT})
    units[torch.arange(length), units.argmax(dim=1)] += 2**{UNIT} - units.sum(dim=1)
    return units / 2**{UNIT}
'''


def torch_source(model, weights="model.safetensors", *, input_shape=None):
    """Python source with the same net for PyTorch: a module, a function that loads it, one that prepares images.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    weights : str
        The name of the file with what `to_torch` gives, beside the source.
    input_shape : tuple of int, optional
        Of a sample, for a `Sequential` that does not know its own.

    Returns
    -------
    str
        ASCII.

    Raises
    ------
    ExportError
        A layer has no counterpart.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.export import torch_source
    >>> text = torch_source(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), input_shape=(4,))
    >>> print(*(line.strip() for line in text.splitlines() if "nn." in line), sep="\\n")
    return nn.Sequential(OrderedDict([
    ('0', nn.Linear(4, 2)),
    ('1', nn.Tanh()),
    """
    net = network(model, input_shape)
    lines = _layers(net.model)
    helpers = [
        text
        for text, name in ((SCALED_TANH, "ScaledTanh("), (SUBSAMPLE, "Subsample2d("), (RBF, "RBF("))
        if any(name in line for line in lines)
    ]
    shape = tuple(net.input_shape)
    parts = [
        f'"""A {type(net.model).__name__} for PyTorch, written by lenet5c {lenet5c.__version__}: load() gives it with its '
        f'weights."""\n',
        "from collections import OrderedDict\nfrom pathlib import Path\n",
        "import torch\nfrom safetensors.torch import load_file\nfrom torch import nn\n",
    ]
    if net.preparation is not None:
        names = "".join(f"    {ascii(name)},\n" for name in net.class_names)
        parts.append(f"CLASS_NAMES = (\n{names})\n")
    parts += [f"{text}" for text in helpers]
    text = f"The net without weights, for float32 (N, {', '.join(map(str, shape))})."
    if net.negated:
        text += "\n\n    Outputs are penalties: the class is where they are smallest, and their negatives are logits.\n    "
    body = "".join(f"        {line}\n" for line in lines)
    parts.append(
        f'\ndef build():\n    """{text}"""\n    return nn.Sequential(OrderedDict([\n{body}    ]))\n'
    )
    parts.append(_load(net, weights))
    if net.preparation is not None:
        parts += _prepare(net)
    return "\n".join(parts)


def _load(net, weights):
    # The eval in what is written is PyTorch's switch from training to inference.
    has_mean = net.preparation is not None and net.preparation.mean_image is not None
    pop = '    tensors.pop("preparation.mean_image")\n' if has_mean else ""
    return (
        f'\ndef load(path=Path(__file__).with_name({ascii(weights)})):\n    """The trained net, for inference."""\n'
        f"    tensors = load_file(path)\n{pop}    model = build()\n    model.load_state_dict(tensors)\n"
        f"    return model.eval()\n"
    )


def _prepare(net):
    preparation, (C, h, w), (H, W) = net.preparation, net.image_shape, net.preparation.size
    lines, parts = (
        [f'    """Images as they are, uint8 (N, {C}, {h}, {w}), as the net\'s input."""'],
        [],
    )
    if (h, w) == (H, W):
        lines.append("    x = images.float()")
    elif preparation.fit == "pad":
        top, left = (H - h) // 2, (W - w) // 2
        lines.append(
            f"    x = nn.functional.pad(images.float(), ({left}, {W - w - left}, {top}, {H - h - top}))"
        )
    else:
        parts.append(RESIZE)
        lines += [
            f"    x = resize_matrix({H}, {h}) @ images.double() @ resize_matrix({W}, {w}).T",
            "    x = torch.floor(x + 0.5).float()",
        ]
    if preparation.mean_image is not None:
        lines += ["    x = x - mean_image"]
    lines.append(f"    return (x / 255 - {preparation.mean!r}) / {preparation.std!r}")
    argument = ", mean_image" if preparation.mean_image is not None else ""
    if argument:
        lines[0] = (
            lines[0][:-3]
            + '\n\n    mean_image is load_file(...)["preparation.mean_image"].\n    """'
        )
    return [*parts, f"\ndef prepare(images{argument}):\n" + "\n".join(lines) + "\n"]


def _layers(model, depth=0):
    """Lines of pairs (name, module)."""
    lines = []
    for name, layer in model.layers.items():
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            inner = [f"    {line}" for line in _layers(layer)]
            lines += [f"({ascii(name)}, nn.Sequential(OrderedDict([", *inner, "]))),"]
            continue
        if kind not in _MODULES:
            raise ExportError(f"layer {name!r} is a {kind}, which has no counterpart in PyTorch")
        lines.append(f"({ascii(name)}, {_MODULES[kind](layer)}),")
    return lines


def _conv2d(layer):
    options = "".join(
        f", {name}={getattr(layer, name)}"
        for name, usual in (
            ("stride", (1, 1)),
            ("padding", (0, 0)),
            ("dilation", (1, 1)),
            ("groups", 1),
        )
        if getattr(layer, name) != usual
    )
    return f"nn.Conv2d({layer.in_channels}, {layer.out_channels}, {layer.kernel_size}{options}{_bias(layer)})"


def _bias(layer):
    return "" if "bias" in layer.params else ", bias=False"


def _pool(layer):
    arguments = [repr(layer.kernel_size)]
    arguments += [f"stride={layer.stride}"] if layer.stride != layer.kernel_size else []
    arguments += [f"padding={layer.padding}"] if layer.padding != (0, 0) else []
    if type(layer).__name__ == "AvgPool2d" and not layer.count_include_pad:
        arguments.append("count_include_pad=False")
    return f"nn.{type(layer).__name__}({', '.join(arguments)})"


def _batch_norm(layer):
    return f"nn.{type(layer).__name__}({layer.num_features}, eps={layer.eps}, momentum={layer.momentum})"


_MODULES = {
    "Conv2d": _conv2d,
    "Linear": lambda layer: f"nn.Linear({layer.in_features}, {layer.out_features}{_bias(layer)})",
    "MaxPool2d": _pool,
    "AvgPool2d": _pool,
    "Subsample2d": lambda layer: f"Subsample2d({layer.channels}, {layer.kernel_size})",
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "RBF": lambda layer: "RBF({}, {})".format(*layer.buffers["codes"].shape),
    "Flatten": lambda layer: "nn.Flatten()",
    "ReLU": lambda layer: "nn.ReLU()",
    "Sigmoid": lambda layer: "nn.Sigmoid()",
    "Tanh": lambda layer: "nn.Tanh()",
    "ScaledTanh": lambda layer: f"ScaledTanh({layer.amplitude!r}, {layer.slope!r})",
    "Dropout": lambda layer: f"nn.Dropout({layer.p})",
}
