"""Stress tests of lenet5c: kills, failing disks, malicious files, races, random kernels and nets.

    python tools/torture                       all parts, two minutes each
    python tools/torture kills --minutes 60    one part, for an hour
    python tools/torture --list                list the parts

A part makes random attempts until its time is over, and counts attempts and failures. The same seed
gives the same attempts; `--only N` repeats only attempt N, `--first N` begins with it. The exit
code is 1 if anything failed.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from torture.campaign import Campaign

PARTS = sorted(path.stem for path in Path(__file__).with_name("parts").glob("[a-z]*.py"))


def main() -> int:
    """Run the parts that are named; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python tools/torture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=2.0, help="time for each part (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the attempts (default 0)")
    parser.add_argument("--only", type=int, metavar="N", help="make attempt N alone")
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="begin with attempt N (default 0)"
    )
    parser.add_argument(
        "--answer-within",
        type=float,
        metavar="SECONDS",
        help="time in which the demo of http must answer (default 1) and a slow input of fuzz be "
        "read again (default 4); more on a busy machine",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--list", action="store_true", help="list the parts")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"PART must be of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    figures, failed = {}, False
    for name in options.parts or PARTS:
        part = import_module(f"torture.parts.{name}")
        if options.list:
            print(f"{name:10}{part.__doc__.splitlines()[0]}")
            continue
        campaign = Campaign(
            name,
            options.minutes * 60,
            options.seed,
            options.only,
            options.first,
            answer_within=options.answer_within,
        )
        part.run(campaign)
        print(campaign.report(), flush=True)
        figures[name] = campaign.figures()
        idle = campaign.attempts == 0 and not campaign.skipped
        failed = failed or bool(campaign.failures) or idle
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
