"""``lenet5c data``, and training on folders, from the command line."""

import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from faulty_server import running_server
from idx_files import write_idx_files
from pictures_on_disk import write_pictures
from processes import run_python

from lenet5c.__main__ import main
from lenet5c.datasets.registry import NAMED_SETS, RemoteFile
from lenet5c.training import open_model

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def command(capsys):
    """Run a command in this process: exit code, output and errors."""

    def run(name, *arguments):
        if name == "train":
            arguments += ("--no-report",)
        try:
            code = main([name, *arguments])
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def pets(tmp_path):
    """Return a data set of three classes in two parts, with one of each possible problem."""
    root = tmp_path / "pets"
    for seed, (name, count) in enumerate((("bird", 2), ("cat", 12), ("dog", 30))):
        write_pictures(root / "train" / name, count, seed=seed)
        write_pictures(root / "test" / name, 2, seed=10 + seed)
    copy(root / "train/cat/0.png", root / "test/cat/leak.png")
    copy(root / "train/cat/1.png", root / "train/cat/twice.png")
    copy(root / "train/cat/2.png", root / "train/dog/label.png")
    Image.new("RGB", (12, 12), (7, 7, 7)).save(root / "train/dog/blank.png")
    (root / "train/cat/bad.png").write_bytes(b"no picture")
    (root / "train/cat/notes.txt").write_text("?")
    return root


def copy(source, target):
    target.write_bytes(source.read_bytes())


def test_inspect_finds_what_is_wrong(command, pets):
    found = json.loads(command("data", "inspect", pets, "--json").out)
    assert found["counts"] == {"train": [2, 13, 32], "test": [2, 3, 2]}
    assert found["class_names"] == ["bird", "cat", "dog"]
    assert found["leaks"] == [["train/cat/0.png", "test/cat/leak.png"]]
    assert found["duplicates"] == [["train/cat/1.png", "train/cat/twice.png"]]
    assert found["conflicts"] == [["train/cat/2.png", "train/dog/label.png"]]
    assert found["blank"] == ["train/dog/blank.png"]
    assert [name for name, _ in found["unreadable"]] == ["train/cat/bad.png"]
    assert found["sizes"] == {"12 x 12": 54} and found["kinds"] == {"PNG L": 53, "PNG RGB": 1}
    assert found["image_shape"] == [1, 12, 12]
    assert len(found["warnings"]) == 7 and found["faults"] == []
    assert any(
        "dog (32): bird (2); lenet5c train --class-weight balanced --distortion modern" in line
        for line in found["warnings"]
    )
    assert any("only 7 test images:" in line for line in found["warnings"])
    assert found["notes"] == ["1 file without the name of an image, not read: 1 .txt"]


def test_inspect_in_words(command, pets):
    done = command("data", "inspect", pets)
    assert done.code == 0 and done.out.count("\nwarning   ") == 7
    assert "train/cat/0.png = test/cat/leak.png" in done.out and "cat        13      3" in done.out
    assert command("data", "inspect", pets, "--strict").code == 1


def test_inspect_of_what_is_well(command, tmp_path):
    for seed, (name, number) in enumerate((("a", 510), ("b", 103))):
        write_pictures(tmp_path / name, number, (40, 30), 3, seed=seed)
    done = command("data", "inspect", tmp_path, "--strict")
    assert done.code == 0 and "No warnings." in done.out and "read      as 3 x 40 x 30" in done.out
    assert "a sixth" in done.out


def test_pixel_statistics_are_those_of_training(command, idx_files, mnist_slice):
    found = json.loads(command("data", "inspect", idx_files, "--json").out)
    pixels = mnist_slice[0].images / 255
    assert (
        abs(found["mean"][0] - pixels.mean()) < 1e-4 and abs(found["std"][0] - pixels.std()) < 1e-4
    )
    assert sum(found["counts"]["train"]) == 2000 and found["kinds"] == {"gray": 2500}
    assert found["warnings"] == []


def test_inspect_of_idx_files_names_images_by_their_position(command, tmp_path, mnist_slice):
    train_set, test_set = mnist_slice
    folder = write_idx_files(tmp_path / "data", train_set.take([0, 1, 0]), test_set.take([3, 1]))
    found = json.loads(command("data", "inspect", folder, "--json").out)
    assert found["duplicates"] == [["train[0]", "train[2]"]]


