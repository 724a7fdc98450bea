"""The demo, started by `demo/run`: once as the supervisor, and by it once more inside a cell, where the steps
are played.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # where demo is this directory, not this file

from demo.stage import Stage  # noqa: E402
from lab import cell  # noqa: E402


def main() -> int:
    """Play the demo. 0: every claim held and nothing is left; 1: not so; 128 + N: stopped by signal N."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--networks", "--pause", "--plain", "--inside"):
        parser.add_argument(option, action="store_true")
    options = parser.parse_args()
    stage = Stage(options.plain, options.pause)
    return inside(stage, options.networks) if options.inside else outside(stage)


def outside(stage: Stage) -> int:
    """Let the cell play, then look at what is left on this machine and sum up."""
    why_not = cell.hindrance()
    if why_not:
        sys.stderr.write(f"demo/run: {why_not}\n")
        return 1
    supervisor = cell.Supervisor()
    told = supervisor.wait()
    stage.say()
    if supervisor.stopped:
        stage.say(f"Stopped by {signal.Signals(supervisor.stopped).name}.")
    left = supervisor.left(told["written"])
    tidy = stage.claim(
        not left,
        "nothing is left on this machine: no process, namespace, mount, link, nft table or file",
        "\n".join(left),
    )
    if told["written"]:
        stage.say(
            stage.paint("dim", f"     (nor any of the {len(told['written'])} files that were written inside)")
        )
    if not supervisor.stopped:
        conclude(stage, tidy and not supervisor.status, told["claims"])
    return supervisor.status or int(not tidy)


def conclude(stage: Stage, well: bool, claims: list[str]) -> None:
    """The last line."""
    if well:
        stage.say(stage.paint("green", f"All {int(claims[0]) + 1} claims held, in {stage.seconds():.0f} s."))
    else:
        stage.say(stage.paint("red", "Not all is as claimed: see above."))


def inside(stage: Stage, networks: bool) -> int:
    """In the cell: play one of the acts. There is nothing to clean up: when this process, PID 1, ends, the kernel ends the
    rest.
    """
    os.environ.update(LC_ALL="C", PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    try:
        cell.report("begins", [os.readlink("/proc/self/ns/pid")])
        cell.cover_checkout()
        if networks:
            from demo.networks import play
        else:
            from demo.steps import play
        play(stage)
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever it is, it is not as claimed
        place = traceback.extract_tb(error.__traceback__)[-1]
        stage.claim(
            False, "the demo can go on", f"{error or type(error).__name__} ({place.filename}:{place.lineno})"
        )
    return int(stage.failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # nobody reads any more; nothing is open then but stdout
        os._exit(1)
