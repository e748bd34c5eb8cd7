"""Potentials on disk: a folder with `model.safetensors` and `model.json`, see `sciten.model_files`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sciten.errors import ModelError
from sciten.model_files import ModelFormat, Stored
from sciten.potentials.base import Potential
from sciten.potentials.classes import POTENTIALS
from sciten.potentials.mace import MACE

CLEBSCH_GORDAN = "e3nn-0.5"  #: sign convention of our couplings, see sciten.equivariant.clebsch_gordan


def save_potential(
    model: Potential, folder: str | os.PathLike[str], *, provenance: Mapping[str, str] | None = None
) -> None:
    """Write a model to `folder`, in the place of one that stands there only when all is written.

    Args:
        model: any potential that sciten knows how to load.
        folder: made where it is not there.
        provenance: what the model was made from, free text by key.

    Raises:
        StorageError: the folder cannot be written.
        ModelError: the class is none that `load_potential` would build.
    """
    FORMAT.save(model, folder, provenance)


def load_potential(
    path: str | os.PathLike[str], *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Potential:
    """A model, ready for use: in evaluation mode, weights fixed (`requires_grad_(True)` to train it further).

    Args:
        path: a model folder, or a training output folder that holds one as `model/`.
        device: where it is to compute.
        dtype: float32 or float64; by default the one it was saved in.

    Raises:
        ModelError: the path is no model, or a damaged or pickled one; the message says which and what to do.
        ConfigError: torch cannot use the device here.
    """
    return FORMAT.load(path, device=device, dtype=dtype)


def _build(kind: Any, arguments: Mapping[str, Any], dtype: torch.dtype) -> Potential:
    model: Potential = kind(**arguments, dtype=dtype)
    return model


def _with_our_signs(model: Potential, stored: Stored) -> Mapping[str, Tensor]:
    convention = stored.document["clebsch_gordan"]
    if convention == CLEBSCH_GORDAN:
        return stored.tensors
    if convention != "e3nn-0.4" or not isinstance(model, MACE):
        raise ModelError(
            f"{stored.folder}: expected couplings of convention {CLEBSCH_GORDAN} or e3nn-0.4, got {convention!r}"
        )
    signs = model.signs_from_e3nn_04()
    return {
        key: value * signs[key].to(value.dtype) if key in signs else value
        for key, value in stored.tensors.items()
    }


def _convert(path: Path) -> str:
    script = "convert_torchmdnet.py" if path.suffix == ".ckpt" else "convert_mace.py"
    return f"convert it in its own environment with: python workflows/{script} MODEL OUTDIR"


FORMAT: ModelFormat[Potential] = ModelFormat(
    name="sciten-potential",
    family="potential",
    version=1,
    classes=POTENTIALS,
    build=_build,
    conventions={"clebsch_gordan": CLEBSCH_GORDAN},
    remarks={"units": {"energy": "eV", "length": "Å"}},
    adapt=_with_our_signs,
    pickle_remedy=_convert,
)
