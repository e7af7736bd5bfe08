"""Downloads from a faulty server on this machine."""

import hashlib
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest
from faulty_server import running_server
from processes import HANGING

from lenet5c.datasets.cache import lock
from lenet5c.datasets.download import DownloadError, RetryPolicy, fetch, is_complete
from lenet5c.datasets.registry import NAMED_SETS, RemoteFile

CONTENT = np.random.default_rng(0).bytes(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = RetryPolicy(timeout=HANGING, window=HANGING, attempts=2, pause=0.0)
#: With a server that nobody should wait for.
IMPATIENT = {"silent": {"timeout": 0.3}, "drip": {"window": 0.2, "least": 1000}}


@pytest.fixture
def server():
    with running_server() as server:
        server.content["a.gz"] = CONTENT
        yield server


def remote(server, *faults, **changes):
    urls = tuple(server.url(fault, "a.gz") for fault in faults)
    return RemoteFile(
        **{"name": "a.gz", "urls": urls, "sha256": SHA256, "size": len(CONTENT)} | changes
    )


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server, tmp_path):
    file, seen = remote(server, "good"), []
    path = fetch(file, tmp_path, progress=lambda *state: seen.append(state), retry=QUICK)
    assert path.read_bytes() == CONTENT and leftovers(tmp_path) == [".a.gz.checked", "a.gz"]
    assert (
        seen[0] == (0, len(CONTENT))
        and seen[-1] == (len(CONTENT), len(CONTENT))
        and seen == sorted(seen)
    )
    assert fetch(file, tmp_path, retry=QUICK) == path and len(server.asked) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "404"),
        ("403", "403"),
        ("503", "503"),
        ("wrong", "SHA-256"),
        ("reset", "10 of 100,000"),
        ("huge", "1,000,000,000,000,000 bytes"),
        ("endless", "more than 100,000"),
        ("silent", "timed out"),
        ("drip", "too slow"),
        ("loop", "redirect"),
        ("unsafe", "not HTTPS"),
        ("file", "HTTP 302"),
        ("malformed", "Invalid IPv6 URL"),
        ("gzipped", "encoding"),
        ("otherpart", "different range"),
    ],
)
def test_a_fault_leads_to_the_next_address_and_alone_to_an_error(fault, said, server, tmp_path):
    retry = replace(QUICK, **IMPATIENT.get(fault, {}))
    with pytest.raises(DownloadError) as error:
        fetch(remote(server, fault), tmp_path, retry=retry)
    line = str(error.value)
    assert said in line and "\n" not in line
    # How to help oneself.
    assert all(
        text in line
        for text in (server.url(fault, "a.gz"), str(tmp_path / "a.gz"), "100,000 bytes", SHA256)
    )
    assert not (tmp_path / "a.gz").exists()
    path = fetch_from_the_next(remote(server, fault, "good"), tmp_path, retry)
    assert path.read_bytes() == CONTENT


def fetch_from_the_next(file, folder, retry):
    """Fetch with increasing timeouts, because servers may be slow on a busy machine."""
    while True:
        try:
            return fetch(file, folder, retry=retry)
        except DownloadError:
            if retry.timeout >= HANGING:
                raise
        retry = replace(retry, timeout=2 * retry.timeout)


def test_a_refused_connection_leads_to_the_next_address(server, tmp_path):
    file = remote(server, "good")
    file = RemoteFile("a.gz", ("http://127.0.0.1:1/a.gz", *file.urls), SHA256, len(CONTENT))
    assert fetch(file, tmp_path, retry=QUICK).read_bytes() == CONTENT


def test_without_a_network_nothing_is_tried_again(tmp_path, monkeypatch):
    asked = []

    def no_name(*arguments, **options):
        asked.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="no network"):
        fetch(RemoteFile("a.gz", ("https://example.invalid/a.gz",), SHA256, 5), tmp_path)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "url", ["http://example.org/a.gz", "ftp://127.0.0.1/a.gz", "file:///etc/passwd"]
)
def test_only_https_is_spoken(url, tmp_path):
    with pytest.raises(DownloadError, match="not HTTPS"):
        fetch(RemoteFile("a.gz", (url,), SHA256, 5), tmp_path, retry=QUICK)


def test_a_redirect_to_the_same_is_followed(server, tmp_path):
    assert fetch(remote(server, "moved"), tmp_path, retry=QUICK).read_bytes() == CONTENT


