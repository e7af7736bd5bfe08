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
OF_FOLDER = ("data_digest", "start_digest")


def start_together(run: "Run", ranks: Ranks) -> bool:
    """Bring all ranks to where the run of the first one is; return whether it is finished.

    Raises
    ------
    RankError
        Ranks have another configuration, other data, or other weights to start from.
    """
    finished = run.summary is not None
    if ranks.size == 1:
        return finished
    trainer = run.trainer
    trainer.ranks = ranks
    settings = {
        name: value for name, value in run.config.to_dict().items() if name not in OF_FOLDER
    }
    ranks.compare(
        {
            "configuration": digest(json.dumps(settings, sort_keys=True)),
            "data": spread_digest(run.source, run.rehearsed),
            # Those of AVX2, AVX-512 and NEON give the same bits.
            "kernels": "baseline" if kernels.isa == "baseline" else "with fused multiply-add",
        }
    )
    finished, begun = ranks.broadcast([finished, trainer.steps_taken > 0])
    if begun and not finished:
        values, arrays = trainer.state()
        values, arrays = ranks.broadcast(values), ranks.broadcast_arrays(arrays)
        if not ranks.first:
            trainer.load_state(values, arrays)
    if not finished:
        compare_weights(run, ranks)
    return bool(finished)


def compare_weights(run: "Run", ranks: Ranks) -> None:
    """See that all ranks have the same weights, to the bit.

    Raises
    ------
    RankError
        They have not, on all ranks.
    """
    if ranks.size > 1:
        after = f"weights after step {run.trainer.steps_taken}"
        ranks.compare({after: digest(*run.trainer.model.state_dict().values())})
