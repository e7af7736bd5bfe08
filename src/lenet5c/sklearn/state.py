"""State of pickled estimators: parameters and arrays, without compiled objects."""

from typing import Any

from lenet5c.datasets import Preparation
from lenet5c.nn import describe
from lenet5c.recipes import Recipe
from lenet5c.recipes.build import make_optimizer
from lenet5c.training import TrainedModel
from lenet5c.training.model_file import build_net

VERSION, KEY = 1, "_lenet5c_state"


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimator, with model and optimizer as arrays."""
    trained, optimizer = state.get("trained_"), state.get("optimizer_")
    if trained is not None and optimizer is not None:
        state["trained_"] = {
            "net": describe(trained.model),
            "arrays": trained.model.state_dict(),
            "random": {
                name: each.rng_state for name, each in trained.model.random_layers().items()
            },
            "preparation": trained.preparation.to_dict(),
            "mean_image": trained.preparation.mean_image,
            "class_names": trained.class_names,
            "image_shape": trained.image_shape,
            "reading": trained.reading,
            "framing": trained.framing,
            "temperature": trained.temperature,
        }
        state["optimizer_"] = optimizer.state_dict()
    return state | {KEY: VERSION}


def unpack(state: dict[str, Any], owner: str) -> dict[str, Any]:
    """Restore the attributes passed to `pack`."""
    state = dict(state)
    version = state.pop(KEY, None)
    if version != VERSION:
        raise ValueError(
            f"state of this {owner} must have version {VERSION}, got {version!r}, because it was "
            f"pickled "
            f"by another version of lenet5c; fit it again, or store models with "
            f"lenet5c.training.save_model"
        )
    packed = state.get("trained_")
    if isinstance(packed, dict):
        model = build_net(packed["net"])
        model.load_state_dict(packed["arrays"])
        for name, layer in model.random_layers().items():
            layer.rng_state = packed["random"][name]
        preparation = Preparation.from_dict(packed["preparation"], packed["mean_image"])
        names = ("class_names", "image_shape", "reading", "framing", "temperature")
        others = {name: packed[name] for name in names}
        state["trained_"] = TrainedModel(model, preparation, **others)
        optimizer = make_optimizer(Recipe.from_dict(state["recipe_"]), model)
        optimizer.load_state_dict(state["optimizer_"])
        state["optimizer_"] = optimizer
    return state
