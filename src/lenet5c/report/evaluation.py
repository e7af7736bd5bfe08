"""The page that an evaluation writes."""

from lenet5c.report import page
from lenet5c.report.results import accuracy_card, confusion_section, errors_section


def evaluation_page(trained, result, record, pictures, comparison=""):
    """A page about one evaluation.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
    result : lenet5c.training.Evaluation
    record : dict
        What evaluation.json holds.
    pictures : dict
        'confusion' and 'errors' -> bytes of PNG files; any may be missing.
    comparison : str
        Lines on another model.

    Returns
    -------
    str
        HTML.
    """
    of = f"{record['part']} images"
    return page.page(
        f"Evaluation of {record['model']}",
        page.heading(
            f"Evaluation of {record['model']}",
            f"{type(trained.model).__name__} with {trained.model.num_params:,} parameters, asked about "
            f"{result.count:,} {of} of {'MNIST' if record['data'] == 'mnist' else record['data']}. "
            f"lenet5c {record['lenet5c']}.",
        ),
        page.facts(
            accuracy_card(result, of),
            ("loss", f"{result.loss:.4f}", "mean cross-entropy"),
            ("classes", len(trained.class_names), ""),
            ("mistakes", f"{result.count - result.correct:,}", ""),
        ),
        *(page.paragraph(f"Note: {note.rstrip('.')}.") for note in record["notes"]),
        page.section("Compared with another model", *map(page.paragraph, comparison.splitlines())),
        confusion_section(pictures, result, trained.class_names),
        errors_section(pictures, result),
    )
