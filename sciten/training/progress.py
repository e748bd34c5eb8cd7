"""Where a run stands, and the signal that asks it to stop there."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sciten.training.schedules import PlateauState


@dataclass
class Progress:
    """Where a run stands; written to the checkpoint as JSON.

    Attributes:
        epoch: epochs done in all stages together.
        stage, stage_epoch: the current stage, and the epochs done in it.
        step: steps done in the current epoch.
        loss_sum, loss_frames: training loss times frames, and frames, of the current epoch.
        best_loss: lowest validation loss of this stage; None before the first.
        bad_epochs: epochs since then.
        plateau: state of the learning-rate schedule.
        seconds, epoch_seconds: time spent in training, in total and in the current epoch.
        metrics_bytes: size of metrics.jsonl.
        over: whether training has ended.
    """

    epoch: int = 0
    stage: int = 0
    stage_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_frames: int = 0
    best_loss: float | None = None
    bad_epochs: int = 0
    plateau: PlateauState = field(default_factory=PlateauState)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    metrics_bytes: int = 0
    over: bool = False

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> "Progress":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**state, "plateau": PlateauState(**state["plateau"])})


@dataclass
class Termination:
    """Whether SIGTERM has come."""

    asked: bool = False


@contextlib.contextmanager
def watch_for_sigterm() -> Iterator[Termination]:
    """Take note of SIGTERM instead of dying of it, so that the step is finished and a checkpoint written."""
    termination = Termination()
    if threading.current_thread() is not threading.main_thread():
        yield termination  # only the main thread may set a handler
        return

    def note(number: int, frame: Any) -> None:
        termination.asked = True

    earlier = signal.signal(signal.SIGTERM, note)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, earlier)
