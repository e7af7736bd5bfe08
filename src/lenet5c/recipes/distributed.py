"""Runs distributed over several processes, compared at the start and during training."""

import json
from typing import TYPE_CHECKING

from lenet5c import kernels
from lenet5c._files import digest
from lenet5c.recipes.digests import spread_digest
from lenet5c.training.parallel import Ranks

if TYPE_CHECKING:
    from lenet5c.recipes.run import Run

# Settings known only to the rank with the folder.
OF_FOLDER = ("data_digest", "start_digest", "taught_by_digest")


def compare_runs(run: "Run", ranks: Ranks) -> None:
    """Check that all ranks have the same run, and share its work.

    Raises
    ------
    RankError
        If ranks have different configurations, data, or initial weights.
    """
    if ranks.size == 1:
        return
    run.trainer.ranks = ranks
    config = run.config.to_dict().items()
    settings = {name: json.dumps(value) for name, value in config if name not in OF_FOLDER}
    ranks.compare(
        {
            **settings,
            "data": f"{run.config.data} ({spread_digest(run.source, run.rehearsed)})",
            # The results of AVX2, AVX-512 and NEON are bit-identical.
            "kernels": "baseline" if kernels.isa == "baseline" else "with fused multiply-add",
            "initial weights": _digest_weights(run),
        }
    )


def resume_ranks(run: "Run", ranks: Ranks) -> bool:
    """Restore all ranks to the state of the first one; return True if it is finished."""
    trainer = run.trainer
    finished, begun = ranks.broadcast([run.summary is not None, trainer.steps_taken > 0])
    if finished and ranks.size > 1:
        _share_model(run, ranks)
    elif begun and ranks.size > 1:
        values, arrays = trainer.state()
        values, arrays = ranks.broadcast(values), ranks.broadcast_arrays(arrays)
        if not ranks.first:
            trainer.load_state(values, arrays)
    return bool(finished)


def _share_model(run: "Run", ranks: Ranks) -> None:
    """Copy the model of a finished run to all ranks."""
    arrays = run.trained.model.state_dict() if ranks.first else {}
    arrays = ranks.broadcast_arrays(arrays)
    temperature = ranks.broadcast(run.trained.temperature)
    if not ranks.first:
        run.trained.model.load_state_dict(arrays)
        run.trained.temperature = temperature


def compare_weights(run: "Run", ranks: Ranks) -> None:
    """Check that the weights of all ranks are bit-identical.

    Raises
    ------
    RankError
        If they are not.
    """
    if ranks.size > 1:
        ranks.compare({f"weights after step {run.trainer.steps_taken}": _digest_weights(run)})


def _digest_weights(run: "Run") -> str:
    return digest(*run.trainer.model.state_dict().values())
