"""Weights with PyTorch's names and layout, stored as safetensors."""

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from math import prod
from os import PathLike
from pathlib import Path
from shlex import quote
from typing import BinaryIO

import numpy as np

from lenet5c._files import name_errors, open_regular, safetensors
from lenet5c._text import list_some
from lenet5c.datasets._checks import check_path
from lenet5c.export.errors import ExportError
from lenet5c.nn import BatchNorm1d, BatchNorm2d, Conv2d, Layer, Sequential
from lenet5c.training import TrainedModel
from lenet5c.training.model_file import MEAN_IMAGE

Tensors = dict[str, np.ndarray]
Modules = dict[str, Tensors]
COUNTER = "num_batches_tracked"
# Supported dtypes of a state_dict; all but the counter are converted to float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Maximum bytes of a file header; such nets need a few kilobytes.
MAX_HEADER = 1 << 20
MAX_LISTED = 12


def torch_state(model: Sequential | TrainedModel) -> dict[str, np.ndarray]:
    """Return parameters and buffers like the ``state_dict`` of the same model in PyTorch.

    Parameters
    ----------
    model : lenet5c.nn.Sequential or TrainedModel

    Returns
    -------
    dict of str to ndarray
        The arrays of `state_dict`; weights with a connection table are dense, with zeros.

    Examples
    --------
    >>> from lenet5c import nn
    >>> from lenet5c.export import torch_state
    >>> torch_state(nn.LeNet5_1998())["c3.weight"].shape
    (16, 6, 5, 5)
    """
    model = model.model if isinstance(model, TrainedModel) else model
    if not isinstance(model, Sequential):
        raise TypeError(
            f"model must be a TrainedModel or a lenet5c.nn.Sequential, got {type(model).__name__}"
        )
    state = model.state_dict()
    for name, layer in model.named_layers():
        if isinstance(layer, Conv2d):
            state[f"{name}.weight"] = layer.dense_weight
    return state


def to_torch(model: Sequential | TrainedModel) -> bytes:
    """Return a safetensors file for ``load_state_dict`` of the same model in PyTorch.

    Use `torch_source` to create that model. The temperature of a `TrainedModel` is in the metadata.

    Parameters
    ----------
    model : lenet5c.nn.Sequential or TrainedModel

    Returns
    -------
    bytes
    """
    tensors, metadata = torch_state(model), {"format": "pt"}
    if isinstance(model, TrainedModel):
        metadata["temperature"] = str(model.temperature)
        if model.preparation.mean_image is not None:
            tensors[MEAN_IMAGE] = model.preparation.mean_image
    return safetensors.pack(tensors, metadata)


