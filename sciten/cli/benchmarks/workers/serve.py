"""A worker's side of the conversation: a JSON object per line in, one per line out. Standard library only.

Requests are `{"do": "prepare", ...}` (what is to be timed), `{"do": "call"}` (time it once, or the mean of
`"repeats"` calls after one that is not counted), `{"do": "check"}` (numbers to compare with other workers') and
`{"do": "memory"}`. A failure is answered by `{"error": ...}`.
"""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What a worker was told to prepare.

    Attributes:
        call: what is timed.
        check: numbers that must agree between workers, as JSON values.
        facts: for the report: seconds to load the model (`load_s`), numbers of atoms and edges.
    """

    call: Callable[[], object]
    check: Callable[[], dict[str, Any]]
    facts: dict[str, Any]


def serve(
    prepare: Callable[[Request], Job], others: Mapping[str, Callable[[Request], dict[str, Any]]] | None = None
) -> None:
    """Answer requests until there are no more; `others` are actions besides the ones above.

    Replies go to the descriptor named by the last argument of the command, not to the standard output, where
    libraries print what they like.
    """
    replies = os.fdopen(int(sys.argv[-1]), "w", encoding="utf-8")
    session = _Session(prepare)
    actions = {
        "prepare": session.prepare,
        "call": session.call,
        "check": session.check,
        "memory": session.memory,
        **(others or {}),
    }
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = actions[request["do"]](request)
        except Exception as error:  # whatever it is, the driver is to hear of it
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


class _Session:
    def __init__(self, prepare: Callable[[Request], Job]) -> None:
        self._prepare = prepare
        self._job: Job | None = None
        self._before_mb: float | None = None

    @property
    def job(self) -> Job:
        if self._job is None:
            raise RuntimeError("nothing was prepared")
        return self._job

    def prepare(self, request: Request) -> dict[str, Any]:
        self._job = self._prepare(request)
        self._before_mb = memory_mb("VmRSS")
        return self._job.facts

    def call(self, request: Request) -> dict[str, Any]:
        repeats = request.get("repeats", 1)
        gc.collect()  # between the timings, not within one of them
        if repeats > 1:
            self.job.call()  # short calls are timed with warm caches and awake threads
        start = time.perf_counter()
        for _ in range(repeats):
            self.job.call()
        return {"seconds": (time.perf_counter() - start) / repeats}

    def check(self, request: Request) -> dict[str, Any]:
        return self.job.check()

    def memory(self, request: Request) -> dict[str, Any]:
        return {"peak_mb": memory_mb("VmHWM"), "before_mb": self._before_mb}


def memory_mb(key: str) -> float | None:
    """Resident memory of this process, now (`VmRSS`) or at most (`VmHWM`), in MB; None where Linux is not."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith(key))


def read_structures(path: str) -> list[dict[str, Any]]:
    """The structures that the driver wrote, as arguments of `ase.Atoms`."""
    structures: list[dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return structures
