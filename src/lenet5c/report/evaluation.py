"""The HTML page of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lenet5c.datasets import Dataset
from lenet5c.nn.ensemble import describe_kind
from lenet5c.report import page
from lenet5c.report.comparison import members_section
from lenet5c.report.probabilities import probability_sections
from lenet5c.report.results import accuracy_card, confusion_section, errors_section
from lenet5c.report.robustness import robustness_section
from lenet5c.report.tables import count_images
from lenet5c.training import Evaluation, TrainedModel


def evaluation_page(
    trained: TrainedModel,
    dataset: Dataset,
    result: Evaluation,
    record: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    folder: Path,
    comparison: str = "",
) -> str:
    """Return the page about one evaluation as HTML.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
    dataset : lenet5c.datasets.Dataset
        Data set with the classes of the model.
    result : lenet5c.training.Evaluation
    record : dict
        Content of evaluation.json.
    pictures : dict
        Bytes of PNG files by name: 'confusion', 'errors', 'reliability', 'rejections', 'roc' and
        'corruptions'; any may be missing.
    folder : Path
        Folder of the page, for links.
    comparison : str
        Text on the comparison with another model.
    """
    title = f"Evaluation of {record['model']}"
    data = "MNIST" if record["data"] == "mnist" else record["data"]
    lead = (
        f"{describe_kind(trained.model)} with {trained.model.num_params:,} parameters on "
        f"{count_images(result.count, record['part'])} of {data}. lenet5c {record['lenet5c']}."
    )
    return page.page(
        title,
        page.heading(title, lead),
        page.facts(
            accuracy_card(result, record["part"]),
            ("loss", f"{result.loss:.4f}", "mean cross-entropy"),
            ("classes", len(trained.class_names), ""),
            ("misclassified", f"{result.count - result.correct:,}", ""),
            ("ECE", f"{100 * result.ece:.2g} %", "expected calibration error, below"),
        ),
        *(page.paragraph(f"Note: {note.rstrip('.')}.") for note in record["notes"]),
        members_section(record.get("members", [])),
        page.section("Compared with another model", *map(page.paragraph, comparison.splitlines())),
        confusion_section(pictures, result, trained.class_names),
        *probability_sections(pictures, record["probabilities"], trained.class_names),
        robustness_section(pictures, record["corruptions"], record["model"])
        if "corruptions" in record
        else "",
        errors_section(pictures, dataset, result, folder),
    )
