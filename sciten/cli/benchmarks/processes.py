"""The driver's side of the conversation with workers, and timing them in turn."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from sciten.errors import SciTenError

SCRIPTS = Path(__file__).parent / "workers"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Idle OpenMP threads spin for a moment; the next worker should not start beside them.
_PAUSE = 0.1  # s


class WorkerError(SciTenError):
    """A worker of a benchmark failed or took too long; the message says which and how."""


class Worker:
    """A process that answers requests in JSON lines (see `workers/serve.py`). A context manager.

    Args:
        name: what it measures, for messages.
        command: that starts it; the descriptor to write replies to is added as its last argument.
        threads: that it may use.
        environment: variables to set (or, where None, to remove) besides.

    Raises:
        WorkerError: it cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        threads: int,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self.name = name
        wanted = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), **(environment or {})}
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._timed_out = False
        reading, writing = os.pipe()  # of their own for replies: libraries print what they like
        self._replies = os.fdopen(reading, encoding="utf-8")
        try:
            self._process = subprocess.Popen(
                [*map(str, command), str(writing)],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                text=True,
                env={key: value for key, value in wanted.items() if value is not None},
                pass_fds=[writing],
                start_new_session=True,  # so that a compiler it has started can be stopped with it
            )
        except OSError as error:
            self._log.close()
            self._replies.close()
            raise WorkerError(
                f"{name}: {command[0]} cannot be started ({error.strerror}); give the path of a Python"
            ) from error
        finally:
            os.close(writing)

    def ask(
        self, do: str, details: Mapping[str, Any] | None = None, *, limit: float | None = None
    ) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Args:
            do: the action.
            details: of the request, JSON values.
            limit: seconds after which the worker is killed.

        Raises:
            WorkerError: it answers that it failed, ends, or takes longer than `limit`.
        """
        timer = threading.Timer(limit or 0.0, self._time_out)
        if limit is not None:
            timer.start()
        try:
            line = self._exchange(json.dumps({"do": do, **(details or {})}))
        finally:
            timer.cancel()
        if not line:
            reason = f"took longer than {limit} s" if self._timed_out else f"ended; it said: {self._said()}"
            raise WorkerError(f"{self.name}: the worker, asked to {do}, {reason}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.name}: the worker, asked to {do}, failed: {reply['error']}")
        return reply

    def _exchange(self, request: str) -> str:
        if self._process.stdin is None:
            return ""
        with contextlib.suppress(BrokenPipeError):  # it has ended: there is no reply either
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        return self._replies.readline()

    def _said(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "nothing"

    def _time_out(self) -> None:
        self._timed_out = True
        self.kill()

    def kill(self) -> None:
        """Stop the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop the process and free what it held."""
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._replies, self._log):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def interleaved(
    workers: Sequence[Worker],
    rounds: int,
    *,
    repeats: Mapping[str, int] | None = None,
    pause: float = _PAUSE,
    after_round: Callable[[], object] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every worker's calls, by name.

    In each round every worker is called once, one at a time, forth in one round and back in the next; or as many
    times in a row as `repeats` says for its name, of which the mean is taken.
    """
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for i in range(rounds):
        for worker in workers if i % 2 == 0 else workers[::-1]:
            time.sleep(pause)
            request = {"repeats": (repeats or {}).get(worker.name, 1)}
            seconds[worker.name].append(worker.ask("call", request)["seconds"])
        if after_round is not None:
            after_round()
    return seconds
