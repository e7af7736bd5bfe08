"""A model as source text for PyTorch."""

from collections.abc import Callable
from typing import Any

import lenet5c
from lenet5c import nn
from lenet5c.datasets.resampling import UNIT
from lenet5c.export.activations import ACTIVATIONS
from lenet5c.export.errors import ExportError
from lenet5c.export.network import Network, to_network
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
    """Sum each window, times a trained coefficient, plus a trained bias; one of each a map."""

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
    """Squared distance from each class's code: the smallest is at the class."""

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
    center = (torch.arange(length, dtype=torch.float64)[:, None] + 0.5) * ratio
    distance = (torch.arange(source, dtype=torch.float64) + 0.5 - center).abs() / max(ratio, 1.0)
    weight = (1.0 - distance).clamp(min=0.0)
    weight /= weight.sum(dim=1, keepdim=True)
    units = torch.round(weight * 2**{UNIT})
    units[torch.arange(length), units.argmax(dim=1)] += 2**{UNIT} - units.sum(dim=1)
    return units / 2**{UNIT}
'''


# Modules that PyTorch does not have, by the beginning of their expression.
HELPERS = {"ScaledTanh(": SCALED_TANH, "Subsample2d(": SUBSAMPLE, "RBF(": RBF}


def torch_source(
    model: TrainedModel | nn.Sequential,
    weights: str = "model.safetensors",
    *,
    input_shape: tuple[int, ...] | None = None,
) -> str:
    r"""Return Python source with the same model for PyTorch.

    It has `build`, `load` and, for a `TrainedModel`, `prepare` and `CLASS_NAMES`.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    weights : str, optional
        Name of the file with what `to_torch` returns, beside the source.
    input_shape : tuple of int, optional
        Shape of one sample, for a `Sequential` that does not know its own.

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
    lines = _layers(net.model)
    trained = net.trained
    parts = [
        f'"""A {type(net.model).__name__} for PyTorch, written by lenet5c {lenet5c.__version__}: '
        'load() gives it with its weights."""\n',
        "from collections import OrderedDict\nfrom pathlib import Path\n",
        "import torch\nfrom safetensors.torch import load_file\nfrom torch import nn\n",
    ]
    if trained is not None:
        names = "".join(f"    {name!a},\n" for name in trained.class_names)
        parts.append(f"CLASS_NAMES = (\n{names})\n")
    parts += [text for name, text in HELPERS.items() if any(f" {name}" in line for line in lines)]
    text = f"The net without weights, for float32 (N, {', '.join(map(str, net.input_shape))})."
    if net.negated:
        text += (
            "\n\n    Outputs are penalties: the class is where they are smallest, "
            "and their negatives are logits.\n    "
        )
    body = "".join(f"        {line}\n" for line in lines)
    build = f"    return nn.Sequential(OrderedDict([\n{body}    ]))\n"
    parts.append(f'\ndef build():\n    """{text}"""\n{build}')
    has_mean = trained is not None and trained.preparation.mean_image is not None
    pop = '    tensors.pop("preparation.mean_image")\n' if has_mean else ""
    parts.append(
        f"\ndef load(path=Path(__file__).with_name({weights!a})):\n"
        '    """The trained net, for inference."""\n'
        f"    tensors = load_file(path)\n{pop}    model = build()\n"
        "    model.load_state_dict(tensors)\n    return model.eval()\n"
    )
    if trained is not None:
        parts += _prepare(net)
    return "\n".join(parts)


def _prepare(net: Network) -> list[str]:
    assert net.trained is not None
    preparation, (C, h, w), (H, W) = net.trained.preparation, net.image_shape, net.input_shape[1:]
    about = f"Images as they are, uint8 (N, {C}, {h}, {w}), as the net's input."
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


def _layers(model: nn.Sequential) -> list[str]:
    """Return lines of pairs (name, module)."""
    lines = []
    for name, layer in model.layers.items():
        if isinstance(layer, nn.Sequential):
            inner = [f"    {line}" for line in _layers(layer)]
            lines += [f"({name!a}, nn.Sequential(OrderedDict([", *inner, "]))),"]
        else:
            lines.append(f"({name!a}, {_MODULES[type(layer).__name__](layer)}),")
    return lines


def _conv2d(layer: nn.Conv2d) -> str:
    defaults = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    options = "".join(
        f", {name}={getattr(layer, name)!r}"
        for name, default in defaults.items()
        if getattr(layer, name) != default
    )
    if not _is_even(layer.padding) and (layer.padding != "same" or layer.stride != (1, 1)):
        raise ExportError(
            "Conv2d must have the same padding on opposite sides for PyTorch, got "
            f"padding={layer.padding!r} with stride {layer.stride}"
        )
    channels = f"{layer.in_channels}, {layer.out_channels}"
    return f"nn.Conv2d({channels}, {layer.kernel_size}{options}{_bias(layer)})"


def _bias(layer: nn.Layer) -> str:
    return "" if "bias" in layer.params else ", bias=False"


def _is_even(padding: Any) -> bool:
    return padding != "same" and isinstance(padding[0], int)


def _pool(layer: Any) -> str:
    kernel_size = layer.kernel_size
    if not _is_even(layer.padding) or any(
        2 * p > k for p, k in zip(layer.padding, kernel_size, strict=True)
    ):
        raise ExportError(
            f"{type(layer).__name__} must have the same padding on opposite sides, at most half of "
            f"kernel_size, for PyTorch, got {layer.padding!r} with {kernel_size}"
        )
    arguments = [repr(layer.kernel_size)]
    arguments += [f"stride={layer.stride}"] if layer.stride != layer.kernel_size else []
    arguments += [f"padding={layer.padding}"] if layer.padding != (0, 0) else []
    arguments += [f"dilation={layer.dilation}"] if layer.dilation != (1, 1) else []
    arguments += ["ceil_mode=True"] if layer.ceil_mode else []
    if isinstance(layer, nn.AvgPool2d) and not layer.count_include_pad:
        arguments.append("count_include_pad=False")
    return f"nn.{type(layer).__name__}({', '.join(arguments)})"


def _batch_norm(layer: Any) -> str:
    options = f"eps={layer.eps}, momentum={layer.momentum}"
    return f"nn.{type(layer).__name__}({layer.num_features}, {options})"


_MODULES: dict[str, Callable[[Any], str]] = {
    "Conv2d": _conv2d,
    "Linear": lambda layer: f"nn.Linear({layer.in_features}, {layer.out_features}{_bias(layer)})",
    "MaxPool2d": _pool,
    "AvgPool2d": _pool,
    "Subsample2d": lambda layer: f"Subsample2d({layer.channels}, {layer.kernel_size})",
    "BatchNorm1d": _batch_norm,
    "BatchNorm2d": _batch_norm,
    "RBF": lambda layer: "RBF({}, {})".format(*layer.buffers["codes"].shape),
    "Flatten": lambda layer: "nn.Flatten()",
    "Dropout": lambda layer: f"nn.Dropout({layer.p})",
    **{name: activation.torch for name, activation in ACTIVATIONS.items()},
}
