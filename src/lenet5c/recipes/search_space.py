"""Search spaces: ranges and choices of settings."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lenet5c._text import suggest
from lenet5c.errors import RunError
from lenet5c.nn.options import Option
from lenet5c.recipes.net_settings import NET_SETTINGS, net_options
from lenet5c.recipes.recipe import Recipe
from lenet5c.recipes.run_config import option_settings

#: Settings searched by default.
USUAL = ("lr", "weight_decay", "batch_size", "label_smoothing")


@dataclass(frozen=True)
class Span:
    """Range from `low` to `high`, of integers if both are, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Any, name: str) -> float:
        """Return the value of a trial."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        draw = trial.suggest_int if whole else trial.suggest_float
        return draw(name, self.low, self.high, log=self.log)

    def value(self, drawn: float) -> float:
        """Convert a value of the study."""
        return drawn

    def to_json(self) -> Any:
        """Return the range for JSON."""
        return {"low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Options:
    """A set of unordered values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Return the value of a trial."""
        return self.value(trial.suggest_categorical(name, tuple(map(_as_scalar, self.values))))

    def value(self, drawn: Any) -> Any:
        """Convert a value of the study, in which lists are stored as strings."""
        return next((each for each in self.values if _as_scalar(each) == drawn), drawn)

    def to_json(self) -> Any:
        """Return the values for JSON."""
        return list(self.values)


Space = Mapping[str, Span | Options]


def _as_scalar(value: Any) -> Any:
    """Return a value for the study, with lists as texts."""
    return "+".join(map(str, value)) or "none" if isinstance(value, list) else value


def default_space(recipe: Recipe, names: Sequence[str] = USUAL) -> dict[str, Span | Options]:
    """Return the default search space of settings, around the values of a recipe.

    Raises
    ------
    RunError
        If a setting has no default range.
    """
    known: dict[str, Span | Options] = {
        "lr": Span(recipe.lr / 10, recipe.lr * 10, log=True),
        "weight_decay": Span(1e-5, 1.0, log=True),
        "momentum": Span(0.5, 0.99),
        "batch_size": Options((16, 32, 64, 128, 256)),
        "label_smoothing": Span(0.0, 0.2),
        "distortion": Options(option_settings()["distortion"].kind.choices),
        "average": Options((0.0, 0.99, 0.999)),
        "epochs": Span(max(1, recipe.epochs // 2), 2 * recipe.epochs),
    }
    for name, option in net_options(recipe.net).items():
        if values := _default_values(option, recipe.model.get(name, option.default)):
            known[name] = values
    for name in names:
        if name not in known:
            raise RunError(
                f"search must have values for {name}, such as {name}=LOW:HIGH or {name}=A,B,C; "
                f"only "
                f"{', '.join(known)} have default ranges"
            )
    return {name: known[name] for name in names}


def _default_values(option: Option, present: Any) -> Span | Options | None:
    """Return the values of an option to try around the present one, None for none."""
    if isinstance(option.search, tuple):
        return Span(*option.search)
    if option.search is not None:
        return Options(tuple(option.search))
    if option.kind.choices:
        return Options(option.kind.choices)
    if isinstance(option.default, bool):
        return Options((False, True))
    if option.kind.several and present:  # maps or units: half and twice as many
        return Options(
            tuple([max(1, round(share * each)) for each in present] for share in (0.5, 1, 2))
        )
    return None


def read_space(
    recipe: Recipe, texts: Sequence[str], option: str = "--search", further: Sequence[str] = ()
) -> dict[str, Span | Options]:
    """Parse a search space from texts such as 'lr', 'lr=1e-4:1e-1:log', 'batch-size=16,32'.

    Parameters
    ----------
    recipe : Recipe
    texts : sequence of str
    option : str
        Name of the option, for messages.
    further : sequence of str
        Settings that may be named in addition to those of a recipe.

    Raises
    ------
    RunError
        If a text has another form, or its setting is unknown or repeated.
    """
    settings = option_settings()
    known = [name for name in (*further, *Recipe.settings(), *NET_SETTINGS) if name in settings]
    space: dict[str, Span | Options] = {}
    for text in texts:
        key, sign, values = text.partition("=")
        name = key.replace("-", "_")
        if name not in known:
            raise RunError(
                f"{option} must name settings of a recipe, got {key}{suggest(name, known)}"
            )
        if name in space:
            raise RunError(f"{option} must have each setting once, got {key} twice")
        if not sign:
            space |= default_space(recipe, [name])
            continue
        kind = settings[name].kind
        try:
            if ":" in values:
                low, high, *log = values.split(":")
                if log not in ([], ["log"]):
                    raise ValueError
                space[name] = Span(_number(low), _number(high), bool(log))
            else:
                space[name] = Options(tuple(kind.read(value) for value in values.split(",")))
        except ValueError as error:
            raise RunError(
                f"{option} must be NAME, NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C, got {text}"
                + (f": {name} {error}" if str(error) else "")
            ) from None
        found = space[name]
        if isinstance(found, Options):
            each = list(found.values)
            if any(value in each[:i] for i, value in enumerate(each)):
                raise RunError(f"{option} must have different values, got {text}")
        if isinstance(found, Span):
            for end in (found.low, found.high):
                if not kind.accepts(end):
                    raise RunError(f"{name} must be {kind.form}, got {end:g} in {text}")
            if found.low >= found.high or (found.log and found.low <= 0):
                least = "0 < LOW < HIGH" if found.log else "LOW < HIGH"
                raise RunError(f"{option} must have {least}, got {text}")
    return space


def _number(text: str) -> float:
    with suppress(ValueError):
        return int(text)
    if not math.isfinite(value := float(text)):
        raise ValueError
    return value


def check_space(recipe: Recipe, space: Space) -> None:
    """Raise a RunError unless both ends of each range are valid for the recipe."""
    for name, each in space.items():
        ends = each.values if isinstance(each, Options) else (each.low, each.high)
        for value in ends:
            try:
                recipe.change(**{name: value})
            except (ValueError, TypeError) as error:
                raise RunError(f"search of {name}: {error}") from None
