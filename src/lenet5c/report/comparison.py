"""Comparison of models on the same images with McNemar's test, as text and tables."""

import textwrap
from typing import Any

from lenet5c._text import format_p, shorten, table
from lenet5c.datasets import Dataset
from lenet5c.report import page, tables
from lenet5c.training import Evaluation, TrainedModel, evaluate, holm, mcnemar
from lenet5c.training.ensemble import list_members

HEADING = ("member", "accuracy", "NLL", "only ensemble", "only member", "p", "p (Holm)")
MEMBERS = (
    "Members, with the number of images that only the ensemble or only the member classifies "
    "correctly; p-value of McNemar's exact test, and adjusted by Holm's method"
)


def compare_members(
    trained: TrainedModel, dataset: Dataset, result: Evaluation
) -> list[dict[str, Any]]:
    """Evaluate the members of an ensemble, and compare each with the ensemble.

    Returns
    -------
    list of dict
        A dict for JSON for each member; empty for a single net. `p_holm` is the p-value adjusted
        for the number of members.
    """
    rows: list[dict[str, Any]] = []
    for name, member in list_members(trained).items():
        alone = evaluate(member, dataset)
        test = mcnemar(result.right, alone.right)
        rows.append(
            {
                "member": name,
                "correct": alone.correct,
                "accuracy": alone.accuracy,
                "nll": alone.nll,
                "only_ensemble": test.only_a,
                "only_member": test.only_b,
                "p_value": test.p_value,
            }
        )
    adjusted = holm([row["p_value"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def members_table(members: list[dict[str, Any]]) -> str:
    """Return the members of an ensemble as text, each compared with the ensemble."""
    about = textwrap.fill(f"{MEMBERS}:", tables.WIDEST)
    return f"{about}\n{table([HEADING, *map(_cells, members)], 'lrrrrrr')}"


def members_section(members: list[dict[str, Any]]) -> str:
    """Return the comparison of members as HTML, empty for a single net."""
    if not members:
        return ""
    rows = page.table(HEADING, list(map(_cells, members)), numbers=range(1, len(HEADING)))
    return page.section("Members of the ensemble", page.paragraph(f"{MEMBERS}."), rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        shorten(row["member"], tables.NAME),
        f"{100 * row['accuracy']:.2f}%",
        f"{row['nll']:.4f}",
        str(row["only_ensemble"]),
        str(row["only_member"]),
        format_p(row["p_value"]),
        format_p(row["p_holm"]),
    )


def describe_comparison(
    name: str, result: Evaluation, other: dict[str, Any], width: int = tables.WIDEST
) -> str:
    """Return the comparison as text, with lines of at most this width."""
    second = other["model"]
    return "\n".join(
        [
            f"Compared with {second}: {100 * other['accuracy']:.2f}% "
            f"({other['correct']}/{result.count})",
            *(f"Note: {note.rstrip('.')}." for note in other["notes"]),
            f"both correct {other['both_correct']}, only {name} correct {other['only_first']}, "
            f"only {second} correct {other['only_second']}, both wrong {other['both_wrong']}",
            f"McNemar's exact test: {format_p(other['p_value'], 3, 'p')} "
            f"(mid-p {format_p(other['mid_p'], 3)})",
            textwrap.fill(
                interpret(name, other), width, break_long_words=False, break_on_hyphens=False
            ),
        ]
    )


def interpret(name: str, other: dict[str, Any]) -> str:
    """Return an interpretation of a p-value."""
    first, second, p = other["only_first"], other["only_second"], other["p_value"]
    if first + second == 0:
        return "Both models classify the same images correctly."
    if p >= 0.05:
        return (
            f"Equally good models differ at least this much in {100 * p:.0f} of 100 such "
            "comparisons: the difference is not significant."
        )
    better = name if first > second else other["model"]
    often = f"{100 * p:.2g} of 100" if p >= 1e-4 else "less than 1 of 10,000"
    return (
        f"Equally good models differ this much in {often} such comparisons: on images like these, "
        f"{better} is better. This applies to these two models, not to their training procedures; "
        "to compare those, use several seeds."
    )
