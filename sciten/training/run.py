"""A training run from its configuration to a model with its report."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sciten.errors import ConfigError
from sciten.files import remove_left_behind
from sciten.potentials import Potential, load_potential, save_potential
from sciten.training.checkpoint import identity, read_checkpoint, require_same
from sciten.training.config import TrainConfig
from sciten.training.data import TrainingData
from sciten.training.distributed import Ranks, ranks
from sciten.training.evaluation import Evaluation, evaluate
from sciten.training.loop import Trainer, checkpoint_path
from sciten.training.metrics import MetricsLog
from sciten.training.models import prepare
from sciten.training.plots import learning_curves
from sciten.training.report import Section, write_report


@dataclass(frozen=True)
class TrainResult:
    """What a call of `train` came to.

    Attributes:
        output: the folder with `model/`, `metrics.jsonl`, `config.yaml`, `checkpoint/`, `report.html`, plots.
        finished: False where SIGTERM ended it early; the same call continues.
        already_complete: whether an earlier call had finished this run, so that nothing was done.
        epochs: epochs done in all.
        seconds: time spent in training, over all calls.
        validation: the final model on the validation set; None without one, where not finished or already
            complete, or in another process than the first.
    """

    output: Path
    finished: bool
    already_complete: bool
    epochs: int
    seconds: float
    validation: Evaluation | None = None

    def model(self) -> Potential:
        """The trained model."""
        return load_potential(self.output)


def train(config: TrainConfig, *, model: Potential | None = None, progress: bool = True) -> TrainResult:
    """Train a potential, or continue a run that was interrupted.

    The same call on the same output folder continues from the last checkpoint and ends with the same weights,
    bit for bit, as an uninterrupted run. Under torchrun, every process takes its share of each batch.

    Args:
        config: the run.
        model: the potential to train, in place of the one that `config.model` describes.
        progress: whether to show progress bars on a terminal.

    Raises:
        DataError: the training data cannot be used; the message names the file, the frame and the label.
        ConfigError: the configuration cannot be used, or the output folder is another run's.
    """
    with ranks(config.device) as team, _threads(config.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _train(config, model, team, progress)


def training_sections(output: Path, validation: Evaluation | None) -> list[Section]:
    """The sections of a training report: learning curves and, where there is one, the validation."""
    lines = MetricsLog(output / "metrics.jsonl").read()
    curves = learning_curves(lines, output)
    summary = f"{len(lines)} epochs in {lines[-1]['seconds'] / 60:.1f} minutes of training and validation."
    if any(line["stage"] == 2 for line in lines):
        summary += " The dotted line marks the start of the second stage."
    sections = [Section("Learning curves", summary, figures=[curves.name])]
    if validation is not None:
        figures = [path.name for path in validation.write(output)]
        text = "E is the energy of a whole frame, E/atom that divided by its atoms; F is per component."
        sections.append(Section("Validation", text, validation.rows(), figures))
    return sections


def _train(config: TrainConfig, model: Potential | None, team: Ranks, progress: bool) -> TrainResult:
    ours = identity(config, model)
    saved = _saved(config, ours)
    team.wait()  # every process has looked before the first one writes
    if saved is not None and saved[1]["progress"]["over"] and (config.output / "report.html").is_file():
        state = saved[1]["progress"]
        return TrainResult(config.output, True, True, state["epoch"], state["seconds"])
    progress = progress and team.is_first
    model, data = prepare(config, model, device=team.device, progress=progress)
    trainer = Trainer(config, model, data, team, ours, progress=progress)
    if saved is not None:
        trainer.restore(*saved)
    if team.is_first:
        for folder in (config.output, trainer.checkpoint.parent, config.output / "model"):
            remove_left_behind(folder)
        config.write(config.output / "config.yaml")
    finished = trainer.run()
    validation = _finish(trainer) if finished and team.is_first else None
    team.wait()
    return TrainResult(config.output, finished, False, trainer.state.epoch, trainer.state.seconds, validation)


def _saved(
    config: TrainConfig, ours: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
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


def _finish(trainer: Trainer) -> Evaluation | None:
    """Save the best model, evaluate it and write the report, whose presence says that all is done."""
    config, state = trainer.config, trainer.state
    trainer.average.model.load_state_dict(trainer.best_weights())
    provenance = {
        "train_file": config.train_file.name,
        "train_file_sha256": trainer.identity["train_file"],
        "epochs": str(state.epoch),
        "best_valid_loss": repr(state.best_loss),
    }
    save_potential(trainer.average.model, config.output / "model", provenance=provenance)
    validation = None
    if trainer.data.valid is not None:
        validation = evaluate(
            trainer.average.model,
            trainer.data.valid.dataset,
            indices=trainer.data.valid.indices,
            batch_size=config.valid_batch_size,
            model_name=str(config.output),
        )
    sections = [_overview(trainer, trainer.data), *training_sections(config.output, validation)]
    write_report(config.output / "report.html", f"Training of {config.output.name}", sections)
    return validation


def _overview(trainer: Trainer, data: TrainingData) -> Section:
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    frames = f"{len(data.train)} training" + (
        f", {len(data.valid)} validation" if data.valid is not None else ""
    )
    rows = [
        ["setting", "value"],
        ["potential", type(trainer.model).__name__],
        ["parameters", f"{parameters:,}"],
        ["dataset", trainer.config.train_file.name],
        ["frames", frames],
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
