"""Options of nets: each declared once, in the signature of the net's constructor.

A parameter annotated with an `Option` has there its name, its type and its default; the option says
which values it takes and what it does. The constructor's checks, the entries in the docstring, the
fields of recipes, the options of commands and the values that a search tries follow from that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Signature, signature
from textwrap import wrap
from typing import Annotated, Any, TypeVar, get_args, get_origin

from lenet5c.nn.kind import Kind

Net = TypeVar("Net", bound=type)
WIDTH = 100


@dataclass(frozen=True, eq=False)
class Option:
    """An option of a net."""

    kind: Kind
    help: str  # a phrase
    usual: str = ""  # the default in words, where its value does not say it
    of_data: bool = False  # follows from the data that a net is trained on
    drawn: bool = False  # initialization, which is not stored with a trained net
    search: tuple[float, float] | list[Any] | None = None  # two ends, or values, to try
    default: Any = None  # that of the signature

    def __repr__(self) -> str:
        return f"<Option: {self.help}>"


def with_options(net: Net) -> Net:
    """Give a net its `options`, as its constructor declares them; a decorator of classes.

    The constructor is then called with checked values in their normal form: lists for tuples,
    numbers of Python for those of NumPy. `config` of a net is what makes the same one again: all
    options but those that say how its weights begin.
    """
    init = net.__init__  # type: ignore[misc]
    declared = signature(init)
    options = {
        name: replace(
            get_args(each.annotation)[1],
            default=get_args(each.annotation)[1].kind.normal(each.default),
        )
        for name, each in declared.parameters.items()
        if get_origin(each.annotation) is Annotated
    }

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        given = declared.bind(self, *args, **kwargs)
        given.apply_defaults()
        given.arguments |= check_options(options, given.arguments)
        if type(self).options is options:  # not the class that a net is derived from
            self.config = describe(options, given.arguments)
        init(*given.args, **given.kwargs)

    checked.__signature__ = _without_options(declared)  # type: ignore[attr-defined]
    net.options, net.__init__ = options, checked  # type: ignore[attr-defined, misc]
    if net.__doc__:  # not with python -OO
        head = "    Parameters\n    ----------\n"
        before, found, after = net.__doc__.partition(head)
        assert found, f"{net.__name__} must document its Parameters"
        net.__doc__ = before + head + _document(options) + after
    return net


def check_options(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that belong to options, in their normal form.

    Raises
    ------
    ValueError
        A value is none of its option; the message names it.
    """
    return {
        name: option.kind.check(name, values[name])
        for name, option in options.items()
        if name in values and not (values[name] is None and option.default is None)
    }


def describe(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a net's options, but for those of its beginning.

    Those that are default are there, too: a file that has them stays right if a default changes.
    """
    return {name: values[name] for name, option in options.items() if not option.drawn}


def _without_options(declared: Signature) -> Signature:
    """Return a signature with the types alone, for readers."""
    return declared.replace(
        parameters=[
            each.replace(annotation=get_args(each.annotation)[0])
            if get_origin(each.annotation) is Annotated
            else each
            for each in declared.parameters.values()
        ]
    )


def _document(options: Mapping[str, Option]) -> str:
    """Return the entries of a docstring."""
    lines = []
    for name, option in options.items():
        lines.append(f"    {name} : {option.kind.form}")
        text = f"{option.help[:1].upper()}{option.help[1:]}."
        if option.usual:
            text += f" Default: {option.usual}."
        lines += wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"
