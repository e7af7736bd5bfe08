"""Weights with PyTorch's names and layout, written and read as safetensors: never as pickles."""

import re
from copy import deepcopy
from pathlib import Path
from shlex import quote

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from lenet5c.export.errors import ExportError
from lenet5c.nn import BatchNorm1d, BatchNorm2d, Conv2d
from lenet5c.training.model_file import MEAN_IMAGE, TrainedModel

# What a state_dict of floats may hold; all become float32.
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
}
COUNTER = "num_batches_tracked"
# The text of names and shapes before the values of a file; those of such nets take a few kilobytes.
LARGEST_HEADER = 1 << 20


def torch_state(model):
    """Parameters and buffers as PyTorch's ``state_dict`` of the same net has them.

    Parameters
    ----------
    model : lenet5c.nn.Sequential or TrainedModel

    Returns
    -------
    dict of str to ndarray
        Those of `state_dict`; weights of a convolution with a connection table are dense, with zeros.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.export import torch_state
    >>> torch_state(nn.LeNet5_1998())["c3.weight"].shape
    (16, 6, 5, 5)
    """
    model = model.model if isinstance(model, TrainedModel) else model
    state = model.state_dict()
    for name, layer in model.named_layers():
        if isinstance(layer, Conv2d) and layer.connection_table is not None:
            state[f"{name}.weight"] = layer.dense_weight
    return state


def to_torch(model):
    """The bytes of a safetensors file for ``load_state_dict`` of the same net in PyTorch; see `torch_source`."""
    tensors = torch_state(model)
    if isinstance(model, TrainedModel) and model.preparation.mean_image is not None:
        tensors[MEAN_IMAGE] = model.preparation.mean_image
    return save(tensors, {"format": "pt"})


def load_torch(path, model, names=None):
    """Take over the weights of the same net from PyTorch, out of a safetensors file.

    Names need not be ours: ``conv1.weight``, ``module.conv1.weight``, ``features.0.weight`` and ``0.weight`` are all
    understood, where kinds and shapes say which layer is which; layers of equal shape are taken in the order of the
    numbers in their names. float64, float16 and bfloat16 become float32. A layer without bias there has a bias of 0
    here, and a batch normalisation may lack its counter.

    Parameters
    ----------
    path : str or Path
    model : lenet5c.nn.Sequential
        Is given the weights; unchanged if anything does not fit.
    names : dict of str to str, optional
        For each layer of ours, such as 'conv1', the name in the file, such as 'features.0'; those not named are found.

    Returns
    -------
    dict of str to str
        The name in the file of each layer.

    Raises
    ------
    FileNotFoundError
    ExportError
        The file is no safetensors file, or its tensors do not fit; the message names them, with their shapes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet5c import nn
    >>> from lenet5c.export import load_torch, to_torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "weights.safetensors"
    ...     _ = path.write_bytes(to_torch(nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU(), nn.Linear(2, 2, rng=1))))
    ...     load_torch(path, nn.Sequential({"hidden": nn.Linear(3, 2), "act": nn.ReLU(), "out": nn.Linear(2, 2)}))
    {'hidden': '0', 'out': '2'}
    """
    layers = {
        name: _Wanted(name, layer)
        for name, layer in model.named_layers()
        if layer.params or layer.buffers
    }
    tensors = read_torch(path, sum(each.bytes for each in layers.values()))
    tensors.pop(MEAN_IMAGE, None)  # `to_torch` adds it, for whom it concerns
    found = _modules(tensors)
    pairs = _matched(path, layers, found, _checked_names(names, layers, found, path))
    state = model.state_dict()
    for name, module in pairs.items():
        for leaf, array in layers[name].values(path, module, found[module]).items():
            state[f"{name}.{leaf}"] = array
    model.load_state_dict(state)
    return pairs


