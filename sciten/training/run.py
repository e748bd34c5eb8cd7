"""A training run from its configuration to a model with its report."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sciten.errors import ConfigError, SciTenError
from sciten.files import alone_in, remove_left_behind
from sciten.training.checkpoint import identity, read_checkpoint, require_same
from sciten.training.distributed import Ranks, ranks
from sciten.training.loop import Trainer, checkpoint_path
from sciten.training.metrics import MetricsLog
from sciten.training.plots import learning_curves
from sciten.training.report import Section, write_report
from sciten.training.run_config import RunConfig
from sciten.training.task import Findings, Task


@dataclass(frozen=True)
class TrainResult:
    """What a call of `train` came to.

    Attributes:
        task: what was learned.
        output: the folder with `model/`, `metrics.jsonl`, `config.yaml`, `checkpoint/`, `report.html`, plots.
        finished: False where SIGTERM ended it early; the same call continues.
        already_complete: whether an earlier call had finished this run, so that nothing was done.
        epochs: epochs done in all.
        seconds: time spent in training, over all calls.
        validation: the final model on the validation set; None without one, where not finished or already
            complete, or in another process than the first.
        rank: of this process among those that trained together.
    """

    task: Task[Any, Any, Any]
    output: Path
    finished: bool
    already_complete: bool
    epochs: int
    seconds: float
    validation: Findings | None = None
    rank: int = 0

    def model(self) -> Any:
        """The trained model: a potential or a neural operator."""
        return self.task.load(self.output)


def train(config: RunConfig, *, model: Any | None = None, progress: bool = True) -> TrainResult:
    """Train a model, or continue a run that was interrupted.

    The same call on the same output folder continues from the last checkpoint and ends with the same weights,
    bit for bit, as an uninterrupted run. Under torchrun, every process takes its share of each batch.

    Args:
        config: the run: a `TrainConfig` for a potential, an `OperatorConfig` for a neural operator.
        model: the model to train, in place of the one that `config.model` describes.
        progress: whether to show progress bars on a terminal.

    Raises:
        DataError: the training data cannot be used; the message names the file and the frame.
        ConfigError: the configuration cannot be used, or the output folder is another run's, or in use by one.
    """
    with ranks(config.device) as team, _threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _train(config, model, team, progress)


def training_sections(config: RunConfig, validation: Findings | None) -> list[Section]:
    """The sections of a training report: learning curves and, where there is one, the validation."""
    output = config.output
    lines = MetricsLog(output / "metrics.jsonl").read()
    curves = learning_curves(lines, output, config.task().panels)
    summary = f"{len(lines)} epochs in {lines[-1]['seconds'] / 60:.1f} minutes of training and validation."
    if any(line["stage"] == 2 for line in lines):
        summary += " The dotted line marks the start of the second stage."
    sections = [Section("Learning curves", summary, figures=[curves.name])]
    if validation is not None:
        figures = [path.name for path in validation.write(output)]
        sections.append(Section("Validation", validation.remark, validation.rows(), figures))
    return sections


def _train(config: RunConfig, model: Any | None, team: Ranks, progress: bool) -> TrainResult:
    ours = identity(config, model)
    if team.is_first and ours["train_file"] == ours.get("valid_file"):
        warnings.warn(
            f"valid_file={config.valid_file} holds what train_file={config.train_file} holds: errors will be those of "
            "samples that were trained on; take other samples, or set valid_fraction in the place of valid_file",
            stacklevel=3,
        )
    saved = _saved(config, ours)
    if saved is not None and saved[1]["progress"]["over"] and (config.output / "report.html").is_file():
        state = saved[1]["progress"]
        return TrainResult(
            config.task(), config.output, True, True, state["epoch"], state["seconds"], rank=team.rank
        )
    progress = progress and team.is_first
    model, data = config.task().prepare(model, device=team.device, progress=progress)
    trainer = Trainer(config, model, data, team, ours, progress=progress)
    with contextlib.ExitStack() as stack:
        refusal: SciTenError | None = None
        if team.is_first:
            try:
                stack.enter_context(alone_in(config.output))
            except SciTenError as error:
                refusal = error
        if float(team.total(torch.tensor(float(refusal is not None)))):
            raise refusal or ConfigError(f"{config.output}: cannot be used, as the first process says")
        return _continued(trainer)  # no other run writes meanwhile


def _continued(trainer: Trainer) -> TrainResult:
    config, team = trainer.config, trainer.ranks
    saved = _saved(config, trainer.identity)
    team.wait()  # every process has looked before the first one writes
    if saved is not None:
        trainer.restore(*saved)
    if team.is_first:
        for folder in (config.output, trainer.checkpoint.parent, config.output / "model"):
            remove_left_behind(folder)
        config.write(config.output / "config.yaml")
    finished = trainer.run()
    validation = _finish(trainer) if finished and team.is_first else None
    team.wait()
    state = trainer.state
    return TrainResult(
        trainer.task, config.output, finished, False, state.epoch, state.seconds, validation, team.rank
    )


def _saved(config: RunConfig, ours: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    path = checkpoint_path(config.output)
    if path.is_file():
        tensors, state = read_checkpoint(path)
        require_same(path.parent, state["identity"], ours)
        return tensors, state
    if (config.output / "model").exists():
        raise ConfigError(
            f"output={config.output}: expected a new folder or one with a checkpoint to continue from; it "
            "holds a model but no checkpoint, and nothing was overwritten; choose another output"
        )
    return None


def _finish(trainer: Trainer) -> Findings | None:
    """Save the best model, evaluate it and write the report, whose presence says that all is done."""
    config, state, task = trainer.config, trainer.state, trainer.task
    trainer.average.model.load_state_dict(trainer.best_weights())
    provenance = {
        "train_file": config.train_file.name,
        "train_file_sha256": trainer.identity["train_file"],
        "epochs": str(state.epoch),
        "best_valid_loss": repr(state.best_loss),
    }
    task.save(trainer.average.model, config.output / "model", provenance)
    validation = None
    if trainer.data.valid is not None:
        validation = task.evaluate(trainer.average.model, trainer.data.valid, str(config.output))
    sections = [_overview(trainer), *training_sections(config, validation)]
    write_report(config.output / "report.html", f"Training of {config.output.name}", sections)
    return validation


def _overview(trainer: Trainer) -> Section:
    data, task = trainer.data, trainer.task
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    samples = f"{len(data.train)} training" + (
        f", {len(data.valid)} validation" if data.valid is not None else ""
    )
    rows = [
        ["setting", "value"],
        [task.model_noun, type(trainer.model).__name__],
        ["parameters", f"{parameters:,}"],
        ["dataset", trainer.config.train_file.name],
        [task.sample_noun, samples],
        *task.overview(trainer.model, data),
        ["dtype", trainer.config.dtype],
        ["seed", str(trainer.config.seed)],
    ]
    return Section("Overview", "The settings in full are in config.yaml.", rows)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    earlier = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(earlier)
