"""Files and batches: structures in HDF5, read lazily, the graphs that models take, tensors, and fields on grids."""

from sciten.datasets.batch import AtomsBatch
from sciten.datasets.census import Census, Statistics
from sciten.datasets.dataset import AtomsDataset
from sciten.datasets.fields import (
    Axis,
    Field,
    FieldBatch,
    FieldDataset,
    FieldGrid,
    FieldSample,
    FieldStatistics,
    FieldWriter,
    collate_fields,
    import_fields,
)
from sciten.datasets.graphs import batch_from_ase, batch_from_structures, collate, neighbor_list
from sciten.datasets.importing import import_structures
from sciten.datasets.structure import LabelKeys, Structure
from sciten.datasets.tensors import read_tensor, tensor_attributes, tensor_names, write_tensor
from sciten.datasets.writer import AtomsWriter, Source, write_structures

__all__ = [
    "AtomsBatch",
    "AtomsDataset",
    "AtomsWriter",
    "Axis",
    "Census",
    "Field",
    "FieldBatch",
    "FieldDataset",
    "FieldGrid",
    "FieldSample",
    "FieldStatistics",
    "FieldWriter",
    "LabelKeys",
    "Source",
    "Statistics",
    "Structure",
    "batch_from_ase",
    "batch_from_structures",
    "collate",
    "collate_fields",
    "import_fields",
    "import_structures",
    "neighbor_list",
    "read_tensor",
    "tensor_attributes",
    "tensor_names",
    "write_structures",
    "write_tensor",
]
