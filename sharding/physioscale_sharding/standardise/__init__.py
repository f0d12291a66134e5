"""Channel names, types, units, filters and positions of real corpora in one standard form."""

from physioscale_sharding.standardise.caps import Position
from physioscale_sharding.standardise.label_types import BIDS_TYPES
from physioscale_sharding.standardise.names import ChannelName, standard_name, standard_names
from physioscale_sharding.standardise.positions import (
    DEFAULT_MONTAGE,
    ElectrodeTable,
    SensorPositions,
    locate,
)
from physioscale_sharding.standardise.prefilter import Prefilter, parse_prefilter
from physioscale_sharding.standardise.units import Unit, parse_unit

__all__ = [
    "BIDS_TYPES",
    "DEFAULT_MONTAGE",
    "ChannelName",
    "ElectrodeTable",
    "Position",
    "Prefilter",
    "SensorPositions",
    "Unit",
    "locate",
    "parse_prefilter",
    "parse_unit",
    "standard_name",
    "standard_names",
]
