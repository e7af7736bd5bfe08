"""Runs that several processes carry out together: begun alike, and compared as they go on."""

import json
from typing import TYPE_CHECKING

from lenet5c import kernels
from lenet5c._files import digest
from lenet5c.recipes.digests import spread_digest
from lenet5c.training.parallel import Ranks

if TYPE_CHECKING:
    from lenet5c.recipes.run import Run

# Of a configuration, what only the rank with the folder knows.
OF_FOLDER = ("data_digest", "start_digest", "taught_by_digest")


def compare_runs(run: "Run", ranks: Ranks) -> None:
    """See that all ranks are about to do the same, and let their trainers share it.

    Raises
    ------
    RankError
        They have another configuration, other data, or other weights to start from.
    """
    if ranks.size == 1:
        return
    run.trainer.ranks = ranks
    settings = run.config.to_dict().items()
    told = {name: json.dumps(value) for name, value in settings if name not in OF_FOLDER}
    ranks.compare(
        {
            **told,
            "data": f"{run.config.data} ({spread_digest(run.source, run.rehearsed)})",
            # Those of AVX2, AVX-512 and NEON give the same bits.
            "kernels": "baseline" if kernels.isa == "baseline" else "with fused multiply-add",
            "initial weights": _digest_weights(run),
        }
    )


def resume_together(run: "Run", ranks: Ranks) -> bool:
    """Bring all ranks to where the run of the first one is; return whether it is finished."""
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
    """Let all ranks have the model of a finished run."""
    arrays = run.trained.model.state_dict() if ranks.first else {}
    arrays = ranks.broadcast_arrays(arrays)
    temperature = ranks.broadcast(run.trained.temperature)
    if not ranks.first:
        run.trained.model.load_state_dict(arrays)
        run.trained.temperature = temperature


def compare_weights(run: "Run", ranks: Ranks) -> None:
    """See that all ranks have the same weights, to the bit.

    Raises
    ------
    RankError
        They have not.
    """
    if ranks.size > 1:
        ranks.compare({f"weights after step {run.trainer.steps_taken}": _digest_weights(run)})


def _digest_weights(run: "Run") -> str:
    return digest(*run.trainer.model.state_dict().values())
