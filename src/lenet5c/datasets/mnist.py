"""The MNIST database of handwritten digits, included in the package."""

from dataclasses import replace
from pathlib import Path

from lenet5c.datasets.dataset import Dataset, DatasetError
from lenet5c.datasets.idx_folder import idx_folder

#: SHA-256 of the four files after decompression. These are compared in tests; loading relies on the
#: #: checksum of gzip.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

_REINSTALL = (
    "the files of MNIST in this package are damaged or missing; reinstall it: "
    "python -m pip install --force-reinstall --no-deps lenet5c"
)
_FOLDER = Path(__file__).parent / "mnist_data"


def mnist() -> tuple[Dataset, Dataset]:
    """Read MNIST: 60,000 training and 10,000 test images of the digits 0 to 9.

    Nothing is downloaded. The images are 28 by 28 pixels, white on black, as published by their
    authors [1]_.

    Returns
    -------
    train, test : Dataset
        Images uint8 (N, 1, 28, 28), labels int32 (N,), class names ``'0'`` to ``'9'``.

    Raises
    ------
    DatasetError
        If a file of the package is missing or damaged.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> train, test = mnist()
    >>> train.images.shape, test.images.shape
    ((60000, 1, 28, 28), (10000, 1, 28, 28))
    >>> train.labels[:5]
    array([5, 0, 4, 1, 9], dtype=int32)
    """
    try:
        train, test = idx_folder(_FOLDER)
    except (DatasetError, FileNotFoundError) as error:
        raise DatasetError(f"{error}. {_REINSTALL}") from error
    if (train.images.shape, test.images.shape) != ((60000, 1, 28, 28), (10000, 1, 28, 28)):
        raise DatasetError(f"{_FOLDER} must contain MNIST, got other data: {_REINSTALL}")
    return replace(train, name="mnist"), replace(test, name="mnist")


def mnist_label_errors() -> tuple[int, ...]:
    """Return the positions of the MNIST test images whose labels were rejected by raters.

    A program marked 100 of the 10,000 test images as doubtful, and each was reviewed by five people
    [1]_, who rejected the label of these 15. Other images were not reviewed, so this is a lower
    bound. A model that agrees with the raters on every image has a test accuracy of about 99.85 %;
    a higher accuracy agrees with rejected labels.

    Returns
    -------
    tuple of int
        Positions in the test set of `mnist`, in ascending order.

    References
    ----------
    .. [1] C. G. Northcutt, A. Athalye, J. Mueller, "Pervasive Label Errors in Test Sets
       Destabilize Machine Learning Benchmarks", NeurIPS 2021 Datasets and Benchmarks.

    Examples
    --------
    >>> from lenet5c.datasets import mnist, mnist_label_errors
    >>> _, test = mnist()
    >>> len(test.take(mnist_label_errors()))
    15
    """
    return (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
