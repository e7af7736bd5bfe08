"""Control group files, in simulated root folders."""

import pytest

from lenet5c.kernels.quota import cpu_quota


def quota(root, own_groups, **files):
    """Return the quota where /proc/self/cgroup and files below /sys/fs/cgroup have this content."""
    write(root / "proc/self/cgroup", own_groups)
    for path, content in files.items():
        write(root / "sys/fs/cgroup" / path, content)
    return cpu_quota(root)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    "own_groups, files, expected",
    [
        # v2: of the group itself, of one around it, the least of both
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "700000 100000\n"}, 3),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
        # not another's
        ("0::/a\n", {"b/cpu.max": "100000 100000\n"}, None),
        # the container's own root, where /proc names the path outside
        ("0::/docker/123\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/../123\n", {"cpu.max": "100000 100000\n"}, 1),
        # v1: alone, with the accounting, at the container's own root, without a limit
        (
            "4:cpu:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "3:cpuset:/x\n4:cpu,cpuacct:/a\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            2,
        ),
        (
            "4:cpuacct,cpu:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "100000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            1,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "100000\n"}, None),
        # both, as systemd's hybrid
        (
            "4:cpu:/\n0::/s\n",
            {"unified/s/cpu.max": "100000 100000\n", "cpu/cpu.cfs_quota_us": "-1\n"},
            1,
        ),
        # a colon in a name
        ("0::/a:b\n", {"a:b/cpu.max": "100000 100000\n"}, 1),
    ],
)
def test_quota(tmp_path, own_groups, files, expected):
    assert quota(tmp_path, own_groups, **files) == expected


@pytest.mark.parametrize(
    "own_groups",
    ["", "\n\n", "0", "0:", "::::", "0::", "no", "0::a\0b", b"\xff\xfe::/\n", "0::/" + "a" * 5000],
)
@pytest.mark.parametrize(
    "content",
    [
        "",
        "max",
        "100000",
        "100000 0",
        "0 100000",
        "-5 100000",
        "1.5 2",
        "many few",
        "1 2 3",
        b"\xff\xfe",
        "9" * 400 + " 1",
        "9" * 5000 + " 1",
    ],
)
def test_odd_content_is_no_limit(tmp_path, own_groups, content):
    files = {"cpu.max": content, "unified/cpu.max": content, "cpu/cpu.cfs_quota_us": content}
    assert quota(tmp_path, own_groups, **files) is None


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "sys/fs/cgroup/cpu.max").mkdir(parents=True)
    assert quota(tmp_path, "0::/\n") is None


def test_nothing_there(tmp_path):
    assert cpu_quota(tmp_path / "not/there") is None


def test_is_read_once(tmp_path):
    assert quota(tmp_path, "0::/\n", **{"cpu.max": "100000 100000"}) == 1
    assert quota(tmp_path, "0::/\n", **{"cpu.max": "900000 100000"}) == 1


def test_of_this_process():
    own = cpu_quota()
    assert own is None or own > 0
