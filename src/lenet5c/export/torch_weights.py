"""Weights with PyTorch's names and layout, stored as safetensors, never as pickles."""

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
# What a state_dict of floats may hold; all but the counter become float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Bytes of names and shapes before the values of a file; those of such nets take a few kilobytes.
LARGEST_HEADER = 1 << 20
MOST_LISTED = 12


def torch_state(model: Sequential | TrainedModel) -> dict[str, np.ndarray]:
    """Return parameters and buffers as PyTorch's ``state_dict`` of the same model has them.

    Parameters
    ----------
    model : lenet5c.nn.Sequential or TrainedModel

    Returns
    -------
    dict of str to ndarray
        Those of `state_dict`; weights of a convolution with a connection table are dense, with
        zeros.

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

    `torch_source` writes that model. The temperature of a `TrainedModel` is in the metadata.

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
    """Load weights of the same model from PyTorch, out of a safetensors file.

    Names need not be ours: ``conv1.weight``, ``module.conv1.weight``, ``features.0.weight`` and
    ``0.weight`` are all understood where kinds and shapes tell which layer is which; layers of
    equal shape are matched in the order of the numbers in their names. float64, float16 and
    bfloat16 become float32. A layer without bias there has a bias of 0 here, and a batch
    normalization may lack its counter.

    Parameters
    ----------
    path : str or path-like
    model : lenet5c.nn.Sequential
        Is given the weights; unchanged if anything does not fit.
    names : dict of str to str, optional
        For layers of ours, such as 'conv1', the name in the file, such as 'features.0'; those not
        named are found.

    Returns
    -------
    dict of str to str
        Name in the file of each layer.

    Raises
    ------
    FileNotFoundError
    ExportError
        If the file is not a safetensors file, or its tensors do not fit; the message names them,
        with their shapes.

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
    tensors.pop(MEAN_IMAGE, None)  # of `to_torch`, and no part of the model
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
        Has the same model, and all that is not in the file: preparation, class names, image shape.
        It stays as it is. Its temperature, fitted for other weights, is not taken.
    names : dict of str to str, optional
        As of `load_torch`.

    Returns
    -------
    TrainedModel

    Raises
    ------
    FileNotFoundError, ExportError
        As `load_torch` does.
    """
    model = deepcopy(like.model)
    load_torch(path, model, names)
    return replace(like, model=model, temperature=1.0, path=None)


def read_torch(path: str | PathLike[str], expected_bytes: int) -> dict[str, np.ndarray]:
    """Read a safetensors file of at most about `expected_bytes`, as float32; counters as int64."""
    path, most = check_path("path", path), 2 * expected_bytes + LARGEST_HEADER  # for float64
    with name_errors(path), _open(path) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(8)
        # A zip archive, or a bare pickle.
        if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise ExportError(
                f"{path} must be a safetensors file, got a pickle, which could run code and is "
                f"never read here; convert it where you trust it: {_conversion(path)}"
            )
        if size > most:
            raise ExportError(
                f"{path} must have at most {expected_bytes:,} bytes of weights, as the model has, "
                f"got {size:,} bytes; it belongs to another net"
            )
        if (header := int.from_bytes(head, "little")) > LARGEST_HEADER:
            raise ExportError(
                f"{path} must be a safetensors file with a header of at most {LARGEST_HEADER:,} "
                f"bytes, got {header:,}; save it again or name another file"
            )
        content = head + file.read(most)
    try:
        tensors, _ = safetensors.unpack(content, LARGEST_HEADER)
    except ValueError as error:
        raise ExportError(
            f"{path} must be a safetensors file, got a file that cannot be read ({error}); save it "
            "again or name another file"
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
    """Tensors of a layer of ours, in PyTorch's layout."""

    def __init__(self, name: str, layer: Layer) -> None:
        self.name = name
        arrays = {**layer.params, **layer.buffers}
        self.table = getattr(layer, "connection_table", None)
        if isinstance(layer, Conv2d):
            arrays["weight"] = layer.dense_weight
        self.shapes = {leaf: array.shape for leaf, array in arrays.items()}
        # Where they are missing, zeros mean the same.
        self.optional = {COUNTER} if isinstance(layer, (BatchNorm1d, BatchNorm2d)) else {"bias"}

    def __str__(self) -> str:
        return _join(f"{leaf} {shape}" for leaf, shape in self.shapes.items() if leaf != COUNTER)

    def difference(self, tensors: Tensors) -> tuple[str, str] | None:
        """Return what a tensor must be and is, after its name, where it does not fit; else None."""
        for leaf in sorted(self.shapes.keys() - self.optional - tensors.keys()):
            return leaf, f"must be there for {self.name}, got none"
        for leaf in sorted(tensors.keys() - self.shapes.keys()):
            return leaf, f"must not be there for {self.name}, which has {self}, got one"
        for leaf, array in sorted(tensors.items()):
            if array.shape != self.shapes[leaf]:
                shape = self.shapes[leaf]
                return leaf, f"must have shape {shape} for {self.name}, got {array.shape}"
        return None

    def values(self, path: object, module: str, tensors: Tensors) -> Tensors:
        """Return the arrays as our layer has them."""
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
    """Pair layers with modules of the file: by `names`, by equal names, by kinds and shapes."""
    for name, module in names.items():
        if name not in layers:
            raise ExportError(
                f"names must refer to layers with weights, {_join(layers)}, got {name!r}"
            )
        if module not in found:
            raise ExportError(
                f"names must give {name} a layer of {path}, got {module!r}; "
                f"it has {_list_first(found)}"
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
            f"{path} must have no tensors other than the model's, got {_list_first(left)}; it "
            "belongs to another net"
        )
    return {name: pairs[name] for name in layers}


