"""Restricting a model to the elements that a dataset has, for fine-tuning large models on small chemistry."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from sciten.errors import ModelError
from sciten.potentials.mace import MACE


def select_elements(model: MACE, elements: Sequence[int]) -> MACE:
    """A new model that knows only `elements`, with the same weights and the same energies and forces on them.

    Raises:
        ModelError: an element that the model does not know.
    """
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ModelError(
            f"select_elements: the model does not know atomic numbers {unknown}; it has {list(model.elements)}"
        )
    kept = sorted(set(elements))
    positions = torch.tensor([model.elements.index(z) for z in kept], device=model.device)
    arguments = model.arguments()
    arguments["elements"] = kept
    arguments["isolated_atom_energies"] = model.isolated_atom_energies[positions].tolist()
    smaller = MACE(**arguments, dtype=model.dtype).to(model.device)
    state = {
        name: _select(name, value, positions, len(model.elements))
        for name, value in model.state_dict().items()
    }
    smaller.load_state_dict(state)
    return smaller


def _select(name: str, value: Tensor, positions: Tensor, n_elements: int) -> Tensor:
    if name == "isolated_atom_energies" or re.fullmatch(r"products\.\d+\.weight_\d+_\d+", name):
        return value[positions]
    # One-hot elements enter with the factor 1/sqrt(n_elements), which changes with their number.
    factor = (len(positions) / n_elements) ** 0.5
    if name == "embedding.weight":
        return value[positions] * factor
    if ".skip." in name:
        return value[:, positions] * factor
    return value
