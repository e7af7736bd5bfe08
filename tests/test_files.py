"""File writes are atomic, leave no temporary files, follow no links, and do not block on pipes."""

import errno
import os
import stat

import pytest

from lenet5c import _files
from lenet5c.errors import RunError

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


def fail(number):
    def call(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("exists", [True, False])
def test_a_write_that_fails_names_the_file_and_leaves_nothing(
    tmp_path, monkeypatch, call, number, exists
):
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail(number))
        with pytest.raises(OSError) as caught:
            _files.write_bytes(path, b"after")
    error = caught.value
    assert (error.errno, error.filename, error.strerror) == (number, str(path), os.strerror(number))
    assert names(tmp_path) == ["file"] * exists
    assert not exists or path.read_bytes() == b"before"


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, call):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, call, interrupt)
        with pytest.raises(KeyboardInterrupt):
            _files.write_bytes(tmp_path / "file", b"x")
    assert names(tmp_path) == []


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    real, content = os.write, bytes(range(256)) * 9
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:1000]))
    _files.write_bytes(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == content


@posix
def test_the_position_in_a_new_file_is_told(tmp_path):
    with _files.replace_file(tmp_path / "new") as file:
        file.write(b"twelve bytes")
        assert file.tell() == 12


def test_the_folder_is_synchronized_after_the_new_name(tmp_path, monkeypatch):
    seen = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(file):
        seen.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        real_sync(file)

    def replace(*arguments):
        seen.append("name")
        real_replace(*arguments)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    _files.write_bytes(tmp_path / "file", b"x")
    assert seen == ["file", "name", "folder"]


@posix
def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o027)
    try:
        _files.write_bytes(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@posix
def test_links_are_not_followed(tmp_path, monkeypatch):
    """Neither at the name of the temporary file, nor at that of the file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".file.tmp").symlink_to(victim)
    (tmp_path / "file").symlink_to(victim)
    monkeypatch.setattr(os, "urandom", lambda count: b"\1" * count)
    _files.write_bytes(tmp_path / "file", b"x")
    assert victim.read_bytes() == b"precious" and not (tmp_path / "file").is_symlink()
    (tmp_path / f".file.{'01' * 8}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError) as caught:
        _files.write_bytes(tmp_path / "file", b"y")
    assert caught.value.filename == str(tmp_path / "file")
    assert victim.read_bytes() == b"precious" and (tmp_path / "file").read_bytes() == b"x"
    with pytest.raises(OSError):
        _files.open_to_change(tmp_path / ".file.tmp")


@posix
def test_pipes_and_devices_are_not_replaced_read_or_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for use in (
            lambda path: _files.write_bytes(path, b"x"),
            lambda path: _files.read_bytes(path, 10),
            _files.digest,
        ):
            with pytest.raises(OSError, match="it is not a regular file") as caught:
                use(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    assert names(tmp_path) == ["pipe", "zero"] and (tmp_path / "zero").is_symlink()


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("n" * 255, "é" * 127):
        _files.write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_folder_at_the_name_is_an_error(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError) as caught:
        _files.write_bytes(tmp_path / "file", b"x")
    assert caught.value.filename == str(tmp_path / "file") and names(tmp_path) == ["file"]


def test_only_our_own_temporary_files_are_removed(tmp_path, monkeypatch):
    own, other = f".config.json.{'0f' * 8}.tmp", f".notes.txt.{'0f' * 8}.tmp"
    kept = [other, ".config.json.tmp", "config.json.0123456789abcdef.tmp", ".config.json.0f.tmp"]
    for name in (own, *kept):
        (tmp_path / name).touch()
    (tmp_path / f".config.json.{'1f' * 8}.tmp").mkdir()
    _files.remove_temporaries(tmp_path, ["config.json"])
    assert names(tmp_path) == sorted([*kept, f".config.json.{'1f' * 8}.tmp"])


def test_errors_of_reading_have_the_name(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(OSError, match="more than the limit of 4") as caught:
        _files.read_bytes(tmp_path / "file", 4)
    assert caught.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError) as caught, _files.name_errors(tmp_path / "file"):
        raise OSError(errno.EIO, "broken")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path / "file"))


@pytest.mark.skipif(os.name == "nt", reason="folders cannot be synchronized there")
@pytest.mark.parametrize("call", ["fsync", "close"])
def test_an_error_of_a_folder_has_its_name(call, tmp_path, monkeypatch):
    real = getattr(os, call)

    def fail(descriptor):
        real(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError) as raised:
        _files.sync_folder(tmp_path)
    assert (raised.value.errno, raised.value.filename) == (errno.EIO, str(tmp_path))


def test_a_model_that_the_system_does_not_let_read_is_not_to_be_deleted(tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "model"))

    monkeypatch.setattr(_files, "open_regular", fail)
    for read in (_files.read_tensors, _files.read_digest):
        with pytest.raises(RunError, match="Permission denied") as caught:
            read(tmp_path / "model", "model")
        assert "delete" not in str(caught.value)