def test_what_broke_off_is_continued_by_the_same_and_by_another_server(server, tmp_path):
    with pytest.raises(DownloadError):
        # Each attempt brings half of the rest, until all is there: stop after the first.
        fetch(remote(server, "half"), tmp_path, retry=RetryPolicy(pause=0.0, attempts=1))
    done = (tmp_path / ".a.gz.part").stat().st_size
    assert done == len(CONTENT) // 2
    server.asked.clear()
    assert fetch(remote(server, "good"), tmp_path, retry=QUICK).read_bytes() == CONTENT
    assert server.asked == [("good", f"bytes={done}-")]
    assert leftovers(tmp_path) == [".a.gz.checked", "a.gz"]


def test_a_server_that_breaks_off_again_and_again_gets_there(server, tmp_path):
    assert fetch(remote(server, "half"), tmp_path, retry=QUICK).read_bytes() == CONTENT
    assert len(server.asked) > 10


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    (tmp_path / ".a.gz.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server, "norange"), tmp_path, retry=QUICK).read_bytes() == CONTENT
    assert server.asked == [("norange", "bytes=1000-")]


def test_a_changed_file_is_not_appended_to_the_old_one(server, tmp_path):
    (tmp_path / ".a.gz.part").write_bytes(bytes(1000))
    url = server.url("good", "a.gz").replace("\\", "\\\\")
    (tmp_path / ".a.gz.part.json").write_text(f'{{"url": "{url}", "validator": "\\"v0\\""}}')
    assert fetch(remote(server, "good"), tmp_path, retry=QUICK).read_bytes() == CONTENT
    assert server.asked == [("good", "bytes=1000-")]  # with If-Range, which sent all of it


@pytest.mark.parametrize("part", [bytes(1000), bytes(len(CONTENT)), bytes(len(CONTENT) + 5)])
def test_a_damaged_part_is_thrown_away(part, server, tmp_path):
    (tmp_path / ".a.gz.part").write_bytes(part)
    (tmp_path / ".a.gz.part.json").write_text("{damaged")
    assert fetch(remote(server, "good"), tmp_path, retry=QUICK).read_bytes() == CONTENT


def test_a_size_that_nobody_knows_is_only_limited(server, tmp_path):
    file = remote(server, "good", size=len(CONTENT) + 7, exact=False)
    assert fetch(file, tmp_path, retry=QUICK).read_bytes() == CONTENT
    (tmp_path / "a.gz").unlink()
    # A part that is whole already: the server has nothing to add.
    (tmp_path / ".a.gz.part").write_bytes(CONTENT)
    assert fetch(file, tmp_path, retry=QUICK).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="at most 5"):
        fetch(remote(server, "good", name="b.gz", size=5, exact=False), tmp_path, retry=QUICK)


def test_a_file_put_there_by_hand_is_checked(server, tmp_path):
    file = remote(server, "good")
    (tmp_path / "a.gz").write_bytes(CONTENT)
    assert is_complete(file, tmp_path / "a.gz") and fetch(file, tmp_path) == tmp_path / "a.gz"
    assert not server.asked
    (tmp_path / "a.gz").write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DownloadError, match="delete it"):
        fetch(file, tmp_path)
    (tmp_path / "a.gz").unlink()
    (tmp_path / "a.gz").mkdir()
    with pytest.raises(DownloadError, match="delete it"):
        fetch(file, tmp_path)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_network(server, tmp_path):
    (tmp_path / ".a.gz.part").mkdir()
    with pytest.raises(OSError):
        fetch(remote(server, "good", "good"), tmp_path, retry=QUICK)


def test_what_a_kill_at_the_very_end_left_is_removed(server, tmp_path):
    fetch(remote(server, "good"), tmp_path, retry=QUICK)
    (tmp_path / ".a.gz.part.json").write_text("{}")
    fetch(remote(server, "good"), tmp_path, retry=QUICK)
    assert leftovers(tmp_path) == [".a.gz.checked", "a.gz"]


def test_every_published_file_is_fully_described():
    for named in NAMED_SETS.values():
        for file in named.files:
            assert all(url.startswith("https://") for url in file.urls) and len(
                set(file.urls)
            ) == len(file.urls)
            assert len(file.sha256) == 64 and int(file.sha256, 16) and 0 < file.size < 1 << 30
            assert file.name == file.name.strip("./\\") and "/" not in file.name
        assert len(named.members) == 4 and len(named.class_names) in (10, 26, 47, 62)
        assert len(set(named.class_names)) == len(named.class_names)


def test_one_process_at_a_time(tmp_path):
    waited, order = threading.Event(), []

    def second():
        with lock(tmp_path / "lock", waited.set, pause=0.001):
            order.append("second")

    with lock(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
