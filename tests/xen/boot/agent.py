"""Runs in dom0 the commands that the tests send, one after another; the console gets a transcript of them,
with the seconds since the machine was started.

A request is a line of JSON: argv, env (null: this one's), input, timeout in seconds. So is the answer:
status, stdout, stderr.
"""

from __future__ import annotations

import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any

LATE = 124


def answer(argv: list[str], env: dict[str, str] | None, input: str | None, timeout: float) -> dict[str, Any]:
    """Run one command to its end, or to that of its time."""
    print(f"{time.monotonic():.1f} $", *argv, flush=True)
    try:
        ran = subprocess.run(
            argv,
            env=env,
            input=input,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
        )
    except OSError as error:
        return {"status": 127, "stdout": "", "stderr": f"{argv[0]}: {error.strerror}\n"}
    except subprocess.TimeoutExpired:
        return {"status": LATE, "stdout": "", "stderr": f"{argv[0]}: not within {timeout} s\n"}
    return {"status": ran.returncode, "stdout": ran.stdout, "stderr": ran.stderr}


def main() -> None:
    """Serve the one port there is, which can be opened once, until the machine ends."""
    raw = next(Path("/dev").glob("vport*")).open("r+b", buffering=0)
    requests, answers = io.BufferedReader(raw), io.BufferedWriter(raw)
    answers.write(b"ready\n")
    answers.flush()
    for line in requests:
        said = answer(**json.loads(line))
        print(
            said["stdout"],
            said["stderr"],
            f"[{said['status']}]\n" if said["status"] else "",
            sep="",
            end="",
            flush=True,
        )
        answers.write(f"{json.dumps(said)}\n".encode())
        answers.flush()


main()
