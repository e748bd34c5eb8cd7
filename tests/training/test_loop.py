import dataclasses
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sciten.errors import ConfigError, DivergenceError, MissingExtraError
from sciten.potentials import Potential
from sciten.training import Adam, Constant, Cosine, Loss, TrainConfig
from sciten.training.checkpoint import identity
from sciten.training.distributed import Ranks
from sciten.training.loop import Trainer
from sciten.training.models import prepare
from tests.toys import ToyPotential
from tests.training.conftest import ISOLATED, TRUE_DEPTH, teacher

Make = Callable[..., TrainConfig]


def student(**changes: object) -> ToyPotential:
    arguments = {"isolated_atom_energies": list(ISOLATED.values()), "cutoff": 3.0, "depth": 0.3, **changes}
    return ToyPotential(tuple(ISOLATED), **arguments)


def trainer(config: TrainConfig, model: Potential | None = None) -> Trainer:
    ours = identity(config, model)
    model, data = prepare(config, model)
    config.output.mkdir(parents=True, exist_ok=True)
    return Trainer(config, model, data, Ranks(), ours)


FAST = {
    "epochs": 60,
    "optimizer": Adam(learning_rate=0.05, betas=(0.8, 0.9)),
    "schedule": Cosine(),
    "ema_decay": 0.5,
}


def test_finds_the_parameters_that_made_the_labels(config: Make) -> None:
    run = trainer(config(**FAST), student())
    assert run.run()
    expected = teacher().depth.detach()
    assert expected[0].item() == TRUE_DEPTH
    torch.testing.assert_close(run.average.model.depth, expected, rtol=0.02, atol=0)
    lines = run.log.read()
    assert len(lines) == 60
    # The product of the depths matters most, so the forces are better than either depth.
    assert (
        lines[-1]["valid_forces_rmse_mev_per_angstrom"]
        < 2e-3 * lines[0]["valid_forces_rmse_mev_per_angstrom"]
    )


def test_stress_trains_beside_molecules_without_one(config: Make, mixed: Path) -> None:
    run = trainer(
        config(
            **FAST,
            train_file=mixed,
            loss=Loss(energy=0, forces=0, stress=1e3),
            allow_missing=True,
            valid_fraction=0,
        ),
        student(),
    )
    run.run()
    # Only carbon is in the crystals, so only carbon's depth can be found.
    assert run.average.model.depth[1].item() == pytest.approx(teacher().depth[1].item(), rel=1e-3)
    assert run.average.model.depth[0].item() == pytest.approx(0.3)


