"""The potential that a run starts from: built from the configuration and the data, or an earlier model."""

from typing import Any

import torch

from sciten.model_files import DTYPES
from sciten.potentials import Potential, load_potential, select_elements
from sciten.training.config import TrainConfig, potential_class
from sciten.training.data import TrainingData, open_data
from sciten.training.freezing import freeze
from sciten.training.statistics import fit_isolated_atom_energies, isolated_atom_energies, statistics


def prepare(
    config: TrainConfig, model: Potential | None = None, *, device: str | None = None, progress: bool = False
) -> tuple[Potential, TrainingData]:
    """The model to train, with its frozen blocks, and the data to train it on.

    Args:
        config: the run.
        model: trained as it is, in place of what `config.model` or `config.initial_model` describe.
        device: where the model goes, in place of `config.device`.
        progress: whether to show bars on a terminal.
    """
    if model is not None:
        data = open_data(config, model.cutoff)
        data.require_elements(model.elements)
    elif config.initial_model is not None:
        model, data = _continue(config)
    else:
        data = open_data(config, config.model["cutoff"])
        model = _build(config, data, progress)
    model = model.to(device or config.device).train().requires_grad_(True)
    freeze(model, config.freeze)
    return model, data


def _build(config: TrainConfig, data: TrainingData, progress: bool) -> Potential:
    arguments: dict[str, Any] = {key: value for key, value in config.model.items() if key != "kind"}
    elements = tuple(sorted(arguments["elements"] or data.elements()))
    data.require_elements(elements)
    isolated = isolated_atom_energies(config, data.train, elements)
    asked_for = ("average_neighbors", "scale", "shift")
    wanted = [key for key in asked_for if key in arguments and arguments[key] is None]
    if wanted:
        found = statistics(data.train, isolated, progress=progress)
        arguments |= {key: getattr(found, key) for key in wanted}
    arguments |= {"elements": elements, "isolated_atom_energies": [isolated[z] for z in elements]}
    return potential_class(config.model["kind"])(**arguments, seed=config.seed, dtype=DTYPES[config.dtype])


def _continue(config: TrainConfig) -> tuple[Potential, TrainingData]:
    earlier = load_potential(config.initial_model or "", dtype=DTYPES[config.dtype])
    data = open_data(config, earlier.cutoff)
    data.require_elements(earlier.elements)
    elements = data.elements()
    model = earlier
    if elements != earlier.elements:
        model = select_elements(earlier, elements)
    if config.isolated_atom_energies == "fit":
        energies = fit_isolated_atom_energies(data.train, elements, model)
    elif config.isolated_atom_energies != "initial":
        energies = isolated_atom_energies(config, data.train, elements)
    else:
        return model, data
    model.isolated_atom_energies.copy_(
        torch.tensor([energies[z] for z in model.elements], dtype=torch.float64)
    )
    return model, data
