"""The data sets that are fetched when they are asked for: where their files are, and what is in them.

A file is what its SHA-256 says, from wherever it comes. The digests and sizes are those that others published who had
the files: TensorFlow Datasets (``url_checksums/fashion_mnist.txt``, ``url_checksums/emnist.txt``,
``datasets/kmnist/checksums.tsv``), and for QMNIST, whose sizes nobody wrote down, torchvision's prototypes
(``prototype/datasets/_builtin/mnist.py``). The class names of EMNIST follow its files ``emnist-*-mapping.txt``.
"""

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
        Where it is, the best place first; all of the same bytes.
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
    name, title, licence, homepage : str
    folder : str
        In the cache; sets of one archive share it.
    files : tuple of RemoteFile
    members : tuple of 4 str
        Training images, training labels, test images, test labels: names of `files`, or of members of the archive
        that is the only file.
    counts : tuple of int
        Training and test images.
    class_names : tuple of str
    first_label : int
        What the files call the first class.
    transposed : bool
        Whether rows and columns of the images are exchanged in the files.
    reading : {'ink', 'whole'}
    """

    name: str
    title: str
    licence: str
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
    def archive(self):
        """bool : Whether `members` are in a zip file."""
        return self.files[0].name.endswith(".zip")

    @property
    def download_size(self):
        """int : Bytes of all files, at most."""
        return sum(file.size for file in self.files)


def _files(bases, *table):
    return tuple(
        RemoteFile(name, tuple(base + name for base in bases), sha256, size)
        for name, size, sha256 in table
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
    licence="MIT",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    folder="fashion",
    files=_files(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        ),
        (
            _MNIST_FILES[0],
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            _MNIST_FILES[1],
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        (
            _MNIST_FILES[2],
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (_MNIST_FILES[3], 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    members=_MNIST_FILES,
    counts=(60000, 10000),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    reading="whole",
)

_KMNIST = NamedSet(
    name="kmnist",
    title="Kuzushiji-MNIST: characters of classical Japanese",
    licence="CC BY-SA 4.0",
    homepage="http://codh.rois.ac.jp/kmnist/",
    folder="kmnist",
    files=_files(
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            _MNIST_FILES[0],
            18165135,
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        (
            _MNIST_FILES[1],
            29497,
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        (
            _MNIST_FILES[2],
            3041136,
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        (_MNIST_FILES[3], 5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    members=_MNIST_FILES,
    counts=(60000, 10000),
    class_names=(
        "o お",
        "ki き",
        "su す",
        "tsu つ",
        "na な",
        "ha は",
        "ma ま",
        "ya や",
        "re れ",
        "wo を",
    ),
    # Its characters fill the picture to the edge, unlike MNIST's digits.
    reading="whole",
)

# Larger than MNIST's files, which hold images of the same kind and number.
_QMNIST_TABLE = (
    (
        "qmnist-train-images-idx3-ubyte.gz",
        16 << 20,
        "9e26a7bf1683614e065d7b76460ccd52807165b3f22561fb782bd9f38c52b51d",
    ),
    (
        "qmnist-train-labels-idx2-int.gz",
        4 << 20,
        "2c05dc77f6b916b38e455e97ab129a42a444f3dbef09b278a366f82904e0dd9f",
    ),
    (
        "qmnist-test-images-idx3-ubyte.gz",
        16 << 20,
        "43fc22bf7498b8fc98de98369d72f752d0deabc280a43a7bcc364ab19e57b375",
    ),
    (
        "qmnist-test-labels-idx2-int.gz",
        4 << 20,
        "9fbcbe594c3766fdf4f0b15c5165dc0d1e57ac604e01422608bb72c906030d06",
    ),
)
_QMNIST = NamedSet(
    name="qmnist",
    title="QMNIST: MNIST rebuilt, with all 60,000 test digits",
    licence="BSD 3-Clause",
    homepage="https://github.com/facebookresearch/qmnist",
    folder="qmnist",
    files=tuple(
        RemoteFile(
            name,
            (
                f"https://raw.githubusercontent.com/facebookresearch/qmnist/master/{name}",
                f"https://github.com/facebookresearch/qmnist/raw/main/{name}",
            ),
            sha256,
            size,
            exact=False,
        )
        for name, size, sha256 in _QMNIST_TABLE
    ),
    members=(_QMNIST_TABLE[0][0], _QMNIST_TABLE[1][0], _QMNIST_TABLE[2][0], _QMNIST_TABLE[3][0]),
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
# Small letters that look like their capitals share a class with them.
_MERGED = tuple(digits + ascii_uppercase + "abdefghnqrt")


def _emnist(kind, title, counts, class_names, first_label=0):
    start = f"gzip/emnist-{kind}"
    members = (
        f"{start}-train-images-idx3-ubyte.gz",
        f"{start}-train-labels-idx1-ubyte.gz",
        f"{start}-test-images-idx3-ubyte.gz",
        f"{start}-test-labels-idx1-ubyte.gz",
    )
    return NamedSet(
        name=f"emnist-{kind}",
        title=f"EMNIST: {title}",
        licence="none stated; made of NIST Special Database 19",
        homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        folder="emnist",
        files=(_EMNIST_ARCHIVE,),
        members=members,
        counts=counts,
        class_names=tuple(class_names),
        first_label=first_label,
        transposed=True,
    )


#: The sets by name.
NAMED_SETS = {
    named.name: named
    for named in (
        _FASHION,
        _KMNIST,
        _QMNIST,
        _emnist("balanced", "digits and letters, 47 classes of one size", (112800, 18800), _MERGED),
        _emnist(
            "bymerge", "digits and letters, 47 classes as they occur", (697932, 116323), _MERGED
        ),
        _emnist(
            "byclass",
            "digits and letters, 62 classes as they occur",
            (697932, 116323),
            digits + ascii_uppercase + ascii_lowercase,
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
