"""The training loop: explicit, resumable at any step, and the same in one process or several."""

import dataclasses
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sciten.errors import ConfigError, DivergenceError
from sciten.training.average import WeightAverage
from sciten.training.checkpoint import (
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    under,
    write_checkpoint,
)
from sciten.training.distributed import Ranks
from sciten.training.metrics import EventLog, MetricsLog
from sciten.training.progress import Progress, Termination, watch_for_sigterm
from sciten.training.run_config import RunConfig, Stage
from sciten.training.schedules import PlateauState
from sciten.training.task import Data, LossSums, Samples, Task, WeightedLoss


class Trainer:
    """One run: a model, the average of its weights, an optimiser, and where the run stands.

    Args:
        config: the run; it says what its task is.
        model: to train, in place.
        data: to train it on.
        ranks: this process among others.
        identity: what a checkpoint must agree on, see `sciten.training.checkpoint.identity`.
        progress: whether to show bars on a terminal.
    """

    def __init__(
        self,
        config: RunConfig,
        model: nn.Module,
        data: Data[Any],
        ranks: Ranks,
        identity: dict[str, Any],
        *,
        progress: bool = False,
    ) -> None:
        self.config = config
        self.task: Task[Any, Any, Any] = config.task()
        self.model = model
        self.data = data
        self.ranks = ranks
        self.identity = identity
        self.average = WeightAverage(model, config.ema_decay)
        self.device = next(iter(model.parameters())).device
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer: Any = config.optimizer
        self.optimizer: torch.optim.Optimizer = optimizer.build(self.parameters)
        self.stages = config.stages()
        self.state = Progress()
        self.best: dict[str, Tensor] = {}
        self.log = MetricsLog(config.output / "metrics.jsonl")
        self.checkpoint = checkpoint_path(config.output)
        self._termination = Termination()
        self._clock = 0.0
        self._hidden = None if progress and ranks.is_first else True  # None: shown on a terminal only

    @property
    def stage(self) -> Stage[Any]:
        """The current stage."""
        return self.stages[self.state.stage]

    def run(self) -> bool:
        """Train to the end; False where SIGTERM came before it, after a checkpoint was written.

        Raises:
            DivergenceError: the loss or its gradient is not a finite number.
        """
        if self.ranks.is_first:
            self.log.cut(self.state.metrics_bytes)
        events = self._events()
        bar = tqdm(total=self.config.epochs, initial=self.state.epoch, desc="epochs", disable=self._hidden)
        with watch_for_sigterm() as self._termination, bar:
            while not self.state.over:
                metrics = self._run_epoch()
                if metrics is None:
                    return False
                if events is not None:
                    events.append(metrics)
                bar.set_postfix_str(
                    ", ".join([f"loss {metrics['train_loss']:.3g}", *self.task.summary(metrics)])
                )
                bar.update()
                if self.ranks.total(torch.tensor(float(self._termination.asked))) > 0:
                    self.save()
                    return False
                if self.state.over or self.state.epoch % self.config.checkpoint_every == 0:
                    self.save()
        return True

    def best_weights(self) -> dict[str, Tensor]:
        """The averaged weights with the lowest validation loss, or without validation the last ones."""
        return self.best or _copy(self.average.model)

    def save(self) -> None:
        """Write the checkpoint."""
        if not self.ranks.is_first:
            return
        tensors = {
            **prefixed("model", self.model.state_dict()),
            **prefixed("average", self.average.model.state_dict()),
            **prefixed("best", self.best),
            **prefixed("optimizer", optimizer_tensors(self.optimizer)),
            "random_state": torch.get_rng_state(),
        }
        state = {
            "identity": self.identity,
            "progress": dataclasses.asdict(self.state),
            "updates": self.average.updates,
        }
        write_checkpoint(self.checkpoint, tensors, state)

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from what `save` wrote."""
        self.model.load_state_dict(under("model", tensors))
        self.average.model.load_state_dict(under("average", tensors))
        self.average.updates = state["updates"]
        self.best = under("best", tensors)
        restore_optimizer(self.optimizer, under("optimizer", tensors))
        torch.set_rng_state(tensors["random_state"])
        self.state = Progress.from_json(state["progress"])

    def _run_epoch(self) -> dict[str, Any] | None:
        """Train and validate for one epoch; its metrics, or None where SIGTERM came first."""
        self._clock = time.perf_counter()
        for model in (self.model, self.average.model):
            self.task.begin_epoch(model, self.state.epoch)
        order = self._batches()
        left = order[self.state.step :]
        bar = tqdm(left, desc=f"epoch {self.state.epoch}", leave=False, disable=self._hidden)
        with closing(self._shares(self.data.train, left)) as batches:
            for samples, batch in zip(bar, batches, strict=True):
                if self._step(batch, len(samples), len(order)):
                    self._add_time()
                    self.save()
                    return None
        return self._close_epoch(len(order))

    def _batches(self) -> list[list[int]]:
        """The training samples in the order of this epoch, a function of the seed and the epoch alone."""
        order = np.random.default_rng([self.config.seed, self.state.epoch]).permutation(len(self.data.train))
        size = self.config.batch_size
        return [order[start : start + size].tolist() for start in range(0, len(order), size)]

    def _step(self, batch: Any, n_samples: int, n_steps: int) -> bool:
        """One optimiser step on this process's part of a global batch of `n_samples`, None where it has none.

        True, and no step, where a process is to end.
        """
        loss = self.stage.loss
        n = len(loss.weights())
        local = torch.zeros(n, dtype=torch.float64) if batch is None else self.task.label_counts(batch).cpu()
        counted = self.ranks.total(
            torch.cat([local, torch.tensor([float(self._termination.asked)], dtype=torch.float64)])
        )
        if counted[n] > 0:
            return True
        value = self._backward(batch, counted[:n].to(self.device), loss)
        self.ranks.add_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_clip or float("inf"))
        self._require_finite(value, float(norm))
        epoch = self.state.stage_epoch + self.state.step / n_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(epoch)
        self.optimizer.step()
        self.average.update(self.model)
        self.state.step += 1
        self.state.loss_sum += value * n_samples
        self.state.loss_frames += n_samples
        return False

    def _shares(self, samples: Samples[Any], order: Sequence[Sequence[int]]) -> Generator[Any, None, None]:
        """This process's part of each batch, None where it has none."""
        shares = [self.ranks.share(list(positions)) for positions in order]
        with closing(samples.batches([share for share in shares if share])) as batches:
            for share in shares:
                yield next(batches).to(self.device) if share else None

    def _backward(self, batch: Any, counts: Tensor, loss: WeightedLoss) -> float:
        """Gradients of this process's part of the loss; returns the loss of the global batch."""
        self.optimizer.zero_grad(set_to_none=True)
        value = torch.zeros((), dtype=torch.float64, device=self.device)
        if batch is not None:
            value = self.task.loss_sums(self.model, batch, loss).total(loss, counts)
            if value.requires_grad:
                value.backward()
        return float(self.ranks.total(value.detach()))

    def _rate(self, epoch: float) -> float:
        stage = self.stage
        return stage.learning_rate * stage.schedule.factor(epoch, stage.epochs, self.state.plateau)

    def _close_epoch(self, n_steps: int) -> dict[str, Any]:
        state = self.state
        metrics: dict[str, Any] = {"epoch": state.epoch, "stage": state.stage + 1}
        metrics["learning_rate"] = self._rate(state.stage_epoch + (n_steps - 1) / n_steps)
        metrics["train_loss"] = state.loss_sum / state.loss_frames
        if self.data.valid is not None:
            valid_loss, errors = self.validate()
            self._require_finite(valid_loss, 0.0)
            metrics |= {"valid_loss": valid_loss, **errors, "best": self._learn(valid_loss)}
        else:
            self.stage.schedule.observe(metrics["train_loss"], state.plateau)
        self._add_time()
        metrics |= {"epoch_seconds": state.epoch_seconds, "seconds": state.seconds}
        self._advance()
        if self.ranks.is_first:
            state.metrics_bytes = self.log.append(metrics)
        return metrics

    def validate(self) -> tuple[float, dict[str, float]]:
        """Loss and errors of the averaged weights on the validation set."""
        samples = self.data.valid
        if samples is None:
            raise ConfigError("validate: expected a validation set; set valid_file or valid_fraction")
        loss, size = self.stage.loss, self.config.valid_batch_size
        errors = self.task.errors(self.device)
        sums = torch.zeros(2, len(loss.weights()), dtype=torch.float64, device=self.device)
        order = [range(start, min(start + size, len(samples))) for start in range(0, len(samples), size)]
        with closing(self._shares(samples, order)) as batches:
            for batch in batches:
                if batch is not None:
                    part = self.task.validate(self.average.model, batch, loss, errors)
                    sums += torch.stack([part.sums, part.counts])
        errors.sums = self.ranks.total(errors.sums)
        sums = self.ranks.total(sums)
        return float(LossSums(sums[0], sums[1]).total(loss, sums[1])), errors.metrics("valid")

    def _learn(self, valid_loss: float) -> bool:
        """Take note of a validation loss; True where it is the best of this stage."""
        state = self.state
        self.stage.schedule.observe(valid_loss, state.plateau)
        if not self.task.counts_for_best(state.epoch):
            return False
        if state.best_loss is not None and valid_loss >= state.best_loss:
            state.bad_epochs += 1
            return False
        state.best_loss, state.bad_epochs = valid_loss, 0
        self.best = _copy(self.average.model)
        return True

    def _advance(self) -> None:
        """Move to the next epoch, to the next stage, or to the end."""
        state, config = self.state, self.config
        state.epoch += 1
        state.stage_epoch += 1
        patient = config.early_stopping is None or state.bad_epochs < config.early_stopping
        out_of_time = (
            config.max_time is not None and state.seconds + state.epoch_seconds > 60 * config.max_time
        )
        state.over = bool(self.ranks.total(torch.tensor(float(out_of_time and self.ranks.is_first))) > 0)
        if state.stage_epoch == self.stage.epochs or not patient:
            if state.stage + 1 < len(self.stages):
                # Losses with other weights do not compare: what is best is asked anew.
                state.stage, state.stage_epoch = state.stage + 1, 0
                state.best_loss, state.bad_epochs, state.plateau = None, 0, PlateauState()
            else:
                state.over = True
        state.step, state.loss_sum, state.loss_frames, state.epoch_seconds = 0, 0.0, 0, 0.0

    def _add_time(self) -> None:
        passed = time.perf_counter() - self._clock
        self.state.seconds += passed
        self.state.epoch_seconds += passed

    def _require_finite(self, loss: float, norm: float) -> None:
        if np.isfinite(loss) and np.isfinite(norm):
            return
        what = f"the loss is {loss}" if not np.isfinite(loss) else f"the norm of its gradient is {norm}"
        optimizer: Any = self.config.optimizer
        raise DivergenceError(
            f"epoch {self.state.epoch}, step {self.state.step}: {what}; try a lower optimizer.learning_rate "
            f"(now {optimizer.learning_rate:g}) or gradient_clip (now {self.config.gradient_clip}), or "
            f"dtype=float64; look for outliers with `sciten data info {self.config.train_file}`; the last "
            "checkpoint is kept"
        )

    def _events(self) -> EventLog | None:
        if not (self.config.tensorboard and self.ranks.is_first):
            return None
        return EventLog(self.config.output / "tensorboard", self.state.epoch)


def checkpoint_path(output: Path) -> Path:
    """The checkpoint file of a training output folder."""
    return output / "checkpoint" / "checkpoint.safetensors"


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
