"""Results of a run for its summary.json."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import lenet5c
from lenet5c import kernels
from lenet5c.errors import RunError
from lenet5c.training import evaluate, mcnemar, wilson_interval
from lenet5c.training.matching import match_dataset
from lenet5c.training.parallel import ALONE, Ranks

if TYPE_CHECKING:
    from lenet5c.recipes.run import Run


def summarize(run: "Run", resumed: bool, seconds: float, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Return the results of a finished run that took `seconds`, for its summary.json."""
    trainer = run.trainer
    result = run.evaluation = evaluate(run.trained, run.source.test, ranks=ranks)
    summary = {
        "test_accuracy": result.accuracy,
        "test_correct": result.correct,
        "test_count": result.count,
        "test_interval": list(wilson_interval(result.correct, result.count)),
        "test_loss": result.loss,
        "temperature": run.trained.temperature,
        "seconds": round(seconds, 3),
        "parameters": trainer.model.num_params,
        "epochs": trainer.epoch,
        "recipe": run.config.recipe,
        "seed": run.config.seed,
        "kernels": kernels.isa,
        "threads": kernels.get_num_threads(),
        "lenet5c": lenet5c.__version__,
    }
    if ranks.size > 1:
        summary["ranks"] = ranks.size
    if resumed:
        summary["resumed"] = True  # `seconds` does not cover the whole run
    if run.start is not None and run.start.class_names == run.trained.class_names:
        before = evaluate(run.start, run.source.test, ranks=ranks)
        summary["start_test_accuracy"] = before.accuracy
        test = mcnemar(before.right, result.right)
        summary["start_p_value"] = test.p_value
        if run.rehearsed is not None:
            known = run.rehearsed.test
            with suppress(RunError):  # other classes or images than those of this model
                known, _ = match_dataset(run.start, known)
                summary["rehearsed_accuracy"] = evaluate(run.trained, known, ranks=ranks).accuracy
                at_first = evaluate(run.start, known, ranks=ranks)
                summary["start_rehearsed_accuracy"] = at_first.accuracy
    if run.teacher is not None:
        with suppress(ValueError):  # images larger than its input, which were cropped in training
            taught = evaluate(run.teacher, run.source.test, ranks=ranks)
            summary["teacher_test_accuracy"] = taught.accuracy
            summary["teacher_p_value"] = mcnemar(taught.right, result.right).p_value
    row = trainer.kept_row
    if row and "validation_accuracy" in row:
        summary["validation_accuracy"] = row["validation_accuracy"]
        summary["validation_count"] = len(trainer.validation_set or ())
    if fitted := trainer.calibration:
        summary["calibration_count"] = fitted.count
        summary["nll_before"], summary["nll_after"] = fitted.nll_before, fitted.nll_after
    if row and trainer.keep == "best":
        summary["kept_epoch"] = row["epoch"]
    return summary