def read_torch(path, expected_bytes=1 << 26):
    """The tensors of a safetensors file as float32, counters as int64.

    Parameters
    ----------
    path : str or Path
    expected_bytes : int
        Of the values as float32; a file that is much larger is refused before it is read.

    Returns
    -------
    dict of str to ndarray
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        # A zip archive, or a bare pickle.
        if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise ExportError(
                f"{path} is a pickle, which could run code and is never read here; convert it where you "
                f"trust it: {_conversion(path)}"
            )
        # float64 takes two times as much.
        if size > 2 * expected_bytes + LARGEST_HEADER:
            raise ExportError(
                f"{path} has {size:,} bytes, but the model's weights take {expected_bytes:,} at most; "
                f"it is of another net"
            )
        content = head + file.read(2 * expected_bytes + LARGEST_HEADER)
    try:
        tensors = deserialize(content)
    except (SafetensorError, ValueError, OverflowError, MemoryError) as error:
        raise ExportError(f"{path} is no readable safetensors file ({error})") from None
    return {
        name: _as_float32(path, name, tensor["dtype"], tensor["shape"], tensor["data"])
        for name, tensor in tensors
    }


def _conversion(path):
    """The line that makes safetensors of a pickle, for a shell."""
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "s = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "save_file({k: v.clone() for k, v in s.items()}, sys.argv[2])"
    )
    return f'python -c "{code}" {quote(str(path))} {quote(str(path.with_suffix(".safetensors")))}'


def _as_float32(path, name, dtype, shape, data):
    if dtype not in DTYPES or (dtype == "I64" and not name.endswith(COUNTER)):
        raise ExportError(f"{path}: {name} is of {dtype}; it should be F32, F64, F16 or BF16")
    try:
        array = np.frombuffer(data, np.dtype(DTYPES[dtype]).newbyteorder("<")).reshape(shape)
    except ValueError:  # too many axes, or too long ones beside one of length 0
        raise ExportError(
            f"{path}: {name} has the shape {shape}, which no array can have"
        ) from None
    if dtype == "I64":
        return array.astype(np.int64)
    if dtype == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ExportError(f"{path}: {name} has values that are no finite float32")
    return array


class _Wanted:
    """What a layer of ours needs, in PyTorch's layout."""

    def __init__(self, name, layer):
        self.name, self.layer = name, layer
        self.shapes = {
            leaf: array.shape
            for kind in (layer.params, layer.buffers)
            for leaf, array in kind.items()
        }
        self.table = getattr(layer, "connection_table", None)
        if self.table is not None:
            self.shapes["weight"] = (layer.out_channels, layer.in_channels, *layer.kernel_size)
        # Where they are not there, these values mean the same.
        self.optional = {COUNTER} if isinstance(layer, (BatchNorm1d, BatchNorm2d)) else {"bias"}
        self.bytes = sum(
            4 * int(np.prod(shape, dtype=np.int64)) + 8 for shape in self.shapes.values()
        )

    def fits(self, module):
        """Whether the tensors of a module are those of such a layer."""
        names = self.shapes.keys()
        return names - self.optional <= module.keys() <= names and all(
            module[leaf].shape == self.shapes[leaf] for leaf in module
        )

    def values(self, path, module_name, module):
        """The arrays as our layer has them."""
        values = {
            leaf: module.get(leaf, np.zeros(shape, np.float32))
            for leaf, shape in self.shapes.items()
        }
        if self.table is not None:
            dense = values["weight"]
            if dense[~self.table.T].any():
                raise ExportError(
                    f"{path}: {module_name}.weight connects maps that the connection table of {self.name} keeps apart"
                )
            values["weight"] = dense[self.table.T]
        return values


def _modules(tensors):
    """{'conv1': {'weight': ..., 'bias': ...}, ...}."""
    modules = {}
    for name, array in tensors.items():
        module, _, leaf = name.rpartition(".")
        modules.setdefault(module, {})[leaf] = array
    return modules


def _checked_names(names, layers, found, path):
    names = dict(names or {})
    if unknown := names.keys() - layers.keys():
        raise ExportError(
            f"names has {min(unknown)!r}, but the layers with weights are {', '.join(layers)}"
        )
    for name, module in names.items():
        if module not in found:
            raise ExportError(
                f"{path} has no {module!r}, which names gives for {name}; it has {_listed(found)}"
            )
        if list(names.values()).count(module) > 1:
            raise ExportError(f"names gives {module!r} to two layers; each needs one of its own")
    return names


