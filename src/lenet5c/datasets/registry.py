"""The data sets that are fetched on demand: the addresses of their files, and their contents.

A file is identified by its SHA-256, whatever its address. Digests and sizes are those that others
published who had the files: TensorFlow Datasets (``url_checksums/fashion_mnist.txt``,
``url_checksums/emnist.txt``, ``datasets/kmnist/checksums.tsv``), and for QMNIST, without sizes,
torchvision's prototypes (``prototype/datasets/_builtin/mnist.py``). The class names of EMNIST
follow its files ``emnist-*-mapping.txt``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits


@dataclass(frozen=True)
class RemoteFile:
    """A file as it is published.

    Attributes
    ----------
    name : str
        In the folder of its data set.
    urls : tuple of str
        Its addresses, the best first; all of the same bytes.
    sha256 : str
    size : int
        Bytes; if `exact` is false, more than it can have.
    exact : bool
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int
    exact: bool = True


@dataclass(frozen=True)
class NamedSet:
    """A data set with a name.

    Attributes
    ----------
    name, title, license, homepage : str
    folder : str
        In the cache; sets of one archive share it.
    files : tuple of RemoteFile
    members : tuple of 4 str
        Training images, training labels, test images, test labels: names of `files`, or of members
        of the archive that is the only file.
    counts : tuple of int
        Training and test images.
    class_names : tuple of str
    first_label : int
        Number of the first class in the files.
    transposed : bool
        Rows and columns of the images are exchanged in the files.
    reading : {'ink', 'whole'}
    """

    name: str
    title: str
    license: str
    homepage: str
    folder: str
    files: tuple[RemoteFile, ...]
    members: tuple[str, str, str, str]
    counts: tuple[int, int]
    class_names: tuple[str, ...]
    first_label: int = 0
    transposed: bool = False
    reading: str = "ink"

    @property
    def archive(self) -> bool:
        """bool : `members` are in a zip file."""
        return self.files[0].name.endswith(".zip")

    @property
    def download_size(self) -> int:
        """int : Bytes of all files, at most."""
        return sum(file.size for file in self.files)


def _list_files(
    bases: Sequence[str],
    members: Sequence[str],
    sizes: Sequence[int],
    sums: str,
    exact: bool = True,
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, tuple(base + name for base in bases), sha256, size, exact)
        for name, size, sha256 in zip(members, sizes, sums.split(), strict=True)
    )


_MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

_FASHION = NamedSet(
    name="fashion",
    title="Fashion-MNIST: photographs of clothes",
    license="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    folder="fashion",
    files=_list_files(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        ),
        _MNIST_FILES,
        (26421880, 29515, 4422102, 5148),
        """
        3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
        a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
        346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
        67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
        """,
    ),
    members=_MNIST_FILES,
    counts=(60000, 10000),
    class_names=(
        "T-shirt/top",
        *"Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split(),
        "Ankle boot",
    ),
    reading="whole",
)

_KMNIST = NamedSet(
    name="kmnist",
    title="Kuzushiji-MNIST: characters of classical Japanese",
    license="CC BY-SA 4.0",
    homepage="http://codh.rois.ac.jp/kmnist/",
    folder="kmnist",
    files=_list_files(
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        _MNIST_FILES,
        (18165135, 29497, 3041136, 5120),
        """
        51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4
        e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17
        edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5
        20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c
        """,
    ),
    members=_MNIST_FILES,
    counts=(60000, 10000),
    class_names=tuple("o お,ki き,su す,tsu つ,na な,ha は,ma ま,ya や,re れ,wo を".split(",")),
    # Its characters fill the picture to the edge, unlike MNIST's digits.
    reading="whole",
)

_QMNIST_FILES = (
    "qmnist-train-images-idx3-ubyte.gz",
    "qmnist-train-labels-idx2-int.gz",
    "qmnist-test-images-idx3-ubyte.gz",
    "qmnist-test-labels-idx2-int.gz",
)
_QMNIST = NamedSet(
    name="qmnist",
    title="QMNIST: MNIST rebuilt, with all 60,000 test digits",
    license="BSD 3-Clause",
    homepage="https://github.com/facebookresearch/qmnist",
    folder="qmnist",
    files=_list_files(
        (
            "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
            "https://github.com/facebookresearch/qmnist/raw/main/",
        ),
        _QMNIST_FILES,
        # Larger than MNIST's files, which hold images of the same kind and number.
        (16 << 20, 4 << 20, 16 << 20, 4 << 20),
        """
        9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d
        2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f
        43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375
        9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06
        """,
        exact=False,
    ),
    members=_QMNIST_FILES,
    counts=(60000, 60000),
    class_names=tuple(digits),
)

_EMNIST_ARCHIVE = RemoteFile(
    "gzip.zip",
    (
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
    ),
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    561753746,
)


def _emnist(
    kind: str, title: str, counts: tuple[int, int], class_names: str, first_label: int = 0
) -> NamedSet:
    start = f"gzip/emnist-{kind}"
    return NamedSet(
        name=f"emnist-{kind}",
        title=f"EMNIST: {title}",
        license="none stated; made of NIST Special Database 19",
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        folder="emnist",
        files=(_EMNIST_ARCHIVE,),
        members=(
            f"{start}-train-images-idx3-ubyte.gz",
            f"{start}-train-labels-idx1-ubyte.gz",
            f"{start}-test-images-idx3-ubyte.gz",
            f"{start}-test-labels-idx1-ubyte.gz",
        ),
        counts=counts,
        class_names=tuple(class_names),
        first_label=first_label,
        transposed=True,
    )


_ALL, _CAPITALS = (697932, 116323), digits + ascii_uppercase
# Small letters that look like their capitals share a class with them.
_MERGED = _CAPITALS + "abdefghnqrt"

#: The sets by name.
NAMED_SETS = {
    named.name: named
    for named in (
        _FASHION,
        _KMNIST,
        _QMNIST,
        _emnist("balanced", "digits and letters, 47 classes of one size", (112800, 18800), _MERGED),
        _emnist("bymerge", "digits and letters, 47 classes as they occur", _ALL, _MERGED),
        _emnist(
            "byclass",
            "digits and letters, 62 classes as they occur",
            _ALL,
            _CAPITALS + ascii_lowercase,
        ),
        _emnist(
            "letters",
            "letters, capitals and small ones together",
            (124800, 20800),
            ascii_uppercase,
            1,
        ),
        _emnist("digits", "digits", (240000, 40000), digits),
        _emnist("mnist", "digits, as many as MNIST has", (60000, 10000), digits),
    )
}
