"""Import of optional libraries on first use."""

from importlib import import_module
from typing import Any

from lenet5c.errors import MissingExtraError

# Libraries whose import name differs from their name.
NAMES = {"PIL": "Pillow", "pillow_heif": "pillow-heif", "sklearn": "scikit-learn"}


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional library.

    Parameters
    ----------
    module : str
        Import name, such as 'matplotlib.figure'.
    extra : str
        Extra of lenet5c that installs it, such as 'plots'.
    purpose : str
        Features that need it, such as 'pictures of a run'.

    Returns
    -------
    module

    Raises
    ------
    MissingExtraError
        If it is not installed. If it is installed but cannot be imported, its own error is raised.

    Examples
    --------
    >>> from lenet5c._optional import require
    >>> require("no_such_library", "plots", "pictures")
    Traceback (most recent call last):
    lenet5c.errors.MissingExtraError: pictures require no_such_library, which is not installed: \
pip install 'lenet5c[plots]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingExtraError(
            f"{purpose} require {NAMES.get(library, library)}, which is not installed: "
            f"pip install 'lenet5c[{extra}]'"
        ) from None
