"""Predictions of a data set as a file: values, rows, formats, and competition samples."""

import csv
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from lenet5c import nn
from lenet5c.datasets import Preparation, resize
from lenet5c.datasets.conversion import to_gray
from lenet5c.datasets.records import Records
from lenet5c.datasets.resampling import letterbox
from lenet5c.errors import MissingExtraError, UserError
from lenet5c.report import predictions
from lenet5c.report.predictions import choose_form, fit_images, read_form, write_predictions
from lenet5c.training import TrainedModel, open_model


@pytest.fixture(scope="module")
def trained():
    return open_model()


@pytest.fixture
def records(mnist_slice):
    _, test = mnist_slice
    return Records(test.images[:100], test.labels[:100])


def write(trained, records, form, suffix=".csv"):
    sink = BytesIO()
    score = write_predictions(sink, suffix, trained, records, form)
    return score, sink.getvalue()


def rows(content, delimiter=","):
    return list(csv.DictReader(content.decode().splitlines(), delimiter=delimiter))


def test_a_row_for_each_image(trained, records):
    score, content = write(trained, records, choose_form(trained, records, probabilities=True))
    expected = trained.probabilities(records.images)
    found = rows(content)
    names = [f"probability_{name}" for name in "0123456789"]
    assert list(found[0]) == ["id", "label", "probability", "true_label", *names]
    assert [row["id"] for row in found] == [str(i) for i in range(100)]
    assert [int(row["label"]) for row in found] == expected.argmax(axis=1).tolist()
    assert [int(row["true_label"]) for row in found] == records.labels.tolist()
    got = np.array([[float(row[name]) for name in names] for row in found])
    np.testing.assert_allclose(got, expected, atol=6e-7)
    assert all(
        float(row["probability"]) == max(map(float, list(row.values())[4:])) for row in found
    )
    right = int((expected.argmax(axis=1) == records.labels).sum())
    assert (score.count, score.correct) == (100, right)


def test_all_forms_hold_the_same(trained, records):
    parquet = pytest.importorskip("pyarrow.parquet")
    form = choose_form(trained, replace(records, labels=None))
    unlabeled = replace(records, labels=None)
    contents = {
        suffix: write(trained, unlabeled, form, suffix)[1] for suffix in predictions.WRITERS
    }
    expected = rows(contents[".csv"])
    assert list(expected[0]) == ["id", "label", "probability"]
    assert rows(contents[".tsv"], "\t") == expected
    assert contents[".ndjson"] == contents[".jsonl"]
    lines = [json.loads(line) for line in contents[".jsonl"].splitlines()]
    table = parquet.read_table(BytesIO(contents[".parquet"])).to_pylist()
    for each in (lines, table):
        assert [row["id"] for row in each] == list(range(100))
        assert [row["label"] for row in each] == [row["label"] for row in expected]
        np.testing.assert_allclose(
            [row["probability"] for row in each],
            [float(row["probability"]) for row in expected],
            atol=1e-6,
        )


def test_parquet_needs_an_extra(trained, records, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"lenet5c\[parquet\]"):
        write(trained, records, choose_form(trained, records), ".parquet")


@pytest.mark.parametrize("size", [16, 97, 100])
def test_chunks_do_not_show(trained, records, size, monkeypatch):
    form = choose_form(trained, records, probabilities=True)
    _, whole = write(trained, records, form)
    monkeypatch.setattr(predictions, "CHUNK", size)
    seen = []
    sink = BytesIO()
    write_predictions(sink, ".csv", trained, records, form, seen.append)
    assert sink.getvalue() == whole
    # A few images alone would go through the net one by one, and have other last digits.
    assert sum(seen) == 100 and min(seen) > size // 3 and max(seen) <= size


def test_names_that_a_table_could_mistake(records, tmp_path):
    names = ('a,"b"', "two\nlines", "犬")
    trained = TrainedModel(nn.LeNet5(3, rng=1), Preparation.named("default"), names)
    ids = [f"{i},\n;\t{chr(0xDC80)}" for i in range(100)]
    records = replace(records, labels=[names[i % 3] for i in range(100)], ids=ids)
    score, content = write(trained, records, choose_form(trained, records))
    text = content.decode("utf-8", "surrogateescape")
    found = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["id"] for row in found] == ids
    assert [row["true_label"] for row in found] == records.labels
    assert {row["label"] for row in found} <= set(names)
    assert score.correct == sum(row["label"] == row["true_label"] for row in found)
    for suffix in (".jsonl", ".parquet"):
        if suffix == ".parquet":
            pytest.importorskip("pyarrow")
        write(trained, records, choose_form(trained, records), suffix)


