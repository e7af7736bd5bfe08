"""Optional libraries, imported when they are used."""

from importlib import import_module

from lenet5c.errors import MissingExtraError

# Libraries that are imported by another name than theirs.
NAMES = {"PIL": "Pillow", "sklearn": "scikit-learn"}


def require(module, extra, purpose):
    """Import an optional library.

    Parameters
    ----------
    module : str
        Its name for ``import``, such as 'matplotlib.figure'.
    extra : str
        The extra of lenet5c that brings it, such as 'plots'.
    purpose : str
        What needs it, as the beginning of a sentence: 'pictures of a run'.

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
    >>> require("no_such_library", "plots", "pictures of a run")
    Traceback (most recent call last):
    lenet5c.errors.MissingExtraError: pictures of a run need no_such_library, which is not installed: pip install 'lenet5c[plots]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise MissingExtraError(
            f"{purpose} need {NAMES.get(library, library)}, which is not installed: pip install 'lenet5c[{extra}]'"
        ) from None