def load_torch(
    path: str | PathLike[str], model: Sequential, names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Load weights of the same model in PyTorch from a safetensors file.

    Names may differ: ``conv1.weight``, ``module.conv1.weight``, ``features.0.weight`` and
    ``0.weight`` are all supported if layers can be identified by kind and shape; layers of equal
    shape are matched in the order of the numbers in their names. float64, float16 and bfloat16 are
    converted to float32. A missing bias is set to 0, and the counter of batch normalization may be
    missing.

    Parameters
    ----------
    path : str or path-like
    model : lenet5c.nn.Sequential
        Model that receives the weights; unchanged on error.
    names : dict of str to str, optional
        Names in the file, such as 'features.0', for layers of the model, such as 'conv1'; other
        layers are matched automatically.

    Returns
    -------
    dict of str to str
        Name in the file of each layer.

    Raises
    ------
    FileNotFoundError
    ExportError
        If the file is not a safetensors file, or its tensors do not match the model; the message
        has names and shapes.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from lenet5c import nn
    >>> from lenet5c.export import load_torch, to_torch
    >>> theirs = nn.Sequential(nn.Linear(3, 2, rng=0), nn.ReLU(), nn.Linear(2, 2, rng=1))
    >>> ours = nn.Sequential({"in": nn.Linear(3, 2), "act": nn.ReLU(), "out": nn.Linear(2, 2)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "weights.safetensors"
    ...     _ = path.write_bytes(to_torch(theirs))
    ...     load_torch(path, ours)
    {'in': '0', 'out': '2'}
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model must be a lenet5c.nn.Sequential, got {type(model).__name__}")
    layers = {
        name: _Wanted(name, layer)
        for name, layer in model.named_layers()
        if layer.params or layer.buffers
    }
    shapes = [shape for wanted in layers.values() for shape in wanted.shapes.values()]
    tensors = read_torch(path, sum(4 * prod(shape) + 8 for shape in shapes))
    tensors.pop(MEAN_IMAGE, None)  # written by `to_torch`, but not part of the model
    found: Modules = {}
    for name, array in tensors.items():
        module, _, leaf = name.rpartition(".")
        found.setdefault(module, {})[leaf] = array
    pairs = _match(path, layers, found, dict(names or {}))
    state = model.state_dict()
    for name, module in pairs.items():
        for leaf, array in layers[name].values(path, module, found[module]).items():
            state[f"{name}.{leaf}"] = array
    model.load_state_dict(state)
    return pairs


def import_torch(
    path: str | PathLike[str], like: TrainedModel, names: Mapping[str, str] | None = None
) -> TrainedModel:
    """Return a `TrainedModel` with the weights of a safetensors file from PyTorch.

    Parameters
    ----------
    path : str or path-like
    like : TrainedModel
        Model with the same net, and the preparation, class names and image shape to use. It is not
        changed. Its temperature, fitted for other weights, is not used.
    names : dict of str to str, optional
        See `load_torch`.

    Returns
    -------
    TrainedModel

    Raises
    ------
    FileNotFoundError, ExportError
        See `load_torch`.
    """
    model = deepcopy(like.model)
    load_torch(path, model, names)
    return replace(like, model=model, temperature=1.0, path=None)


def read_torch(path: str | PathLike[str], expected_bytes: int) -> dict[str, np.ndarray]:
    """Read a safetensors file of at most about `expected_bytes`, as float32; counters as int64."""
    path, most = check_path("path", path), 2 * expected_bytes + MAX_HEADER  # for float64
    with name_errors(path), _open(path) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(8)
        # A zip archive, or a bare pickle.
        if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise ExportError(
                f"{path} must be a safetensors file, got a pickle, which could execute code "
                f"and is not supported; if you trust it, convert it with: {_conversion(path)}"
            )
        if size > most:
            raise ExportError(
                f"{path} must have at most the {expected_bytes:,} bytes of weights of the model, "
                f"got {size:,} bytes; it belongs to another net"
            )
        if (header := int.from_bytes(head, "little")) > MAX_HEADER:
            raise ExportError(
                f"{path} must be a safetensors file with a header of at most {MAX_HEADER:,} "
                f"bytes, got {header:,}; save it again, or use another file"
            )
        content = head + file.read(most)
    try:
        tensors, _ = safetensors.unpack(content, MAX_HEADER)
    except ValueError as error:
        raise ExportError(
            f"{path} must be a safetensors file, got a file that cannot be read ({error}); save "
            f"it again, or use another file"
        ) from None
    return {name: _as_float32(f"{path}: {name}", tensor) for name, tensor in tensors.items()}


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ExportError(f"{path} must be a safetensors file, got another format: {why}") from None


def _conversion(path: Path) -> str:
    """Return the shell command that converts a pickle to safetensors."""
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "s = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "save_file({k: v.clone() for k, v in s.items()}, sys.argv[2])"
    )
    return f'python -c "{code}" {quote(str(path))} {quote(str(path.with_suffix(".safetensors")))}'


def _as_float32(what: str, tensor: safetensors.Tensor) -> np.ndarray:
    dtype, shape, data = tensor.dtype, list(tensor.shape), tensor.data
    is_counter = dtype == "I64" and what.endswith(COUNTER)
    if dtype not in DTYPES and not is_counter:
        raise ExportError(f"{what} must be F32, F64, F16 or BF16, got {dtype}")
    try:
        array = np.frombuffer(data, "<i8" if is_counter else DTYPES[dtype]).reshape(shape)
    except ValueError:  # too many axes, or too long ones next to one of length 0
        raise ExportError(
            f"{what} must have a shape supported by NumPy, got {list(shape)}"
        ) from None
    if is_counter:
        return array.astype(np.int64)
    if dtype == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ExportError(f"{what} must be finite as float32, got NaN or infinity")
    return array


class _Wanted:
    """Expected tensors of a layer, in PyTorch's layout."""

    def __init__(self, name: str, layer: Layer) -> None:
        self.name = name
        arrays = {**layer.params, **layer.buffers}
        self.table = getattr(layer, "connection_table", None)
        if isinstance(layer, Conv2d):
            arrays["weight"] = layer.dense_weight
        self.shapes = {leaf: array.shape for leaf, array in arrays.items()}
        # Missing ones are equivalent to zeros.
        self.optional = {COUNTER} if isinstance(layer, (BatchNorm1d, BatchNorm2d)) else {"bias"}

    def __str__(self) -> str:
        return _join(f"{leaf} {shape}" for leaf, shape in self.shapes.items() if leaf != COUNTER)

    def difference(self, tensors: Tensors) -> tuple[str, str] | None:
        """Return a description of a mismatch of a tensor, to follow its name, else None."""
        for leaf in sorted(self.shapes.keys() - self.optional - tensors.keys()):
            return leaf, f"must exist for {self.name}, got none"
        for leaf in sorted(tensors.keys() - self.shapes.keys()):
            return leaf, f"must not exist for {self.name}, which has {self}, got one"
        for leaf, array in sorted(tensors.items()):
            if array.shape != self.shapes[leaf]:
                shape = self.shapes[leaf]
                return leaf, f"must have shape {shape} for {self.name}, got {array.shape}"
        return None

    def values(self, path: object, module: str, tensors: Tensors) -> Tensors:
        """Return the arrays in the format of the layer."""
        values = {leaf: np.zeros(shape, np.float32) for leaf, shape in self.shapes.items()}
        values |= tensors
        if self.table is not None:
            if values["weight"][~self.table.T].any():
                raise ExportError(
                    f"{path}: {module}.weight must be 0 where the connection table of {self.name} "
                    "connects no maps, got other values; use a model without the table"
                )
            values["weight"] = values["weight"][self.table.T]
        return values


def _match(
    path: object, layers: dict[str, _Wanted], found: Modules, names: dict[str, str]
) -> dict[str, str]:
    """Match layers with modules of the file: by `names`, by equal names, by kinds and shapes."""
    for name, module in names.items():
        if name not in layers:
            raise ExportError(
                f"names must refer to layers with weights, {_join(layers)}, got {name!r}"
            )
        if module not in found:
            raise ExportError(
                f"names must map {name} to a layer of {path}, {_list_first(found)}, got {module!r}"
            )
        if list(names.values()).count(module) > 1:
            raise ExportError(f"names must map each layer to a different one, got {module!r} twice")
    pairs = dict(names)
    prefix = _common_prefix(layers.keys() - names.keys(), found)
    if prefix is not None:
        pairs |= {name: prefix + name for name in layers if name not in pairs}
    for name, module in pairs.items():
        if difference := layers[name].difference(found[module]):
            leaf, problem = difference
            raise ExportError(f"{path}: {module}.{leaf} {problem}")
    if prefix is None:
        _match_by_shape(path, layers, found, pairs)
    left = {module: found[module] for module in found if module not in pairs.values()}
    if left:
        raise ExportError(
            f"{path} must have only the tensors of the model, got {_list_first(left)}; it "
            "belongs to another net"
        )
    return {name: pairs[name] for name in layers}


def _common_prefix(names: Iterable[str], found: Modules) -> str | None:
    """Return the prefix of the model's names in the file, such as 'module.', if any."""
    first = min(names, default="")
    prefixes = [m.removesuffix(first) for m in sorted(found) if f".{m}".endswith(f".{first}")]
    return next((p for p in prefixes if all(p + name in found for name in names)), None)


def _match_by_shape(
    path: object, layers: dict[str, _Wanted], found: Modules, pairs: dict[str, str]
) -> None:
    """Add to `pairs` the layers identified by shapes and by numbers in their names."""
    free = [module for module in found if module not in pairs.values()]
    for name, wanted in layers.items():
        if name in pairs:
            continue
        counterparts = [n for n in layers if n not in pairs and layers[n].shapes == wanted.shapes]
        fitting = [module for module in free if wanted.difference(found[module]) is None]
        if len(fitting) != len(counterparts):
            raise ExportError(
                f"{path} must have {len(counterparts)} layers with {wanted}, like the model "
                f"({_join(counterparts)}), got {len(fitting)} ({_join(fitting)}) among "
                f"{_list_first(found)}; pass names to map them, or use a model with the same shapes"
            )
        if len({re.sub(r"\d+", "#", module) for module in fitting}) > 1:
            raise ExportError(
                f"{path} must have names that identify the layers of equal shape, "
                f"{_join(counterparts)}, got {_join(fitting)}; pass names, such as "
                f"{counterparts[0]}={fitting[0]}"
            )
        fitting.sort(key=lambda module: [int(digits) for digits in re.findall(r"\d+", module)])
        pairs |= zip(counterparts, fitting, strict=True)


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _list_first(modules: Modules) -> str:
    """Return the first few names and shapes."""
    names = (
        f"{module}.{leaf}".lstrip(".") + f" {array.shape}"
        for module, tensors in sorted(modules.items())
        for leaf, array in sorted(tensors.items())
        if leaf != COUNTER
    )
    return list_some(names, MAX_LISTED) or "nothing"