def test_labels_that_the_model_does_not_know_give_no_accuracy(trained, records):
    assert write(trained, records, choose_form(trained, records))[0].correct is not None
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    worded = replace(records, labels=[words[label] for label in records.labels])
    plain, words = (
        write(trained, each, choose_form(trained, each))[0] for each in (records, worded)
    )
    assert plain.correct == words.correct > 90
    strange = replace(records, labels=["cat", *map(str, records.labels[1:])])
    assert write(trained, strange, choose_form(trained, strange))[0].correct is None


class TestSample:
    def form(self, tmp_path, trained, records, *lines):
        path = tmp_path / "sample_submission.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
        return read_form(path, trained, records)

    def test_kaggles(self, tmp_path, trained, records):
        lines = ["ImageId,Label", *(f"{i},0" for i in range(1, 101))]
        form = self.form(tmp_path, trained, records, *lines)
        _, content = write(trained, records, form)
        predicted = trained.predict(records.images)
        expected = [f"{i},{label}" for i, label in enumerate(predicted, start=1)]
        assert content.decode().splitlines() == ["ImageId,Label", *expected]

    def test_a_probability_for_each_class_in_the_sample_s_order(self, tmp_path, trained, records):
        lines = ["name\t9\t0", *(f"{i}\t.1\t.1" for i in range(100))]
        form = self.form(tmp_path, trained, records, *lines)
        _, content = write(trained, records, form, ".tsv")
        found = np.array([[float(row["9"]), float(row["0"])] for row in rows(content, "\t")])
        expected = trained.probabilities(records.images)[:, [9, 0]]
        np.testing.assert_allclose(found, expected, atol=6e-7)

    @pytest.mark.parametrize("form_of_id", ["{}", "b/{}", "b/{}.png"])
    def test_rows_are_found_by_their_ids(self, tmp_path, trained, records, form_of_id):
        records = replace(records, ids=[f"b/{i}.png" for i in range(100)])
        order = np.random.default_rng(0).permutation(100)
        lines = ["id,label", *(form_of_id.format(i) + ",0" for i in order)]
        score, content = write(trained, records, self.form(tmp_path, trained, records, *lines))
        found = {row["id"]: row["label"] for row in rows(content)}
        assert list(found) == [form_of_id.format(i) for i in order]
        for i, label in enumerate(trained.predict(records.images).tolist()):
            assert found[form_of_id.format(i)] == str(label)
        assert score.correct == sum(trained.predict(records.images) == records.labels)

    def test_what_is_no_sample_of_these_images(self, tmp_path, trained, records):
        with pytest.raises(UserError, match="a row for each of 100 images, got 1"):
            self.form(tmp_path, trained, records, "id,label", "0,0")
        with pytest.raises(UserError, match="a row for each of 100 images, got more"):
            self.form(tmp_path, trained, records, "id,label", *["0,0"] * 200)
        with pytest.raises(UserError, match="must be a CSV file"):
            self.form(tmp_path, trained, records, "id,label", "0" * 200_000 + ",0")
        with pytest.raises(UserError, match="a column of ids and one for labels.* got id, x, y"):
            self.form(tmp_path, trained, records, "id,x,y", "0,0,0")
        with pytest.raises(UserError, match="must have a column of ids"):
            self.form(tmp_path, trained, records, "id", "0")
        with pytest.raises(
            UserError, match="2 cells in each line, as in its header, got 3 in line 2"
        ):
            self.form(tmp_path, trained, records, "id,label", "0,0,0")
        named = replace(records, ids=[f"{i}.png" for i in range(100)])
        with pytest.raises(UserError, match="such as '0.png', without repetition, got '100'"):
            self.form(tmp_path, trained, named, "id,label", *(f"{i},0" for i in range(1, 101)))
        with pytest.raises(UserError, match="without repetition"):
            self.form(tmp_path, trained, named, "id,label", *["5.png,0"] * 100)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_form(tmp_path / "nowhere", trained, records)


def test_images_of_other_channels_and_sizes():
    rng = np.random.default_rng(0)
    gray, color = (rng.integers(0, 256, (5, c, 40, 30), np.uint8) for c in (1, 3))
    models = {
        c: TrainedModel(nn.LeNet5(2, c), Preparation((32, 32), "resize"), ("a", "b"), (c, 20, 20))
        for c in (1, 2, 3)
    }
    three = fit_images(models[3], gray)
    assert (three == letterbox(gray, (20, 20))).all() and three.shape == (5, 3, 20, 20)
    one = fit_images(models[1], color)
    expected = np.stack([to_gray(image.transpose(1, 2, 0)) for image in color])[:, None]
    assert (one == letterbox(expected, (20, 20))).all()
    same = resize(gray, (32, 32))
    assert fit_images(models[1], same) is same
    with pytest.raises(UserError, match="2 channels for this model, got 1"):
        fit_images(models[2], gray)


def test_a_model_that_went_wrong_is_told(trained, records):
    broken = open_model()
    broken.model.vector[:] = np.nan
    with pytest.raises(UserError, match="outputs of the model must be finite"):
        write(broken, records, choose_form(broken, records))
