"""Configuration of a run: recipe, data, seed, threads and folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from os import fspath
from pathlib import Path
from typing import Any, Self

import numpy as np

import lenet5c
from lenet5c.datasets import Dataset, Source
from lenet5c.datasets.dataset import READINGS
from lenet5c.datasets.folds import assign_folds, take_fold
from lenet5c.datasets.records import ReadOptions, is_shape
from lenet5c.datasets.source import NAMES, OnMessage, open_source, open_whole, source_name
from lenet5c.errors import RunError
from lenet5c.nn import Sequential
from lenet5c.nn import kind as kinds
from lenet5c.nn.kind import ANY, FLAG, TEXT, Kind, choice, plain, whole
from lenet5c.recipes import by_images
from lenet5c.recipes.named import RECIPES, recipe
from lenet5c.recipes.net_settings import NET_SETTINGS, net_options
from lenet5c.recipes.option_words import distortion_name, option_words
from lenet5c.recipes.recipe import Recipe
from lenet5c.recipes.setting import DATA, RUN, Setting, declare, document, run, settings
from lenet5c.recipes.start import OF_START, read_model_digest, start_name, take_net
from lenet5c.recipes.teachers import check_taught, check_teaching
from lenet5c.training import TrainedModel, Trainer, open_model
from lenet5c.training.model_file import BEST
from lenet5c.training.run_folder import RunFolder

NOTHING = "none"  # no data to rehearse


@document
@dataclass(frozen=True)
class RunConfig:
    """Configuration of a run: recipe, data, seed, and folder for the results.

    `settings` is a `Recipe`, by default the one named by `recipe`; use `RunConfig.named` to change
    single settings. `lenet5c` is the version. The digests identify the data, the initial
    model and the teacher once these are loaded. config.json contains everything except folder and
    threads.
    """

    recipe: str = run(
        "default",
        choice(RECIPES, "R"),
        "named configuration, see lenet5c recipes",
        default_text="default; small-color for images in color or of more than 48 pixels per side; "
        "finetune "
        "with --from",
    )
    seed: int = run(0, whole(0), "random seed of weights, split, order and augmentation")
    folder: Path | None = declare(None, ANY, "folder for the results; None writes nothing")
    threads: int | None = declare(
        None, whole(1, 1024, optional=True), "number of threads; has no effect on the result"
    )
    folds: int | None = run(
        None,
        whole(2, 1000, optional=True),
        "number of folds for cross-validation: train N times, each time without one fold",
    )
    fold: int | None = declare(
        None, whole(1, optional=True), "index of the test fold in a cross-validation"
    )
    watch_test: bool = run(
        False, FLAG, "also record the test accuracy after each epoch; has no effect on the result"
    )
    data: str = declare(
        "mnist",
        replace(TEXT, metavar="NAME_OR_PATH"),
        "folder with a subfolder of images for each class, optionally within train/ and test/; "
        "CSV, Parquet, NumPy or MATLAB file, or a folder of these or of IDX files; zip or tar of "
        "these; or a name listed by lenet5c data list",
        DATA,
    )
    skip_bad: bool = declare(False, FLAG, "skip images that cannot be read", DATA)
    transpose: bool | None = declare(
        None,
        replace(FLAG, optional=True),
        "transpose the images",
        DATA,
        "only IDX files named like EMNIST's",
    )
    follow_links: bool = declare(
        False, FLAG, "follow links in a folder of images, to files and folders anywhere", DATA
    )
    label_column: str | None = declare(
        None,
        replace(TEXT, metavar="NAME_OR_NUMBER", optional=True),
        "label column of a table: its name, or its position from 0, -1 for the last",
        DATA,
        "by names and values",
    )
    image_shape: str | None = declare(
        None,
        Kind("HxW or CxHxW, such as 28x20", is_shape, metavar="HxW", optional=True),
        "shape of images stored as rows of values; for color, CxHxW or HxWxC",
        DATA,
        "a square",
    )
    reading: str | None = declare(
        None,
        choice(READINGS, "METHOD", optional=True),
        "how predict prepares a picture: ink, crop and center the strokes on black like the digits "
        "of MNIST; whole, use the entire picture",
        DATA,
        "depends on the data",
    )
    start: str | None = declare(
        None,
        replace(TEXT, metavar="MODEL", optional=True),
        "initial model: a model file, the folder of a run, or best, the model included in lenet5c",
        RUN,
        "none",
        named="from",
    )
    freeze: list[str] = run(
        [],
        replace(kinds.NAMES, metavar="LAYERS"),
        "layers to freeze, such as conv1 conv2 or conv1,conv2",
    )
    rehearse: str | None = declare(
        None,
        replace(TEXT, metavar="NAME_OR_PATH", optional=True),
        "earlier training data of the model, mixed in to prevent forgetting; or none",
        DATA,
        "mnist with --from best if the classes are the same, else none",
    )
    taught_by: str | None = declare(
        None,
        replace(TEXT, metavar="MODEL", optional=True),
        "teacher model, such as an ensemble, whose probabilities are the targets",
        RUN,
        "none",
    )
    settings: Recipe = None  # type: ignore[assignment]  # by name
    lenet5c: str = lenet5c.__version__
    data_digest: str | None = None
    start_digest: str | None = None
    taught_by_digest: str | None = None
    #: Changes of a recipe that is selected later by the images, None if it is selected.
    asked: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, setting in settings(self).items():
            object.__setattr__(self, name, plain(getattr(self, name)))
            setting.kind.check(name, getattr(self, name))
        for name in ("rehearse", "start_digest"):
            if self.start is None and (value := getattr(self, name)) is not None:
                raise ValueError(f"{name} must be None without an initial model, got {value!r}")
        if self.fold is not None and self.fold > (self.folds or 0):
            raise ValueError(
                f"fold must be at most {self.folds}, the number of folds, got {self.fold}"
            )
        if self.settings is None:
            object.__setattr__(self, "settings", RECIPES[self.recipe])
        check_taught(self)

    @classmethod
    def named(cls, name: str | None = None, **changes: Any) -> Self:
        """Return a run of the recipe with this name, with some settings changed.

        Parameters
        ----------
        name : str, optional
            One of `lenet5c.recipes.RECIPES`. Default: 'finetune' with an initial model, else
            selected by the images, see `choose_recipe`.
        **changes
            Fields of a `RunConfig`, or changes of the recipe, see `Recipe.change`.

        Raises
        ------
        ValueError
            If a value is out of range; `DatasetError` if there is no such data, `RunError` if there
            is no such model.
        TypeError
            If there is no such field.

        Examples
        --------
        >>> from lenet5c.recipes import RunConfig
        >>> config = RunConfig.named("fast", seed=3, epochs=4, pooling="max")
        >>> config.command()
        'lenet5c train --recipe fast --seed 3 --epochs 4 --pooling max'
        """
        own = {each.name for each in fields(cls)} - {"asked"}
        of_run = {key: value for key, value in changes.items() if key in own}
        if "data" in of_run:
            of_run["data"] = source_name(fspath(of_run["data"]), "data")
        of_recipe = {key: value for key, value in changes.items() if key not in own}
        model = of_run.get("start")
        if of_run.get("taught_by") is not None:
            of_run["taught_by"] = start_name(of_run["taught_by"])
            of_recipe = {"label_smoothing": 0.0} | of_recipe
        if name is None and model is None and not {"net", "preparation"} & of_recipe.keys():
            of_run["asked"] = of_recipe
        name = name or ("default" if model is None else "finetune")
        settings = recipe(name, **of_recipe)
        check_teaching(of_recipe, settings, of_run.get("taught_by"))
        if of_run.get("rehearse") not in (None, NOTHING):
            of_run["rehearse"] = source_name(fspath(of_run["rehearse"]), "rehearse")
        if model is not None:
            of_run["start"] = start_name(model)
            settings = take_net(settings, open_model(model), get_start_settings(of_recipe))
        return cls(name, settings=settings, **of_run)

    def choose_recipe(self, dataset: Dataset, on_message: OnMessage | None = None) -> Self:
        """Return the run with the default recipe for the images, if none was selected.

        This is 'small-color' for images in color or of more than 48 pixels per side, unless a net
        or a preparation was selected, and 'default' for others.
        """
        if self.asked is None or (name := by_images.choose_recipe(dataset.images)) == "default":
            return replace(self, asked=None)
        if on_message:
            on_message(f"{self.data}: {by_images.describe_choice(dataset)}")
        try:
            return replace(self, recipe=name, settings=recipe(name, **self.asked), asked=None)
        except ValueError as error:
            raise RunError(f"{error}; or use --recipe default") from None

    @classmethod
    def read(cls, folder: RunFolder) -> Self:
        """Return the configuration of the run in a folder.

        Raises
        ------
        RunError
            If there is none, or it is invalid.
        """
        values = folder.read_config()
        try:
            return cls.from_dict(values, folder.path)
        except ValueError as error:
            raise RunError(
                f"{folder.config_file} must be the configuration of a run: {error}; start a new "
                f"run in another folder"
            ) from None

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: str | Path | None = None) -> Self:
        """Create a configuration from the dict returned by `to_dict`, which is checked.

        Raises
        ------
        ValueError
            If a setting is missing, unknown or out of range.
        """
        names = cls._stored()
        for name in names:
            if name not in values:
                raise ValueError(f"configuration lacks the setting {name}")
        own = {name: values[name] for name in names}
        rest = {name: value for name, value in values.items() if name not in names}
        return cls(**own, settings=Recipe.from_dict(rest), folder=Path(folder) if folder else None)

    @classmethod
    def _stored(cls) -> list[str]:
        left_out = ("folder", "threads", "settings", "asked")
        return [each.name for each in fields(cls) if each.name not in left_out]

    def to_dict(self) -> dict[str, Any]:
        """Return all settings except folder and threads, for JSON."""
        return {name: getattr(self, name) for name in self._stored()} | self.settings.to_dict()

    @property
    def read_options(self) -> ReadOptions:
        """Settings for reading the data."""
        own = (each.name for each in fields(ReadOptions) if hasattr(self, each.name))
        return ReadOptions(**{name: getattr(self, name) for name in own})

    def open(self, on_message: OnMessage | None = None) -> Source:
        """Return the data.

        Parameters
        ----------
        on_message : callable, optional
            Called with lines of text about downloads and the data.

        Raises
        ------
        FileNotFoundError
        DatasetError
            If the data cannot be read.
        """
        if self.fold is not None and self.folds:
            source = self.open_whole(on_message)
            return take_fold(source, assign_folds(source.train, self.folds, self.seed), self.fold)
        return self._open(open_source, on_message)

    def open_whole(self, on_message: OnMessage | None = None) -> Source:
        """Return the data to divide into folds; see `open`."""
        return self._open(open_whole, on_message)

    def _open(self, reader: Callable[..., Source], on_message: OnMessage | None) -> Source:
        on_message = on_message or (lambda line: None)
        source = reader(self.data, self.read_options, reading=self.reading, on_message=on_message)
        for note in source.notes:
            on_message(f"{self.data}: {note}")
        return source

    def open_start(self) -> TrainedModel | None:
        """Return the initial model, from the copy in the folder if there is one.

        Raises
        ------
        RunError
            If there is no such model, or it is not the one with which the run started.
        """
        return self._open_model("start", "start_file")

    def open_teacher(self) -> TrainedModel | None:
        """Return the teacher model; see `open_start`."""
        return self._open_model("taught_by", "teacher_file")

    def _open_model(self, name: str, copied: str) -> TrainedModel | None:
        model = getattr(self, name)
        if model is None:
            return None
        copy = None if self.folder is None else getattr(RunFolder(self.folder), copied)
        trained = open_model(copy if copy is not None and copy.is_file() else model)
        if getattr(self, f"{name}_digest") not in (None, read_model_digest(trained)):
            raise RunError(
                f"{name} must be the model with which the run in {self.folder} started, got "
                f"a different one in {trained.path}; restore it, or start a new run"
            )
        return trained

    def open_rehearsed(
        self, source: Source | Dataset, on_message: OnMessage | None = None
    ) -> Source | None:
        """Return the data to mix in, None for none."""
        name = self.rehearse or ("mnist" if self.start == BEST else NOTHING)
        if name == NOTHING:
            return None
        opened = open_source(name, on_message=on_message)
        train_set = source if isinstance(source, Dataset) else source.train
        return None if np.array_equal(opened.train.labels, train_set.labels) else opened

    def build(
        self,
        source: Source | Dataset,
        start: TrainedModel | None = None,
        rehearsed: Dataset | None = None,
        net: Sequential | None = None,
        teachers: Sequence[TrainedModel] | None = None,
    ) -> tuple[Trainer, TrainedModel]:
        """Return a `Trainer` for this data, and the `TrainedModel` that it trains.

        Parameters
        ----------
        source, start, rehearsed, net, teachers
            See `Recipe.build`.

        Raises
        ------
        ValueError
            If the data does not match the recipe, or `batch_size` was changed to more than the
            number of training images. The default of a recipe may be larger.
        """
        if self.folds and self.fold is None:
            raise ValueError(
                f"folds must be None for a single training, got {self.folds}; use "
                "lenet5c.recipes.cross_validate"
            )
        if teachers is None and (teacher := self.open_teacher()):
            teachers = [teacher]
        trainer, trained = self.settings.build(
            source, self.seed, start, self.freeze, rehearsed, net, teachers
        )
        given, count = self.settings.batch_size, len(trainer.train_set)
        if count < given != RECIPES[self.recipe].batch_size:
            raise ValueError(
                f"batch_size must be at most {count}, the number of training images, got {given}; "
                f"use a "
                "smaller value, or omit it"
            )
        return trainer, trained

    def get(self, name: str) -> Any:
        """Return a setting of the run, its recipe or its net by option name."""
        for owner in (self, self.settings):
            if hasattr(owner, name):
                return getattr(owner, name)
        options = net_options(self.settings.net)
        default = options[name].default if name in options else None
        return self.settings.model.get(name, default)

    def changes(self) -> dict[str, Any]:
        """Return the settings that define this run, by option name."""
        default = RunConfig(self.recipe)
        # Another net has its own options.
        of_net = replace(default, settings=default.settings.change(net=self.settings.net))
        found = {}
        for name, setting in option_settings().items():
            if self.start and name in {*OF_START, *NET_SETTINGS} - {"dropout"}:
                continue
            value = self.get(name)
            before = (of_net if name in NET_SETTINGS else default).get(name)
            changed = value != before and (value is not None or name == "distortion")
            # The recipe is included, because its default depends on the data.
            chosen = name == "recipe" and (value != "default" or self.data not in NAMES)
            if name == "seed" or (chosen and self.asked is None) or changed:
                value = distortion_name(value) if name == "distortion" else value
                found[setting.named or name] = value
        return found

    def options(self) -> list[str]:
        """Return the options of ``lenet5c train`` for this run, without its folder."""
        changes, words = self.changes(), []
        for name, setting in option_settings().items():
            if (key := setting.named or name) in changes:
                words += option_words(name, setting, changes[key])
        return words

    def command(self) -> str:
        """Return the command that repeats the run."""
        import shlex

        return shlex.join(["lenet5c", "train", *self.options()])

    def differing(self, given: dict[str, Any]) -> tuple[str, object, object] | None:
        """Return the first of some settings that differs from this run, with both values."""
        for name, value in given.items():
            here = self.get(name)
            if name == "distortion":
                here, value = distortion_name(here), distortion_name(value)
            if value != here:
                return name, here, value
        return None


def option_settings() -> dict[str, Setting]:
    """Return all settings of runs, recipes and nets that have an option, by name."""
    every = settings(RunConfig) | settings(Recipe) | NET_SETTINGS
    return {name: setting for name, setting in every.items() if setting.group}


def get_start_settings(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are determined by an initial model."""
    return {key: changes[key] for key in (*OF_START, *NET_SETTINGS) if key in changes}
