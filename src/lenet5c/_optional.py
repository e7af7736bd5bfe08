"""Optional libraries, imported when they are used."""

from importlib import import_module
from typing import Any

from lenet5c.errors import MissingExtraError

# Libraries that are imported by another name than theirs.
NAMES = {"PIL": "Pillow", "pillow_heif": "pillow-heif", "sklearn": "scikit-learn"}


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional library.

    Parameters
    ----------
    module : str
        Its name for ``import``, such as 'matplotlib.figure'.
    extra : str
        The extra of lenet5c that brings it, such as 'plots'.
    purpose : str
        The things that need it, such as 'pictures of a run'.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        It is not installed. A library that is there but cannot be imported raises its own error.

    Examples
    --------
    >>> from lenet5c._optional import require
    >>> require("no_such_library", "plots", "pictures")
    Traceback (most recent call last):
    lenet5c.errors.MissingExtraError: pictures need no_such_library, which is not installed: \
pip install 'lenet5c[plots]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingExtraError(
            f"{purpose} need {NAMES.get(library, library)}, which is not installed: "
            f"pip install 'lenet5c[{extra}]'"
        ) from None