def test_inspect_goes_on_past_faults(command, pets):
    """One of each problem: all are reported with the right type, and the exit code is 3."""
    (pets / "train" / "__pycache__").mkdir()
    (pets / "train" / "wolf").mkdir()
    (pets / "train" / "wolf" / "notes.txt").write_text("?")
    write_pictures(pets / "test" / "cow", 1)
    for path in (pets / "train" / "bird").iterdir():
        path.write_bytes(b"?")
    done = command("data", "inspect", pets, "--json")
    found = json.loads(done.out)
    assert done.code == 3 and found["class_names"] == ["bird", "cat", "cow", "dog", "wolf"]
    assert found["counts"] == {"train": [0, 13, 0, 32, 0], "test": [2, 3, 1, 2, 0]}
    faults = "\n".join(found["faults"])
    assert len(found["faults"]) == 3
    assert (
        "the class 'wolf' has no images to train on (1 file without the name of an image" in faults
    )
    assert "the class 'cow' has images in test, but none in train" in faults
    assert "no image of 'bird' can be read" in faults
    assert [name for name, _ in found["unreadable"]] == [
        *("train/bird/0.png", "train/bird/1.png", "train/cat/bad.png")
    ]
    done = command("data", "inspect", pets, "--strict")
    assert done.code == 3 and done.out.count("\nfault     ") == 3


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"cat": 3}, "got only 'cat'"),
        ({"": 3}, "but no folders"),
        ({"test/cat": 2, "test/dog": 2}, "but no train"),
        ({"train": 3, "test": 3}, "no folder for each class"),
        ({"train/a": 1, "training/a": 1}, "train and training, which are the same part"),
        ({}, "no images in folders"),
    ],
)
def test_inspect_of_what_cannot_be_trained_on(parts, said, command, tmp_path):
    (tmp_path / "data").mkdir()
    for name, number in parts.items():
        write_pictures(tmp_path / "data" / name, number)
    done = command("data", "inspect", tmp_path / "data", "--contact-sheet", tmp_path / "sheet.png")
    assert done.code == 3 and said in done.out and "\nfault     " in done.out, done.err
    train = command("train", "--data", tmp_path / "data", "--out", tmp_path / "run")
    assert train.code == 2 and said in train.err and not (tmp_path / "run").exists()


def test_inspect_warns_of_parts_taken_for_classes_and_of_pictures_not_read(command, tmp_path):
    for seed, name in enumerate(("first/cat", "first/dog", "second/cat", "second/dog")):
        write_pictures(tmp_path / name, 160, seed=seed)
    (tmp_path / "first" / "cat" / "a.psd").write_bytes(b"8BPS")
    found = json.loads(command("data", "inspect", tmp_path, "--json").out)
    assert found["counts"] == {"all": [320, 320]} and len(found["warnings"]) == 2
    assert "first, second contain the same folders (cat, dog)" in found["warnings"][0]
    assert "1 picture in unsupported formats: first/cat/a.psd" in found["warnings"][1]
    assert command("data", "inspect", tmp_path, "--strict").code == 1


def test_inspect_of_idx_files_goes_on_too(command, tmp_path, mnist_slice):
    train_set, test_set = mnist_slice
    ones = train_set.take(np.flatnonzero(train_set.labels == 0))
    folder = write_idx_files(tmp_path / "data", ones, test_set.take([3]))
    done = command("data", "inspect", folder, "--json")
    found = json.loads(done.out)
    assert done.code == 3 and sum(found["counts"]["train"]) == len(ones)


def test_inspect_of_tables_and_arrays_packed_or_not(command, tmp_path, mnist_slice):
    train_set, test_set = (part.take(np.arange(200)) for part in mnist_slice)
    (tmp_path / "data").mkdir()
    for name, part in (("train", train_set), ("test", test_set)):
        rows = np.column_stack([part.labels, part.images.reshape(len(part), -1)])
        np.savetxt(tmp_path / "data" / f"{name}.csv", rows, "%d", ",")
    np.savez(
        tmp_path / "a.npz",
        x_train=train_set.images[:, 0],
        y_train=train_set.labels,
        x_test=test_set.images[:, 0],
        y_test=test_set.labels,
    )
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "data")
    shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, "data")
    counts = [np.bincount(part.labels, minlength=10).tolist() for part in (train_set, test_set)]
    for name in ("data", "a.npz", "a.zip", "a.tar.gz"):
        done = command("data", "inspect", tmp_path / name, "--json")
        found = json.loads(done.out)
        assert done.code == 0 and found["counts"] == {"train": counts[0], "test": counts[1]}
        assert found["faults"] == [] and found["class_names"] == list("0123456789")
    done = command("train", "--data", tmp_path / "a.zip", "--epochs", 1, "--out", tmp_path / "run")
    assert done.code == 0 and "/200)" in done.out.splitlines()[-1]
    assert command("evaluate", tmp_path / "run").code == 0


