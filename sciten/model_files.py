"""Models on disk: a folder with `model.safetensors` and `model.json`. Nothing is ever unpickled.

`model.json` names the class, one of an allow-list, and the arguments of its constructor; it carries the SHA-256 of the
weights, and the weights that of the description, so that neither can be damaged or exchanged unnoticed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import sciten
from sciten.devices import require_device
from sciten.errors import ModelError
from sciten.files import atomic_path, save_tensors, sha256

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_DESCRIPTION = ("class", "arguments", "dtype")


class Model(Protocol):
    """What a module must say of itself to be kept on disk."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        ...

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        ...


M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Stored:
    """A model as it was read: nothing is built yet.

    Attributes:
        folder: where it stands.
        document: what `model.json` says.
        tensors: the weights by name.
    """

    folder: Path
    document: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelFormat(Generic[M]):
    """How one family of models stands on disk.

    Attributes:
        name: the value of `format` in `model.json`.
        family: "potential", say: `save_family` and `load_family` are the names of the functions in messages.
        version: raised where older programs could no longer read what newer ones write.
        classes: the only classes that a file can ask for, by name.
        build: from a class, the constructor's arguments and a dtype to a model of that dtype.
        conventions: further fields that the weights depend on, such as a convention of signs.
        remarks: further fields that they do not, such as units.
        adapt: from a new model and what was read to the weights in this program's conventions.
        pickle_remedy: what to do with a file that looks pickled.
    """

    name: str
    family: str
    version: int
    classes: Mapping[str, type[M]]
    build: Callable[[type[M], Mapping[str, Any], torch.dtype], M]
    conventions: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[[M, Stored], Mapping[str, Tensor]] = lambda model, stored: stored.tensors
    pickle_remedy: Callable[[Path], str] = lambda path: "save the model again with sciten"

    def save(
        self,
        model: M,
        folder: str | os.PathLike[str],
        provenance: Mapping[str, str] | None = None,
        remarks: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a model to `folder`, in the place of one that stands there only when all is written.

        Args:
            model: of one of `classes`.
            folder: made where it is not there.
            provenance: what the model was made from, free text by key.
            remarks: of this model, beside those of the format.

        Raises:
            StorageError: the folder cannot be written.
            ModelError: the class is none of `classes`, or the model is in another precision than can be loaded.
        """
        name = type(model).__name__
        if self.classes.get(name) is not type(model):
            raise ModelError(f"save_{self.family}: expected one of {', '.join(self.classes)}, got {name}")
        if model.dtype not in DTYPES.values():
            raise ModelError(
                f"save_{self.family}: expected a model in {' or '.join(DTYPES)}, got {model.dtype}; save "
                "model.float(), or the model before it was rounded"
            )
        folder = Path(folder)
        description = {**_described(model), **self.conventions}
        document = {
            "format": self.name,
            "format_version": self.version,
            **description,
            **self.remarks,
            **(remarks or {}),
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

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> M:
        """A model, in evaluation mode, weights fixed.

        Args:
            path: a model folder, or a training output folder that holds one as `model/`.
            device: where it is to compute.
            dtype: float32 or float64; by default the one it was saved in.

        Raises:
            ModelError: the path is no model, or a damaged or pickled one; the message says which and what to do.
            ConfigError: torch cannot use the device here.
        """
        if dtype not in (None, *DTYPES.values()):
            raise ModelError(
                f"load_{self.family}: expected dtype torch.float32 or torch.float64, got {dtype}"
            )
        require_device(device)
        stored = self.read(path)
        model = self._built(stored)
        return model.to(device=device, dtype=dtype or DTYPES[stored.document["dtype"]])

    def read(self, path: str | os.PathLike[str]) -> Stored:
        """The description and the weights of a model, both checked; raises `ModelError` as `load` does."""
        folder = model_folder(path, self.pickle_remedy)
        document = self._checked(folder / "model.json")
        return Stored(folder, document, self._tensors(folder / "model.safetensors", document))

    def _built(self, stored: Stored) -> M:
        document = stored.document
        kind, dtype = self.classes.get(document["class"]), DTYPES.get(document["dtype"])
        if kind is None or dtype is None:
            raise ModelError(
                f"{stored.folder / 'model.json'}: expected class {' or '.join(self.classes)} and dtype "
                f"{' or '.join(DTYPES)}, got {document['class']!r} and {document['dtype']!r}"
            )
        try:
            model = self.build(kind, document["arguments"], dtype)
            model.load_state_dict(self.adapt(model, stored))
        except (TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{stored.folder}: the weights do not fit the arguments in model.json: {reason}"
            ) from error
        return model.requires_grad_(False).eval()

    def _checked(self, path: Path) -> dict[str, Any]:
        document = read_document(path)
        if document.get("format") != self.name:
            raise ModelError(f"{path}: expected a file of format {self.name!r}; this is something else")
        if document.get("format_version") != self.version:
            raise ModelError(
                f"{path}: expected format version {self.version}, got {document.get('format_version')}; "
                "update sciten"
            )
        if missing := {*_DESCRIPTION, *self.conventions, "tensors_sha256"} - set(document):
            raise ModelError(
                f"{path}: expected the key {sorted(missing)[0]!r}, which is missing; restore the file from a copy"
            )
        return document

    def _tensors(self, path: Path, document: Mapping[str, Any]) -> dict[str, Tensor]:
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
        described = {key: document[key] for key in (*_DESCRIPTION, *self.conventions)}
        if metadata.get("sciten_model_sha256") != _fingerprint(described):
            raise ModelError(
                f"{path.with_name('model.json')}: its arguments are not the ones these weights were saved with "
                "(hash mismatch); restore the file from a copy"
            )
        return tensors


def format_name(path: str | os.PathLike[str]) -> str:
    """Which format a model folder, or a training output folder, is of; "" where it does not say, and for a file.

    Whoever loads a file says why it is none, and what to do.

    Raises:
        ModelError: there is no model.
    """
    if Path(path).is_file():
        return ""
    return str(read_document(model_folder(path) / "model.json").get("format", ""))


def read_document(path: Path) -> dict[str, Any]:
    """What a `model.json` says, of whatever format; raises `ModelError` where it is no JSON object."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path}: expected JSON, but it is damaged: {error}; restore the file from a copy"
        ) from error
    return document if isinstance(document, dict) else {}


def model_folder(
    path: str | os.PathLike[str], pickle_remedy: Callable[[Path], str] = ModelFormat.pickle_remedy
) -> Path:
    """The folder with `model.json`: `path` or `path/model`; raises `ModelError` saying what else is there."""
    path = Path(path)
    if path.is_file():
        hint = "a model is a folder with model.safetensors and model.json"
        if path.suffix in (".model", ".pt", ".pth", ".pkl", ".ckpt") or _looks_pickled(path):
            hint = (
                "it looks like a pickled model, which sciten never loads because unpickling runs arbitrary code; "
                f"{pickle_remedy(path)}"
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


def _described(model: Any) -> dict[str, Any]:
    own: Model = model
    return {
        "class": type(model).__name__,
        "arguments": own.arguments(),
        "dtype": str(own.dtype).removeprefix("torch."),
    }


def _fingerprint(description: Mapping[str, Any]) -> str:
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
