"""Zip and tar files: the same data as folders, and malicious archives are rejected."""

import gzip
import io
import os
import stat
import struct
import tarfile
import tempfile
import zipfile

import numpy as np
import pytest
from idx_files import write_idx_files
from pictures_on_disk import write_pictures

from lenet5c.datasets import DatasetError, archives, image_folder, open_source
from lenet5c.datasets.archives import open_archive
from lenet5c.datasets.file_tree import MAX_DEPTH
from lenet5c.datasets.inspection import inspect
from lenet5c.datasets.source import open_dataset, open_records

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Yield the folder of temporary files, which must be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    for i, name in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        write_pictures(root / name, 4, seed=i)
    (root / "train" / "dog" / "large").mkdir()
    Image.new("RGB", (700, 600), (3, 2, 1)).save(root / "train" / "dog" / "large" / "0.tif")
    (root / "train" / "empty").mkdir()
    return root


def pack(folder, path):
    """Pack a folder with its content."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(folder / name, name)
    else:
        mode = {".tar": "w", ".tgz": "w:gz", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
        with tarfile.open(path, mode[path.suffix]) as archive:
            archive.add(folder, "./")
    return path


@pytest.mark.parametrize(
    "name", ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"]
)
def test_an_archive_gives_what_its_folder_gives(name, pets, tmp_path):
    (pets / "train" / "empty").rmdir()
    path = pack(pets, tmp_path / name.lower()).rename(tmp_path / name)
    expected, source = image_folder(pets), open_source(str(path))
    for part in ("train", "test"):
        a, b = getattr(expected, part), getattr(source, part)
        assert (a.images == b.images).all() and (a.labels == b.labels).all()
        assert (a.ids, a.class_names) == (b.ids, b.class_names) and b.root is None
    assert (source.notes, source.validation) == (expected.notes, None)
    assert (open_dataset(str(path)).images == expected.test.images).all()


def test_an_empty_class_is_seen(pets, tmp_path):
    for name in ("a.zip", "a.tar"):
        with pytest.raises(DatasetError, match=f"{name}: the class 'empty' has no images"):
            image_folder(pack(pets, tmp_path / name))


def test_inspection_looks_into_archives(pets, tmp_path):
    (pets / "train" / "cat" / "bad.png").write_bytes(b"?")
    found, packed = inspect(str(pets)), inspect(str(pack(pets, tmp_path / "a.zip")))
    assert found.kinds == {"PNG L": 16, "TIFF RGB": 1} and len(found.faults) == 1
    for name in ("counts", "kinds", "sizes", "unreadable", "mean", "notes", "examples"):
        assert getattr(found, name) == getattr(packed, name), name


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_idx_files_in_an_archive(name, mnist_slice, tmp_path):
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    folder = write_idx_files(tmp_path / "data" / "MNIST" / "raw", *mnist_slice)
    source = open_source(str(pack(tmp_path / "data", tmp_path / name)))
    assert (source.train.images == mnist_slice[0].images).all()
    assert (source.test.labels == mnist_slice[1].labels).all() and source.reading == "ink"
    with open(folder / "train-labels-idx1-ubyte", "r+b") as file:
        file.write(b"??")
    with pytest.raises(DatasetError) as caught:
        open_source(str(pack(tmp_path / "data", tmp_path / name)))
    assert f"{tmp_path / name}/train-labels" in str(caught.value).replace(os.sep, "/")


def test_images_without_labels_can_be_predicted(tmp_path):
    write_pictures(tmp_path / "test", 3)
    records = open_records(str(pack(tmp_path / "test", tmp_path / "a.zip")))
    assert records.ids == ("0.png", "1.png", "2.png") and records.labels is None


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path, *members):
    with tarfile.open(path, "w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return path


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "/etc/a.png", "C:/a.png", "a\\..\\b.png", "\\\\a\\b.png"]
)
def test_names_that_lead_out_are_refused(name, tmp_path):
    member = zipfile.ZipInfo("x")
    member.filename = name
    for path in (
        write_zip(tmp_path / "a.zip", {"good/1.png": b"", member: b""}),
        write_tar(tmp_path / "a.tar", (name, tarfile.REGTYPE, "")),
    ):
        with pytest.raises(
            DatasetError, match="plain files and folders, got .*leads outside of it"
        ):
            open_source(str(path))


def test_links_and_devices_are_refused(tmp_path):
    link = zipfile.ZipInfo("a/b.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    paths = [write_zip(tmp_path / "a.zip", {link: b"/etc/passwd"})]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        paths.append(write_tar(tmp_path / f"{kind!r}.tar", ("a/b.png", kind, "/etc/passwd")))
    for path in paths:
        with pytest.raises(DatasetError, match="a link or device; create the archive again"):
            open_source(str(path))


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1.png": b"?"})
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="which is encrypted"):
        open_source(str(path))


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_refused_before_it_is_unpacked(form, tmp_path, monkeypatch, temporary):
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    path, zeros = tmp_path / f"bomb.{form}", bytes(4 << 20)
    if form == "zip":
        write_zip(path, {"a/1.png": zeros})
    else:
        with tarfile.open(path, f"w:{form[4:]}") as archive:
            member = tarfile.TarInfo("a/1.png")
            member.size = len(zeros)
            archive.addfile(member, io.BytesIO(zeros))
    unpacked = []
    monkeypatch.setattr(
        archives,
        "check_unpacked",
        lambda *sizes, check=archives.check_unpacked: (unpacked.append(sizes[1]), check(*sizes)),
    )
    with pytest.raises(
        DatasetError, match="unpack to at most .* 1,048,576 bytes or 100 times its size"
    ):
        open_source(str(path))
    assert form == "zip" or max(unpacked) <= 2 << 20
    monkeypatch.setattr(archives, "SMALL", 1 << 30)
    with pytest.raises(DatasetError, match="1 file cannot be read|one class 'a'"):
        open_source(str(path))
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1 << 21)
    with pytest.raises(DatasetError, match="must unpack to at most 2,097,152 bytes"):
        open_source(str(path))


def test_headers_and_methods_that_take_memory_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a/1.png")
        member.pax_headers = {"comment": "x" * (1 << 18)}
        archive.addfile(member)
    with pytest.raises(DatasetError, match="it has a header of 262,"):
        open_source(str(tmp_path / "a.tar"))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
            archive.writestr("a/1.png", bytes(1 << 20))
        with pytest.raises(DatasetError, match="not compressed by Deflate"):
            open_source(str(tmp_path / "a.zip"))


def test_a_member_has_no_more_bytes_than_are_declared(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a/1.png": bytes(5000)})
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.find(mark) + place, 100)
    path.write_bytes(content)
    with open_archive(path) as archive, pytest.raises(DatasetError, match="a/1.png is damaged"):
        archive.open(path / "a" / "1.png")


def test_lists_of_members_have_limits(tmp_path, monkeypatch):
    many = {f"a/{i}.png": b"" for i in range(20)}
    monkeypatch.setattr(archives, "MAX_LIST", 500)
    with pytest.raises(DatasetError, match="member list of at most 500 bytes, got"):
        open_source(str(write_zip(tmp_path / "a.zip", many)))
    monkeypatch.undo()
    monkeypatch.setattr("lenet5c.datasets.file_tree.MAX_ENTRIES", 10)
    path = write_tar(tmp_path / "a.tar", *((name, tarfile.REGTYPE, "") for name in many))
    with pytest.raises(DatasetError, match="at most 10 files"):
        open_source(str(path))
    monkeypatch.undo()
    for depth in (MAX_DEPTH + 2, 5000):
        deep = write_zip(tmp_path / "deep.zip", {"d/" * depth + "1.png": b""})
        with pytest.raises(DatasetError, match=f"{MAX_DEPTH} levels deep"):
            open_source(str(deep))


def test_names_that_clash_are_refused(tmp_path):
    same = [("a/1.png", tarfile.REGTYPE, "")] * 2
    clash = [("a", tarfile.REGTYPE, ""), ("a/1.png", tarfile.REGTYPE, "")]
    for members in (same, clash):
        with pytest.raises(DatasetError, match="must contain each name only once, got"):
            open_source(str(write_tar(tmp_path / "a.tar", *members)))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_damage_is_one_line(name, pets, tmp_path):
    (pets / "train" / "dog" / "large" / "0.tif").unlink()
    path = pack(pets, tmp_path / name)
    content, random = path.read_bytes(), np.random.default_rng(0)
    cases = [b"", b"?", content[: len(content) // 2], content[:-1000], content[:30]]
    for _ in range(10):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 3):
            damaged[place] ^= 0xFF
        cases.append(bytes(damaged))
    for case in cases:
        path.write_bytes(case)
        try:
            image_folder(path)
        except DatasetError as error:
            assert str(path) in str(error) and "\n" not in str(error)
    path.write_bytes(gzip.compress(b"no tar") if "gz" in name else b"PK\5\6" + bytes(20))
    with pytest.raises(DatasetError, match="is damaged, or not a zip or tar file|has no images"):
        image_folder(path)


def test_an_archive_in_an_archive_is_not_opened(pets, tmp_path):
    inner = pack(pets, tmp_path / "a.zip")
    path = write_zip(tmp_path / "b.zip", {"a.zip": inner.read_bytes()})
    with pytest.raises(DatasetError, match="got a nested archive, a.zip; unpack it"):
        open_source(str(path))
