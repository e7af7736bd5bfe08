"""Named data sets in miniature, from a server on this machine."""

import gzip
import hashlib
import struct
import zipfile
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from faulty_server import running_server
from processes import HANGING

from lenet5c.datasets import DatasetError, open_source
from lenet5c.datasets import source as source_module
from lenet5c.datasets.cache import cache_folder, is_offline
from lenet5c.datasets.download import DownloadError, RetryPolicy
from lenet5c.datasets.named import download_named, load_named, missing_files
from lenet5c.datasets.registry import NAMED_SETS, RemoteFile

QUICK = RetryPolicy(timeout=HANGING, window=HANGING, attempts=1, pause=0.0)
RANDOM = np.random.default_rng(0)
TRAIN, TEST = (RANDOM.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (20, 10))


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("LENET5C_OFFLINE", raising=False)


@pytest.fixture
def server():
    with running_server() as server:
        yield server


def idx(array, code=8):
    data = array.astype({8: np.uint8, 12: ">i4"}[code])
    return gzip.compress(
        struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + data.tobytes(),
        mtime=0,
    )


def labels(count, classes, first=0):
    return np.arange(count) % classes + first


def zipped(members, **options):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def small(server, name, contents, fault="good"):
    """Make the named set with these files."""
    server.content.update(contents)
    files = tuple(
        RemoteFile(
            file,
            (server.url("404", file), server.url(fault, file)),
            hashlib.sha256(data).hexdigest(),
            len(data),
        )
        for file, data in contents.items()
    )
    return replace(NAMED_SETS[name], files=files)


def fashion(server, fault="good"):
    arrays = (TRAIN, labels(20, 10), TEST, labels(10, 10))
    return small(
        server,
        "fashion",
        dict(zip(NAMED_SETS["fashion"].members, map(idx, arrays), strict=True)),
        fault,
    )


def emnist(server, kind, changes=None, first=0, **options):
    named = NAMED_SETS[f"emnist-{kind}"]
    classes = len(named.class_names)
    arrays = (TRAIN, labels(20, classes, first), TEST, labels(10, classes, first))
    members = dict(zip(named.members, map(idx, arrays), strict=True)) | (changes or {})
    return small(server, named.name, {"gzip.zip": zipped(members, **options)})


def test_a_set_is_fetched_once_and_said_to_be(server, tmp_path):
    named, lines = fashion(server), []
    source = load_named(named, folder=tmp_path / "cache", on_message=lines.append, retry=QUICK)
    assert (source.train.images[:, 0] == TRAIN).all() and (source.test.images[:, 0] == TEST).all()
    assert source.train.class_names[9] == "Ankle boot" and source.train.num_classes == 10
    assert source.reading == "whole" and source.train.name == "fashion"
    assert (
        len(lines) == 4
        and str(tmp_path / "cache" / "fashion") in lines[0]
        and "127.0.0.1" in lines[0]
    )
    asked = len(server.asked)
    load_named(named, folder=tmp_path / "cache", on_message=lines.append, retry=QUICK)
    assert len(server.asked) == asked and len(lines) == 4


def test_offline_says_how_to_help_oneself(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LENET5C_OFFLINE", "1")
    named = fashion(server)
    with pytest.raises(DownloadError) as error:
        load_named(named, folder=tmp_path)
    line = str(error.value)
    assert all(
        text in line
        for text in (named.files[0].urls[0], named.files[0].sha256, "LENET5C_OFFLINE", "fashion")
    )
    assert not server.asked and not (tmp_path / "fashion").exists()
    with pytest.raises(DownloadError, match="downloads are disabled"):
        monkeypatch.setenv("LENET5C_OFFLINE", "0")
        load_named(named, folder=tmp_path, download=False)


def test_a_set_put_there_by_hand_needs_no_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LENET5C_OFFLINE", "1")
    named = fashion(server)
    (tmp_path / "fashion").mkdir()
    for file, data in server.content.items():
        (tmp_path / "fashion" / file).write_bytes(data)
    assert len(load_named(named, folder=tmp_path).train) == 20
    (tmp_path / "fashion" / named.files[0].name).write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="delete it"):
        load_named(named, folder=tmp_path)


def test_download_says_what_is_missing(server, tmp_path):
    named = fashion(server)
    assert missing_files(named, tmp_path) == list(named.files)
    assert download_named(named, folder=tmp_path, retry=QUICK) == tmp_path / "fashion"
    assert missing_files(named, tmp_path) == []


def test_a_wrong_set_is_not_kept(server, tmp_path):
    with pytest.raises(DownloadError, match="SHA-256"):
        load_named(fashion(server, "wrong"), folder=tmp_path, retry=QUICK)
    assert [path.name for path in (tmp_path / "fashion").iterdir()] == [".lock"]


@pytest.mark.parametrize("kind", ["balanced", "byclass", "letters", "digits"])
def test_emnist_is_read_from_its_archive_upright(kind, server, tmp_path):
    first = 1 if kind == "letters" else 0
    source = load_named(emnist(server, kind, first=first), folder=tmp_path, retry=QUICK)
    assert (source.train.images[:, 0] == TRAIN.transpose(0, 2, 1)).all()
    assert source.train.labels.tolist() == labels(20, source.train.num_classes).tolist()
    assert sorted(path.name for path in (tmp_path / "emnist").iterdir()) == [
        ".gzip.zip.checked",
        ".lock",
        "gzip.zip",
    ]


