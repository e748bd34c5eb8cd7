"""Restricting a model to the elements that a dataset has, for fine-tuning large models on small chemistry."""

from collections.abc import Sequence
from typing import Any

import torch

from sciten.errors import ModelError
from sciten.potentials.base import Potential


def select_elements(model: Potential, elements: Sequence[int]) -> Potential:
    """A new model that knows only `elements`, with the same weights and the same energies and forces on them.

    Raises:
        ModelError: an element that the model does not know, or a model that cannot be restricted.
    """
    if unknown := sorted(set(elements) - set(model.elements)):
        raise ModelError(
            f"select_elements: the model does not know atomic numbers {unknown}; it has {list(model.elements)}"
        )
    kept = sorted(set(elements))
    positions = torch.tensor([model.elements.index(z) for z in kept], device=model.device)
    state = {
        name: model.restricted_entry(name, value, positions) for name, value in model.state_dict().items()
    }
    arguments = model.arguments()
    arguments["elements"] = kept
    arguments["isolated_atom_energies"] = model.isolated_atom_energies[positions].tolist()
    kind: Any = type(model)
    smaller: Potential = kind(**arguments, dtype=model.dtype).to(model.device)
    smaller.load_state_dict(state)
    return smaller
