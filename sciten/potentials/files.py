"""Models on disk: a folder with `model.safetensors` and `model.json`. Nothing is ever unpickled."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import sciten
from sciten.errors import ModelError
from sciten.files import atomic_path, save_tensors, sha256
from sciten.potentials.base import Potential
from sciten.potentials.classes import POTENTIALS
from sciten.potentials.devices import require_device
from sciten.potentials.mace import MACE

FORMAT = "sciten-potential"
FORMAT_VERSION = 1
CLEBSCH_GORDAN = "e3nn-0.5"  #: sign convention of our couplings, see sciten.equivariant.clebsch_gordan
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


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
    name = type(model).__name__
    if POTENTIALS.get(name) is not type(model):
        raise ModelError(f"save_potential: expected one of {', '.join(POTENTIALS)}, got {name}")
    folder = Path(folder)
    description: dict[str, Any] = {
        "class": name,
        "arguments": model.arguments(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "clebsch_gordan": CLEBSCH_GORDAN,
    }
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **description,
        "units": {"energy": "eV", "length": "Å"},
        "provenance": {"sciten": sciten.__version__, **(provenance or {})},
    }
    metadata = {"sciten_model_sha256": _fingerprint(description)}
    # Both files are complete before either is renamed: a full disk leaves the model that stood here.
    with (
        atomic_path(folder / "model.json") as temporary,
        atomic_path(folder / "model.safetensors") as weights,
    ):
        document["tensors_sha256"] = save_tensors(weights, model.state_dict(), metadata)
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
    if dtype not in (None, *_DTYPES.values()):
        raise ModelError(f"load_potential: expected dtype torch.float32 or torch.float64, got {dtype}")
    require_device(device)
    folder = _model_folder(Path(path))
    document = _read_document(folder / "model.json")
    tensors = _read_tensors(folder / "model.safetensors", document)
    stored = _DTYPES.get(document["dtype"])
    kind = POTENTIALS.get(document["class"])
    if kind is None or stored is None:
        raise ModelError(
            f"{folder / 'model.json'}: expected class {' or '.join(POTENTIALS)} and dtype {' or '.join(_DTYPES)}, "
            f"got {document['class']!r} and {document['dtype']!r}"
        )
    try:
        model = kind(**document["arguments"], dtype=stored)
        if document["clebsch_gordan"] != CLEBSCH_GORDAN:
            tensors = _with_our_signs(model, tensors, document["clebsch_gordan"], folder)
        model.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder}: the weights do not fit the arguments in model.json: {reason}") from error
    return model.to(device=device, dtype=dtype or stored).requires_grad_(False).eval()


def _model_folder(path: Path) -> Path:
    if path.is_file():
        hint = "a model is a folder with model.safetensors and model.json"
        if path.suffix in (".model", ".pt", ".pth", ".pkl", ".ckpt") or _looks_pickled(path):
            script = "convert_torchmdnet.py" if path.suffix == ".ckpt" else "convert_mace.py"
            hint = (
                "it looks like a pickled model, which sciten never loads because unpickling runs arbitrary code; "
                f"convert it in its own environment with: python workflows/{script} MODEL OUTDIR"
            )
        raise ModelError(f"{path}: expected a model folder, got a file; {hint}")
    for folder in (path, path / "model"):
        if (folder / "model.json").is_file():
            return folder
    if (path / "checkpoint").is_dir():
        raise ModelError(f"{path}: the training that writes here has no model yet; let it run to its end")
    raise ModelError(
        f"{path}: expected a folder with model.json and model.safetensors (or with model/ in it), found none"
    )


def _looks_pickled(path: Path) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(4)
    return head[:2] == b"PK" or head[:1] == b"\x80"


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path}: expected JSON, but it is damaged: {error}; restore the file from a copy"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelError(f"{path}: expected a file of format {FORMAT!r}; this is something else")
    if document.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{path}: expected format version {FORMAT_VERSION}, got {document.get('format_version')}; update sciten"
        )
    if missing := {"class", "arguments", "dtype", "clebsch_gordan", "tensors_sha256"} - set(document):
        raise ModelError(
            f"{path}: expected the key {sorted(missing)[0]!r}, which is missing; restore the file from a copy"
        )
    return document


def _read_tensors(path: Path, document: dict[str, Any]) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: expected the weights beside model.json, found no such file")
    if (found := sha256(path)) != document["tensors_sha256"]:
        raise ModelError(
            f"{path}: the file is damaged: expected SHA-256 {document['tensors_sha256']}, got {found}; "
            "restore it from a copy"
        )
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ModelError(f"{path}: expected a safetensors file: {error}") from error
    described = {key: document[key] for key in ("class", "arguments", "dtype", "clebsch_gordan")}
    if metadata.get("sciten_model_sha256") != _fingerprint(described):
        raise ModelError(
            f"{path.with_name('model.json')}: its arguments are not the ones these weights were saved with "
            "(hash mismatch); restore the file from a copy"
        )
    return tensors


def _fingerprint(description: Mapping[str, Any]) -> str:
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _with_our_signs(
    model: Potential, tensors: dict[str, Tensor], convention: str, folder: Path
) -> dict[str, Tensor]:
    if convention != "e3nn-0.4" or not isinstance(model, MACE):
        raise ModelError(
            f"{folder}: expected couplings of convention {CLEBSCH_GORDAN} or e3nn-0.4, got {convention!r}"
        )
    signs = model.signs_from_e3nn_04()
    return {
        key: value * signs[key].to(value.dtype) if key in signs else value for key, value in tensors.items()
    }