def _common_prefix(names: Iterable[str], found: Modules) -> str | None:
    """Return what precedes all of our names in the file, such as '' or 'module.', if it exists."""
    first = min(names, default="")
    prefixes = [m.removesuffix(first) for m in sorted(found) if f".{m}".endswith(f".{first}")]
    return next((p for p in prefixes if all(p + name in found for name in names)), None)


def _match_by_shape(
    path: object, layers: dict[str, _Wanted], found: Modules, pairs: dict[str, str]
) -> None:
    """Add to `pairs` the layers whose shapes, and numbers in their names, tell which is which."""
    free = [module for module in found if module not in pairs.values()]
    for name, wanted in layers.items():
        if name in pairs:
            continue
        twins = [n for n in layers if n not in pairs and layers[n].shapes == wanted.shapes]
        fitting = [module for module in free if wanted.difference(found[module]) is None]
        if len(fitting) != len(twins):
            raise ExportError(
                f"{path} must have as many layers with {wanted} as the model, {len(twins)} "
                f"({_join(twins)}), got {len(fitting)} ({_join(fitting)}) among "
                f"{_list_first(found)}; pass names to map them, or use a model with the same shapes"
            )
        if len({re.sub(r"\d+", "#", module) for module in fitting}) > 1:
            raise ExportError(
                f"{path} must have names that identify the layers of equal shape as "
                f"{_join(twins)}, got {_join(fitting)}; pass names, such as {twins[0]}={fitting[0]}"
            )
        fitting.sort(key=lambda module: [int(digits) for digits in re.findall(r"\d+", module)])
        pairs |= zip(twins, fitting, strict=True)


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)


def _list_first(modules: Modules) -> str:
    """Return names and shapes, the first few."""
    names = (
        f"{module}.{leaf}".lstrip(".") + f" {array.shape}"
        for module, tensors in sorted(modules.items())
        for leaf, array in sorted(tensors.items())
        if leaf != COUNTER
    )
    return list_some(names, MOST_LISTED) or "nothing"