def _matched(path, layers, found, names):
    """Which module of the file is which layer: by what is given, by equal names, then by kinds and shapes."""
    pairs = dict(names)
    for name, module in names.items():
        if not layers[name].fits(found[module]):
            raise ExportError(_difference(path, layers[name], module, found[module]))
    prefix = _common_prefix(layers.keys() - pairs.keys(), found)
    if prefix is not None:
        for name in [name for name in layers if name not in pairs]:
            if not layers[name].fits(found[prefix + name]):
                raise ExportError(
                    _difference(path, layers[name], prefix + name, found[prefix + name])
                )
            pairs[name] = prefix + name
    else:
        _match_by_shape(path, layers, found, pairs)
    left = [module for module in found if module not in pairs.values()]
    if left:
        raise ExportError(
            f"{path} has {_listed({module: found[module] for module in left})}, which the model has not; "
            f"it is of another net"
        )
    return {name: pairs[name] for name in layers}


def _common_prefix(names, found):
    """What stands before all of our names in the file, such as '' or 'module.'; None if they are not there."""
    if not names:
        return None
    first = min(names)
    prefixes = [
        module[: len(module) - len(first)] for module in found if f".{module}".endswith(f".{first}")
    ]
    return next(
        (prefix for prefix in sorted(prefixes) if all(prefix + name in found for name in names)),
        None,
    )


def _match_by_shape(path, layers, found, pairs):
    free = [module for module in found if module not in pairs.values()]
    for name, wanted in layers.items():
        if name in pairs:
            continue
        twins = [
            other
            for other, each in layers.items()
            if other not in pairs and each.shapes == wanted.shapes
        ]
        fitting = [module for module in free if wanted.fits(found[module])]
        if len(fitting) != len(twins):
            shapes = ", ".join(
                f"{leaf} {shape}" for leaf, shape in wanted.shapes.items() if leaf != COUNTER
            )
            what = (
                f"{len(fitting)} layers with {shapes} ({', '.join(fitting)})"
                if fitting
                else f"none with {shapes}"
            )
            raise ExportError(
                f"{path} has {what}, but the model has {len(twins)}: {', '.join(twins)}. It has {_listed(found)}; "
                f"say which is which, or use a model of the same shapes"
            )
        if len({re.sub(r"\d+", "#", module) for module in fitting}) > 1:
            raise ExportError(
                f"{path} has {', '.join(fitting)}, of equal shapes, for {', '.join(twins)}, and their names do not tell "
                f"which is which; say so by names, such as {twins[0]}={fitting[0]}"
            )
        ordered = sorted(
            fitting, key=lambda module: [int(digits) for digits in re.findall(r"\d+", module)]
        )
        pairs |= zip(twins, ordered, strict=True)


def _difference(path, wanted, module, tensors):
    missing = wanted.shapes.keys() - wanted.optional - tensors.keys()
    if missing:
        return f"{path} lacks {module}.{min(missing)}, which {wanted.name} needs"
    unknown = tensors.keys() - wanted.shapes.keys()
    if unknown:
        return f"{path} has {module}.{min(unknown)}, which {wanted.name} has not"
    leaf = min(leaf for leaf in tensors if tensors[leaf].shape != wanted.shapes[leaf])
    return (
        f"{path}: {module}.{leaf} has the shape {tensors[leaf].shape}, but {wanted.name}.{leaf} of the model has "
        f"{wanted.shapes[leaf]}"
    )


def _listed(modules):
    """Names and shapes, the first few."""
    names = [
        f"{module}.{leaf}".lstrip(".") + f" {array.shape}"
        for module, tensors in sorted(modules.items())
        for leaf, array in sorted(tensors.items())
        if leaf != COUNTER
    ]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more or "nothing"


def import_torch(path, like, names=None):
    """A `TrainedModel` with the weights of a safetensors file from PyTorch.

    Parameters
    ----------
    path : str or Path
    like : TrainedModel
        Of the same net: it says all that is not in the file, preparation, class names, image shape.
    names
        As of `load_torch`.

    Returns
    -------
    TrainedModel
        A new one; `like` stays as it is.
    """
    model = deepcopy(like.model)
    load_torch(path, model, names)
    return TrainedModel(model, like.preparation, like.class_names, like.image_shape, like.reading)