def test_contact_sheet(command, pets, tmp_path):
    done = command("data", "inspect", pets, "--contact-sheet", tmp_path / "sheet.png")
    assert done.code == 0 and str(tmp_path / "sheet.png") in done.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[0] > 3 * 56 and pixels.shape[1] > 17 * 56 and pixels.min() < 10


@pytest.mark.parametrize("given", ["pictures-mixup", '{"flip": 1, "hue": 20}'])
def test_augmented_images(command, pets, tmp_path, given):
    options = ("--augment", given, "--contact-sheet", tmp_path / "sheet.png")
    done = command("data", "inspect", pets, *options)
    assert done.code == 0 and f"augmented images is {tmp_path / 'sheet.png'}" in done.out
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[0] > 2 * 96 and pixels.shape[1] > 10 * 96
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_contact_sheet_of_many_classes_with_long_and_foreign_names(command, tmp_path):
    for i in range(230):
        write_pictures(
            tmp_path / "data" / f"{i} {'long ' * 20}猫\u0e01", 1, (2, 300 if i == 5 else 2)
        )
    write_pictures(tmp_path / "data" / "0", 2, (200, 100), 3)
    assert (
        command(
            "data", "inspect", tmp_path / "data", "--contact-sheet", tmp_path / "sheet.png"
        ).code
        == 0
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 200 * 56 and sheet.width < 600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "nothing-here"], "'nothing-here'"),
        (["inspect", "{pets}", "--contact-sheet", "sheet.jpg"], "PNG"),
        (["inspect", "{pets}", "--contact-sheet", "nothing/sheet.png"], "create nothing first"),
        (["inspect", "{pets}", "--augment", "picture"], "--augment: name must be one of paper1998"),
        (["inspect", "{pets}", "--augment", "{{}}{{"], "--augment must be a name or settings"),
        (["inspect", "{pets}", "--augment", '{{"hue": 1e9}}'], "hue must be from 0 to 180"),
        (["inspect", "{pets}", "--augment", '{{"tint": 1}}'], "'tint'"),
        (["download", "fashon"], "fashon"),
        (["download"], "NAME"),
        (["list", "fashon"], "fashon"),
        (["path", "fashon"], "fashon"),
        ([], "COMMAND"),
        (["inspect"], "NAME_OR_PATH"),
    ],
)
def test_bad_use_is_one_line(arguments, said, command, pets):
    done = command("data", *(argument.format(pets=pets) for argument in arguments))
    assert (
        done.code == 2 and done.err.startswith("lenet5c data") and len(done.err.splitlines()) == 1
    )
    assert said in done.err


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serve a miniature QMNIST."""
    monkeypatch.setenv("LENET5C_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("LENET5C_OFFLINE", raising=False)
    with running_server() as server:
        named, files = NAMED_SETS["fashion"], []
        random = np.random.default_rng(0)
        for member in named.members:
            count = 40 if member.startswith("train") else 20
            if "images" in member:
                header, body = (
                    (2051, count, 28, 28),
                    random.integers(0, 256, (count, 28, 28)).astype(np.uint8),
                )
            else:
                header, body = (2049, count), (np.arange(count) % 10).astype(np.uint8)
            server.content[member] = content = np.array(header, ">u4").tobytes() + body.tobytes()
            url = server.url("good", member)
            files.append(
                RemoteFile(member, (url,), hashlib.sha256(content).hexdigest(), len(content))
            )
        monkeypatch.setitem(NAMED_SETS, "fashion", replace(named, files=tuple(files)))
        yield server


def test_download_and_list_and_path(command, server, tmp_path):
    place = tmp_path / "cache" / "fashion"
    assert command("data", "path").out.strip() == str(tmp_path / "cache")
    assert command("data", "path", "fashion").out.strip() == str(place)
    assert json.loads(command("data", "list", "--json").out)["fashion"]["cached"] == "no"
    done = command("data", "download", "fashion")
    assert done.code == 0 and str(place) in done.out and done.err.count("downloading") == 4
    assert command("data", "download", "fashion", "fashion").err == "" and len(server.asked) == 4
    found = json.loads(command("data", "list", "fashion", "--json").out)["fashion"]
    assert (
        found["cached"] == "yes"
        and len(found["files"]) == 4
        and found["class_names"][0] == "T-shirt/top"
    )
    (place / NAMED_SETS["fashion"].members[1]).write_bytes(b"?")
    assert "damaged" in command("data", "list").out
    details = command("data", "list", "fashion").out
    assert (
        NAMED_SETS["fashion"].files[0].sha256 in details
        and server.url("good", "train-images") in details
    )


def test_downloads_can_be_forbidden(command, server, monkeypatch):
    monkeypatch.setenv("LENET5C_OFFLINE", "1")
    done = command("data", "download", "fashion")
    assert done.code == 2 and "LENET5C_OFFLINE" in done.err and not server.asked


def test_train_fetches_what_it_is_asked_for(command, server, tmp_path):
    done = command("train", "--data", "fashion", "--epochs", 1, "--out", tmp_path / "run")
    assert done.code == 0 and f"to {tmp_path / 'cache' / 'fashion'}" in done.out
    trained = open_model(tmp_path / "run" / "model.safetensors")
    assert trained.reading == "whole" and trained.class_names[9] == "Ankle boot"
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["data"]
        == "fashion"
    )


@pytest.mark.parametrize(
    ("size", "channels", "options"),
    [
        ((64, 64), 3, ["--batch-norm", "--dropout", "0.2"]),
        ((20, 20), 1, ["--distortion", "modern"]),
        ((12, 12), 1, ["--preparation", "mean-image"]),
        ((100, 37), 3, []),
        ((300, 200), 1, ["--distortion", "paper1998"]),
    ],
)
def test_train_on_images_of_other_sizes(size, channels, options, command, tmp_path):
    for seed, name in enumerate(("ä", "猫", "dog cat")):
        write_pictures(tmp_path / "data" / name, 8, size, channels, seed=seed)
    out = tmp_path / "run"
    if "mean-image" in options:
        options = []  # its images must fit into 32 by 32, and 12 by 12 do not, unless resized
    done = command("train", "--data", tmp_path / "data", "--epochs", 1, "--out", out, *options)
    assert done.code == 0, done.err
    assert "no test set: 3 of 24 images" in done.out
    trained = open_model(out / "model.safetensors")
    assert trained.class_names == ("dog cat", "ä", "猫") and trained.reading == "whole"
    assert trained.image_shape == (channels, *(size if max(size) <= 128 else (128, 85)))


def test_train_on_three_images_a_class_and_on_rare_classes(command, tmp_path):
    for name in "abc":
        write_pictures(tmp_path / "tiny" / name, 3)
    assert (
        command("train", "--data", tmp_path / "tiny", "--epochs", 1, "--out", tmp_path / "1").code
        == 0
    )
    write_pictures(tmp_path / "rare" / "many", 60)
    write_pictures(tmp_path / "rare" / "few", 2)
    for seed in range(4):
        done = command(
            "train",
            "--data",
            tmp_path / "rare",
            "--epochs",
            1,
            "--seed",
            seed,
            "--validation",
            25,
            "--out",
            tmp_path / f"rare{seed}",
            "--quiet",
        )
        assert done.code == 0 and len(done.out.splitlines()) == 1
    done = command(
        "train",
        "--data",
        tmp_path / "rare",
        "--split",
        "last",
        "--validation",
        50,
        "--out",
        tmp_path / "2",
    )
    assert done.code == 2 and "leave an image of class 'many'" in done.err
    for name in "ab":
        write_pictures(tmp_path / "two" / name, 2)
    done = command("train", "--data", tmp_path / "two", "--out", tmp_path / "3")
    assert done.code == 2 and "validation" in done.err and "0 for none" in done.err
    done = command(
        "train",
        "--data",
        tmp_path / "two",
        "--epochs",
        1,
        "--validation",
        0,
        "--out",
        tmp_path / "3",
    )
    assert done.code == 0


def test_train_has_the_folder_s_own_validation(command, tmp_path):
    for part, count in (("train", 6), ("val", 3), ("test", 2)):
        for name in "ab":
            write_pictures(tmp_path / "data" / part / name, count)
    done = command("train", "--data", tmp_path / "data", "--epochs", 1, "--out", tmp_path / "run")
    assert (
        done.code == 0
        and "12 images for training, 6 for validation" in done.out
        and "(" in done.out.splitlines()[-1]
    )
    assert "/4)" in done.out.splitlines()[-1]


def test_bad_files_stop_a_training_unless_they_may_be_skipped(command, pets, tmp_path):
    out = tmp_path / "run"
    done = command("train", "--data", pets, "--epochs", 1, "--out", out)
    assert done.code == 2 and "--skip-bad" in done.err and not out.exists()
    done = command(
        "train", "--data", pets, "--epochs", 1, "--out", out, "--skip-bad", "--reading", "ink"
    )
    assert done.code == 0 and "skipped: train" in done.out
    assert open_model(out / "model.safetensors").reading == "ink"
    # A resumed run has the same images without being told again.
    assert command("train", "--resume", "--out", out).code == 0
    assert (
        "--reading must be ink, as in the run in"
        in command("train", "--resume", "--out", out, "--reading", "whole").err
    )
    write_pictures(pets / "train" / "bird", 3)
    assert "got other images or labels" in command("train", "--resume", "--out", out).err


def test_an_unknown_name_is_answered_with_the_nearest(command, tmp_path):
    done = command("train", "--data", "fashion-mnist", "--out", tmp_path / "run")
    assert done.code == 2 and "did you mean fashion?" in done.err


def test_mnist_needs_neither_pillow_nor_the_network():
    code = """
