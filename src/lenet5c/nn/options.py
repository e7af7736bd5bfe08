"""Options of nets, each declared once in the signature of the net's constructor.

A parameter annotated with an `Option` declares the name, type and default; the option itself has
the valid values and the help text. The checks of the constructor, its docstring, the fields of
recipes, the options of commands and the values tried by a search are all derived from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Signature, cleandoc, signature
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
    default_text: str = ""  # description of the default, if its value does not explain it
    of_data: bool = False  # determined by the training data
    drawn: bool = False  # initialization, not stored with a trained net
    search: tuple[float, float] | list[Any] | None = None  # range, or list of values, to search
    default: Any = None  # from the signature

    def __repr__(self) -> str:
        return f"<Option: {self.help}>"


def with_options(net: Net) -> Net:
    """Class decorator that sets the `options` of a net as declared by its constructor.

    The constructor is called with checked values in normal form: lists instead of tuples, Python
    numbers instead of NumPy numbers. The attribute `config` has the arguments that create the same
    net: all options except those of initialization.
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
        if type(self).options is options:  # False in the constructor of a base class
            self.config = describe(options, given.arguments)
        init(*given.args, **given.kwargs)

    checked.__signature__ = _without_options(declared)  # type: ignore[attr-defined]
    net.options, net.__init__ = options, checked  # type: ignore[attr-defined, misc]
    if net.__doc__:  # None with python -OO
        # Without the indentation of the source, as CPython stores it from 3.13 on.
        head = "Parameters\n----------\n"
        before, found, after = cleandoc(net.__doc__).partition(head)
        assert found, f"{net.__name__} must document its Parameters"
        net.__doc__ = before + head + _document(options) + after
    return net


def check_options(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that belong to options, in normal form.

    Raises
    ------
    ValueError
        If a value is invalid; the message names the option.
    """
    return {
        name: option.kind.check(name, values[name])
        for name, option in options.items()
        if name in values and not (values[name] is None and option.default is None)
    }


def describe(options: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a net's options, except those of initialization.

    Default values are included, so that a saved file stays valid if a default changes.
    """
    return {name: values[name] for name, option in options.items() if not option.drawn}


def _without_options(declared: Signature) -> Signature:
    """Return a signature without `Option` annotations, for display."""
    return declared.replace(
        parameters=[
            each.replace(annotation=get_args(each.annotation)[0])
            if get_origin(each.annotation) is Annotated
            else each
            for each in declared.parameters.values()
        ]
    )


def _document(options: Mapping[str, Option]) -> str:
    """Return the docstring entries of the options."""
    lines = []
    for name, option in options.items():
        lines.append(f"{name} : {option.kind.form}")
        text = f"{option.help[:1].upper()}{option.help[1:]}."
        if option.default_text:
            text += f" Default: {option.default_text}."
        lines += wrap(text, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
    return "\n".join(lines) + "\n"