def test_class_names():
    names = {name: named.class_names for name, named in NAMED_SETS.items()}
    assert (
        names["emnist-balanced"] == names["emnist-bymerge"] and len(names["emnist-balanced"]) == 47
    )
    assert "".join(names["emnist-balanced"][34:]) == "YZabdefghnqrt"
    assert (
        "".join(names["emnist-byclass"][8:12]) == "89AB"
        and "".join(names["emnist-byclass"][34:38]) == "YZab"
    )
    assert names["emnist-letters"][0] == "A" and len(names["emnist-letters"]) == 26
    assert names["kmnist"][0] == "o お" and names["fashion"][0] == "T-shirt/top"
    assert names["qmnist"] == names["emnist-digits"] == tuple("0123456789")


MEMBER = "gzip/emnist-digits-test-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (idx(labels(9, 10)), "9"),  # not as many as images
        (idx(labels(10, 10, 1)), "10 classes"),
        (idx(labels(10, 10))[:-4], "ends early"),
        (b"no gzip", "corrupt"),
        (gzip.compress(b"no idx", mtime=0), "IDX"),
        (
            gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 10**6, 10**3, 10**3), mtime=0),
            "gzipped bytes can contain",
        ),
        (idx(labels(10, 10).reshape(2, 5)), "labels"),
        (idx(np.zeros((10, 0))), "labels"),
    ],
)
def test_a_wrong_member_of_an_archive_is_an_error(content, said, server, tmp_path):
    with pytest.raises(DatasetError, match=said):
        load_named(emnist(server, "digits", {MEMBER: content}), folder=tmp_path, retry=QUICK)


def test_labels_at_the_limit_of_their_dtype_are_an_error(server, tmp_path):
    # Counted from 1: subtracting that would overflow.
    member = "gzip/emnist-letters-test-labels-idx1-ubyte.gz"
    ends = idx(np.array([-(2**31)] * 5 + [2**31 - 1] * 5), 12)
    named = emnist(server, "letters", {member: ends}, first=1)
    with pytest.raises(DatasetError, match="26 classes, got -2147483648 to 2147483647"):
        load_named(named, folder=tmp_path, retry=QUICK)


def test_a_huge_member_is_refused_before_it_is_read(server, tmp_path, monkeypatch):
    named = emnist(server, "digits")
    monkeypatch.setattr("lenet5c.datasets.named.MAX_ZIPPED", 1000)
    with pytest.raises(DatasetError, match="declares"):
        load_named(named, folder=tmp_path, retry=QUICK)
    monkeypatch.setattr("lenet5c.datasets.named.MAX_ZIPPED", 1 << 20)
    monkeypatch.setattr("lenet5c.datasets.named.MAX_RAW", 1000)
    with pytest.raises(DatasetError, match="1000 that are allowed"):
        load_named(named, folder=tmp_path, retry=QUICK)


def test_a_member_elsewhere_is_not_the_one_that_is_meant(server, tmp_path):
    named = NAMED_SETS["emnist-digits"]
    members = {f"../{name}": b"" for name in named.members}
    broken = small(server, "emnist-digits", {"gzip.zip": zipped(members)})
    with pytest.raises(DatasetError, match="must contain gzip/"):
        load_named(broken, folder=tmp_path, retry=QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emnist"]
    with pytest.raises(DatasetError, match="not a usable zip"):
        load_named(
            small(server, "emnist-digits", {"gzip.zip": b"no zip"}),
            folder=tmp_path / "2",
            retry=QUICK,
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace("é".encode(), b"\xff\xff"),  # no UTF-8
        # The directory is elsewhere, so that a member begins before the file.
        lambda content: content[:-6] + struct.pack("<I", len(content)) + content[-2:],
    ],
)
def test_a_damaged_directory_of_an_archive_is_an_error(damage, server, tmp_path):
    members = dict.fromkeys(["é", *NAMED_SETS["emnist-digits"].members], b"")
    broken = small(server, "emnist-digits", {"gzip.zip": damage(zipped(members))})
    with pytest.raises(DatasetError, match="not a usable zip"):
        load_named(broken, folder=tmp_path, retry=QUICK)


def test_qmnist_has_its_classes_in_the_first_column(server, tmp_path):
    columns = np.stack([labels(20, 10)] + [np.full(20, 1000 + i) for i in range(7)], axis=1)
    arrays = (idx(TRAIN), idx(columns, 12), idx(TEST), idx(columns[:10], 12))
    named = small(server, "qmnist", dict(zip(NAMED_SETS["qmnist"].members, arrays, strict=True)))
    source = load_named(named, folder=tmp_path, retry=QUICK)
    assert source.train.labels.tolist() == labels(20, 10).tolist() and source.reading == "ink"


def test_open_source_knows_the_names(server, tmp_path, monkeypatch):
    monkeypatch.setenv("LENET5C_DATA", str(tmp_path))
    monkeypatch.setitem(source_module.NAMED_SETS, "fashion", fashion(server))
    assert len(open_source("fashion").test) == 10
    assert open_source("fashion", reading="ink").reading == "ink"


def test_the_cache_is_where_the_platform_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LENET5C_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LENET5C_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "lenet5c"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder().parts[-2:] == (".cache", "lenet5c")
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "lenet5c")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "lenet5c"


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_offline(value, offline, monkeypatch):
    monkeypatch.setenv("LENET5C_OFFLINE", value)
    assert is_offline() is offline
