"""Fields on grids: The Well's layout in HDF5, written whole, read lazily, imported from PDEBench and plain arrays."""

from sciten.datasets.fields.dataset import (
    Channels,
    FieldDataset,
    Place,
)
from sciten.datasets.fields.grid import Axis, Boundary, FieldGrid
from sciten.datasets.fields.importing import import_fields, is_field_file, is_importable
from sciten.datasets.fields.normalisation import ChannelStatistics, FieldStatistics
from sciten.datasets.fields.samples import FieldBatch, FieldSample, collate_fields
from sciten.datasets.fields.schema import Field
from sciten.datasets.fields.summary import summary
from sciten.datasets.fields.writer import FieldWriter

__all__ = [
    "Axis",
    "Boundary",
    "ChannelStatistics",
    "Channels",
    "Field",
    "FieldBatch",
    "FieldDataset",
    "FieldGrid",
    "FieldSample",
    "FieldStatistics",
    "FieldWriter",
    "Place",
    "collate_fields",
    "import_fields",
    "is_field_file",
    "is_importable",
    "summary",
]