import sys
from lenet5c.datasets import open_source
open_source("mnist")
print(*{"PIL", "urllib.request", "zipfile", "concurrent.futures"} & set(sys.modules))
"""
    done = run_python(code)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_without_pillow_a_folder_says_what_to_install(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in "ab":
        (tmp_path / name / "0.png").write_bytes(b"?")
    code = """
import sys
sys.modules["PIL"] = None
from lenet5c.__main__ import main
sys.exit(main(["data", "inspect", sys.argv[1]]))
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 2 and "pip install 'lenet5c[images]'" in done.stderr


def test_predict_sees_the_images_of_a_folder_as_training_did(command, tmp_path):
    from lenet5c.datasets import image_folder
    from lenet5c.recognition import Reader

    for seed, name in enumerate(("ä", "b")):
        for part in ("train", "test"):
            write_pictures(
                tmp_path / "data" / part / name, 3, (40, 50), 3, suffix=".jpg", seed=seed
            )
            write_pictures(tmp_path / "data" / part / name / "large", 2, (200, 300), seed=seed)
    assert (
        command("train", "--data", tmp_path / "data", "--epochs", 2, "--out", tmp_path / "run").code
        == 0
    )
    trained = open_model(tmp_path / "run" / "model.safetensors")
    expected = trained.probabilities(image_folder(tmp_path / "data").test.images)
    files = [
        tmp_path / "data" / "test" / name
        for name in ("b/0.jpg", "b/1.jpg", "b/2.jpg", "b/large/0.png", "b/large/1.png", "ä/0.jpg")
    ]
    reader = Reader(trained)
    found = [list(reader(file).probabilities.values()) for file in files]
    assert np.allclose(found, expected[:6], atol=1e-6)


def test_evaluate_has_the_images_that_the_run_had(command, pets, tmp_path):
    out = tmp_path / "run"
    assert (
        command("train", "--data", pets, "--epochs", 1, "--out", out, "--skip-bad", "--quiet").code
        == 0
    )
    (pets / "test" / "dog" / "bad.png").write_bytes(b"?")
    done = command("evaluate", out, "--json")
    assert done.code == 0 and json.loads(done.out)["count"] == 7
    done = command("evaluate", out, "--data", pets)
    assert done.code == 2 and "--skip-bad" in done.err
    assert command("evaluate", out, "--data", pets, "--skip-bad").code == 0