def test_equal_seeds_give_equal_bits_and_others_do_not(config: Make) -> None:
    def weights(name: str, seed: int) -> torch.Tensor:
        run = trainer(config(output=config().output / name, seed=seed))
        run.run()
        return torch.cat([value.reshape(-1) for value in run.average.model.state_dict().values()])

    first, again, other = weights("a", 1), weights("b", 1), weights("c", 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_order_is_new_in_each_epoch_and_covers_all_frames(config: Make) -> None:
    run = trainer(config(batch_size=7), student())
    first = run._batches()
    assert [len(batch) for batch in first] == [7, 7, 4]
    run.state.epoch = 1
    second = run._batches()
    assert first != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(range(18))


def test_second_stage_has_its_own_weights_rate_and_best_model(config: Make) -> None:
    run = trainer(
        config(
            epochs=8,
            second_stage={"start": 0.75, "energy": 500, "forces": 1e5, "learning_rate": 1e-4},
            schedule=Constant(),
        ),
        student(),
    )
    run.run()
    lines = run.log.read()
    assert [line["stage"] for line in lines] == [1] * 6 + [2] * 2
    assert [line["learning_rate"] for line in lines] == [0.01] * 6 + [1e-4] * 2
    assert lines[6]["best"]  # the losses of two stages do not compare
    assert run.stage.loss.energy == 500


def test_early_stopping_ends_a_stage(config: Make) -> None:
    # A model that is right from the start cannot improve: every stage ends after its patience.
    settings = {"epochs": 50, "early_stopping": 3, "optimizer": Adam(learning_rate=0.05), "ema_decay": None}
    run = trainer(config(**settings, second_stage={"start": 40}, schedule=Constant()), teacher())
    run.run()
    stages = [line["stage"] for line in run.log.read()]
    assert stages.count(1) < 40
    assert 2 <= stages.count(2) < 10
    assert run.state.over


def test_max_time_ends_the_run(config: Make) -> None:
    run = trainer(config(epochs=1000, max_time=1e-6), student())
    run.run()
    assert (run.state.epoch, run.state.over) == (1, True)


def test_the_best_model_is_the_one_with_the_lowest_validation_loss(config: Make) -> None:
    # A rate this large wanders about, so the best epoch is not the last.
    run = trainer(
        config(epochs=12, optimizer=Adam(learning_rate=0.4), schedule=Constant(), ema_decay=None), student()
    )
    run.run()
    lines = run.log.read()
    best = min(range(12), key=lambda i: lines[i]["valid_loss"])
    assert best == max(i for i, line in enumerate(lines) if line["best"]) != 11
    run.average.model.load_state_dict(run.best_weights())
    assert run.validate()[0] == pytest.approx(lines[best]["valid_loss"], rel=1e-12)


def test_frozen_blocks_stay_and_others_move(config: Make) -> None:
    run = trainer(config(freeze=("interactions.0", "readouts.*.weight_1"), epochs=1))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    run.run()
    for name, value in run.model.named_parameters():
        fixed = name.startswith("interactions.0.") or name == "readouts.1.weight_1"
        assert torch.equal(value, before[name]) == fixed, name


def test_a_freeze_pattern_that_matches_nothing_names_the_nearest(config: Make) -> None:
    with pytest.raises(ConfigError, match=r"freeze: .*'interaction\.0', did you mean 'interactions\.0'"):
        trainer(config(freeze="interaction.0"))
    with pytest.raises(ConfigError, match=r"freeze: .* every parameter"):
        trainer(config(freeze="*"))


def test_divergence_names_epoch_step_and_remedy_and_keeps_the_checkpoint(config: Make) -> None:
    run = trainer(config(epochs=3), student())

    def poison(model: Potential) -> None:
        if run.state.epoch == 1 and run.state.step == 2:
            with torch.no_grad():
                run.model.depth[0] = float("nan")

    run.average.update = poison
    with pytest.raises(
        DivergenceError, match=r"epoch 1, step 3: the loss is nan; .*learning_rate \(now 0\.01\)"
    ):
        run.run()
    assert run.checkpoint.is_file()
    assert len(run.log.read()) == 1


def test_validation_does_not_depend_on_its_batches(config: Make) -> None:
    found = [
        trainer(config(valid_batch_size=size, valid_fraction=0.5), student()).validate()
        for size in (1, 3, 10)
    ]
    for loss, errors in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-12)
        assert errors == pytest.approx(found[0][1], rel=1e-12)


def test_validation_errors_are_those_of_numpy(config: Make) -> None:
    run = trainer(config(valid_fraction=0.5), student())
    frames = run.data.valid
    wrong = [run.average.model.evaluate([f.to_ase()])[0] for f in frames.structures()]
    right = list(frames.structures())
    energy = np.array([(a["energy"] - b.energy) / len(b) for a, b in zip(wrong, right, strict=True)])
    forces = np.concatenate([(a["forces"] - b.forces).reshape(-1) for a, b in zip(wrong, right, strict=True)])
    _, errors = run.validate()
    assert errors["valid_energy_per_atom_mae_mev"] == pytest.approx(1e3 * np.abs(energy).mean(), rel=1e-9)
    assert errors["valid_forces_rmse_mev_per_angstrom"] == pytest.approx(
        1e3 * np.sqrt((forces**2).mean()), rel=1e-9
    )


def test_frames_without_labels_do_nothing(config: Make) -> None:
    run = trainer(config(valid_fraction=0, epochs=1), student())
    batch = run.data.train.batch([0, 1])
    blank = dataclasses.replace(
        batch,
        energy_mask=torch.zeros(2, dtype=torch.bool),
        forces_mask=torch.zeros(batch.n_atoms, dtype=torch.bool),
    )
    assert run._backward(blank, torch.zeros(3, dtype=torch.float64), Loss()) == 0
    assert run.model.depth.grad is None or not run.model.depth.grad.any()


def test_tensorboard_is_optional_and_named(config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sciten\[tensorboard\]'"):
        trainer(config(tensorboard=True), student()).run()


def test_tensorboard_gets_the_numbers_of_metrics_jsonl(config: Make) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = trainer(config(tensorboard=True), student())
    run.run()
    events = reader.EventAccumulator(str(config().output / "tensorboard"))
    events.Reload()
    found = [scalar.value for scalar in events.Scalars("valid_loss")]
    assert found == pytest.approx([line["valid_loss"] for line in run.log.read()], rel=1e-6)
