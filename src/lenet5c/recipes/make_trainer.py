"""A trainer by a recipe, in one call."""

from dataclasses import replace
from os import PathLike, fspath
from typing import Any

from numpy.typing import ArrayLike

from lenet5c.datasets import Dataset, Source, make_dataset
from lenet5c.datasets.source import open_source, source_name
from lenet5c.nn import Sequential
from lenet5c.recipes.recipe import Recipe
from lenet5c.recipes.run_config import NOTHING, RunConfig, settings_of_start
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
    """Return a trainer by a recipe, in one call; also there as ``lenet5c.trainer``.

    Parameters
    ----------
    name : str, optional
        Of a recipe. By default 'finetune' with a model to start from, else that of the images:
        'small-color' where they are in color or of more than 48 pixels a side, or 'default'.
    data : str, Path, Source, Dataset or tuple of array_like
        As option --data of ``lenet5c train`` has it, or images in memory: a tuple of images,
        labels and perhaps weights is what `lenet5c.datasets.make_dataset` takes.
    seed : int
        Random seed of weights, split, order and augmentation.
    start : TrainedModel, str or path-like, optional
        A model to start from, or 'best', a model file or the folder of a run. Its net and the
        preparation of its images take the place of the recipe's; its last layer is kept where it
        knows the classes of the data, by name.
    rehearse : str, Path, Source or Dataset, optional
        Data that the start model was trained on, mixed in so that it does not forget them.
        Default: MNIST for 'best', else 'none'.
    taught_by : TrainedModel, str or path-like, optional
        A model whose probabilities for the augmented images are the targets; see `distill`.
    **changes
        ``freeze=("conv1", "conv2")``, the layers whose weights stay as they are; and fields of the
        recipe, as for `recipe`: ``epochs=4``, ``validation=0.1``, ... ``net=model`` trains this
        very `lenet5c.nn.Sequential`; a description of a net, as of `lenet5c.nn.describe`, is made
        into one whose weights follow from the seed.

    Returns
    -------
    lenet5c.training.Trainer
        Its `fit` trains; its `trained` is then the model to use, as
        `lenet5c.training.TrainedModel`.

    Raises
    ------
    ValueError
        There is no such recipe, a value is out of range, or the data does not fit; of unusable
        data a DatasetError, of an unusable model a RunError.

    Examples
    --------
    >>> import lenet5c
    >>> trainer = lenet5c.trainer("fast", epochs=1, train_size=2000)
    >>> history = trainer.fit(progress=False)
    >>> train, test = lenet5c.datasets.mnist()
    >>> trainer.trained.probabilities(test.images[:3]).shape
    (3, 10)

    From the model in the package on, with samples of another hand:

    >>> slanted = train.take(range(200))
    >>> tuner = lenet5c.trainer(data=slanted, start="best", freeze=["conv1"], epochs=1)
    >>> history = tuner.fit(progress=False)
    >>> tuner.trained.class_names == train.class_names
    True
    """
    named: dict[str, Any] = {"data": data} if isinstance(data, (str, PathLike)) else {}
    if isinstance(data, tuple):
        data = make_dataset(*data)  # type: ignore[arg-type]  # of a tuple any length
    if isinstance(start, TrainedModel):  # a config names files alone
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
        take_net(config.settings, start, settings_of_start(changes))  # raises unless they fit
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
    """Return a trainer of one net on what a model predicts; also there as ``lenet5c.distill``.

    The targets are the teacher's probabilities for each image as the net sees it, augmented. That
    is knowledge distillation [1]_, with a teacher that is consistent [2]_.

    Parameters
    ----------
    teacher : TrainedModel, str or path-like
        An ensemble, as `lenet5c.training.make_ensemble` makes it, or any other model with the
        classes of the data: a model file, the folder of a run, or 'best'.
    name, data, seed
        As of `trainer`.
    temperature : float
        The teacher's logits are divided by it; above 1 it makes unlikely classes count more. Those
        of an ensemble are the logarithms of its probabilities. The model's own has no effect.
    weight : float
        Share of these probabilities in the targets, more than 0, at most 1; the rest is the label.
    **changes
        As of `trainer`. Label smoothing is 0.

    Returns
    -------
    lenet5c.training.Trainer

    Raises
    ------
    ValueError
        As of `trainer`; the data are augmented by mixup, or the net takes images of another size
        than the teacher, which cannot be padded or cropped to it.
    RunError
        There is no such model, or it has other classes.

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
    """Return the data to mix in, by name; None for none, and where it is trained on anyway."""
    name = fspath(rehearse)
    if name == NOTHING or rehearse == data:
        return None
    return open_source(source_name(name, "rehearse"))
