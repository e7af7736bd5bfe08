"""Creation of a trainer from a recipe, in one call."""

from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from numpy.typing import ArrayLike

from lenet5c.datasets import Dataset, Source, make_dataset
from lenet5c.datasets.source import open_source, source_name
from lenet5c.nn import Sequential
from lenet5c.recipes.recipe import Recipe
from lenet5c.recipes.run_config import NOTHING, RunConfig, get_start_settings
from lenet5c.recipes.start import take_net
from lenet5c.recipes.teachers import TEACHING
from lenet5c.training import TrainedModel, Trainer


def trainer(
    name: str | None = None,
    data: str | PathLike[str] | Source | Dataset | tuple[ArrayLike, ...] = "mnist",
    seed: int = 0,
    *,
    start: TrainedModel | str | PathLike[str] | None = None,
    rehearse: str | PathLike[str] | Source | Dataset | None = None,
    taught_by: TrainedModel | str | PathLike[str] | None = None,
    **changes: Any,
) -> Trainer:
    """Create a trainer from a recipe; also available as ``lenet5c.trainer``.

    Parameters
    ----------
    name : str, optional
        Name of a recipe. Default: 'finetune' with an initial model, 'small-color' for images
        in color or of more than 48 pixels per side, else 'default'.
    data : str, Path, Source, Dataset or tuple of array_like
        Data as for option --data of ``lenet5c train``, or images in memory; a tuple of images,
        labels and optionally weights is passed to `lenet5c.datasets.make_dataset`.
    seed : int
        Random seed of weights, split, order and augmentation.
    start : TrainedModel, str or path-like, optional
        Initial model: 'best', a model file or the folder of a run. Its net and preparation
        replace those of the recipe; its last layer is kept if it has the classes of the data, by
        name.
    rehearse : str, Path, Source or Dataset, optional
        Earlier training data of the start model, mixed in to prevent forgetting. Default: MNIST for
        'best', else 'none'.
    taught_by : TrainedModel, str or path-like, optional
        A teacher model, whose probabilities for the augmented images are the targets; see
        `distill`.
    **changes
        ``freeze=("conv1", "conv2")``, the layers to freeze; and fields of the recipe, see `recipe`:
        ``epochs=4``, ``validation=0.1``, ... ``net=model`` trains this `lenet5c.nn.Sequential`
        itself; a description of a net (see `lenet5c.nn.describe`) is built with weights drawn from
        the seed.

    Returns
    -------
    lenet5c.training.Trainer
        Call its `fit` to train; its `trained` is the resulting `lenet5c.training.TrainedModel`.

    Raises
    ------
    ValueError
        If there is no such recipe, a value is out of range, or the data does not match. Raises a
        DatasetError for invalid data and a RunError for an invalid model.

    Examples
    --------
    >>> import lenet5c
    >>> trainer = lenet5c.trainer("fast", epochs=1, train_size=2000)
    >>> history = trainer.fit(progress=False)
    >>> train, test = lenet5c.datasets.mnist()
    >>> trainer.trained.probabilities(test.images[:3]).shape
    (3, 10)

    Fine-tune the included model on samples of another handwriting:

    >>> slanted = train.take(range(200))
    >>> tuner = lenet5c.trainer(data=slanted, start="best", freeze=["conv1"], epochs=1)
    >>> history = tuner.fit(progress=False)
    >>> tuner.trained.class_names == train.class_names
    True
    """
    named: dict[str, Any] = {"data": data} if isinstance(data, (str, PathLike)) else {}
    if isinstance(data, tuple):
        data = make_dataset(*data)  # type: ignore[arg-type]  # a tuple of any length
    if isinstance(start, TrainedModel):  # a config only has file names
        name = name or "finetune"
        if isinstance(rehearse, (str, PathLike)):
            rehearse = _open(rehearse, data)
    else:
        named |= {"start": start}
        if isinstance(rehearse, (str, PathLike)):
            named["rehearse"] = rehearse
    teachers, teaching = None, {}
    if isinstance(taught_by, TrainedModel):
        teachers, changes = [taught_by], {"label_smoothing": 0.0} | changes
        teaching = {key: changes.pop(key) for key in TEACHING if key in changes}
    else:
        named["taught_by"] = taught_by
    config = RunConfig.named(name, seed=seed, **named, **changes)
    asked = None if config.asked is None else config.asked | teaching
    config = replace(config, settings=config.settings.change(**teaching), asked=asked)
    if isinstance(start, TrainedModel):
        take_net(config.settings, start, get_start_settings(changes))  # checks the settings
    source = config.open() if isinstance(data, (str, PathLike)) else data
    config = config.choose_recipe(source.train if isinstance(source, Source) else source)
    model = start if isinstance(start, TrainedModel) else config.open_start()
    mixed = rehearse if isinstance(rehearse, (Source, Dataset)) else config.open_rehearsed(source)
    if isinstance(mixed, Source):
        mixed = mixed.train
    net = changes.get("net")
    own = net if isinstance(net, Sequential) else None
    return config.build(source, model, mixed, own, teachers)[0]


def distill(
    teacher: TrainedModel | str | PathLike[str],
    name: str | None = None,
    data: str | PathLike[str] | Source | Dataset | tuple[ArrayLike, ...] = "mnist",
    seed: int = 0,
    *,
    temperature: float = Recipe.teaching_temperature,
    weight: float = Recipe.teaching_weight,
    **changes: Any,
) -> Trainer:
    """Create a trainer that distills a model into one net; also available as ``lenet5c.distill``.

    The targets are the teacher's probabilities for each augmented image: knowledge distillation
    [1]_ with a consistent teacher [2]_.

    Parameters
    ----------
    teacher : TrainedModel, str or path-like
        An ensemble (see `lenet5c.training.make_ensemble`) or any other model with the classes of
        the data: a model file, the folder of a run, or 'best'.
    name, data, seed
        See `trainer`.
    temperature : float
        Divisor of the teacher's logits; values above 1 give more weight to unlikely classes. The
        logits of an ensemble are the logarithms of its probabilities. The temperature of the model
        itself has no effect.
    weight : float
        Weight of these probabilities in the targets, greater than 0 and at most 1; the rest is the
        label.
    **changes
        See `trainer`. Label smoothing is 0.

    Returns
    -------
    lenet5c.training.Trainer

    Raises
    ------
    ValueError
        See `trainer`; also if mixup is used, or images cannot be padded or cropped to the input
        size of the teacher.
    RunError
        If there is no such model, or it has other classes.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015.
    .. [2] L. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
       CVPR 2022.

    Examples
    --------
    >>> import lenet5c
    >>> trainer = lenet5c.distill("best", "fast", train_size=2000)
    >>> history = trainer.fit(progress=False)
    >>> train, test = lenet5c.datasets.mnist()
    >>> bool((trainer.trained.predict(test.images) == test.labels).mean() > 0.8)
    True
    """
    changes |= {"teaching_temperature": temperature, "teaching_weight": weight}
    return trainer(name, data, seed, taught_by=teacher, **changes)


def _open(rehearse: str | PathLike[str], data: object) -> Source | None:
    """Return the name of the data to mix in; None for none, or if it is the training data."""
    name = fspath(rehearse)
    if name == NOTHING or rehearse == data:
        return None
    return open_source(source_name(name, "rehearse"))
