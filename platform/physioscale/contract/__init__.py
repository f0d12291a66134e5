"""The contract of a shard set: what its writer and every reader agree on, defined once.

Layout, names and versions are in `schema`, a segment's description in `segment`, the bytes of a
stored signal in `blocks`, the tables in `tables`, the set as a whole in `dataset`.
"""

from physioscale.contract.blocks import BLOCK_BYTES, block_crc32, decode, encode_int16, npy_bytes
from physioscale.contract.dataset import (
    DatasetInfo,
    MemberSpec,
    ShardSet,
    SplitFacts,
    file_sha256,
    open_shard_set,
    write_dataset,
)
from physioscale.contract.publish import publish_bytes, publishing
from physioscale.contract.schema import (
    DATASET_FILE,
    INDEX_FILE,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    REPORT_FILE,
    SCHEMA_VERSION,
    SPLITS,
    STATISTICS_FOLDER,
    UNITS_OF_TYPE,
    shard_name,
    split_of_shard,
)
from physioscale.contract.segment import Annotation, Channel, SegmentMeta
from physioscale.contract.shard_writer import ShardFacts, ShardWriter
from physioscale.contract.tables import (
    INDEX_SCHEMA,
    RECORDINGS_SCHEMA,
    labels_from_json,
    labels_to_json,
    read_table,
    to_table,
    write_table,
)

__all__ = [
    "BLOCK_BYTES",
    "DATASET_FILE",
    "INDEX_FILE",
    "INDEX_SCHEMA",
    "QUARANTINE_FILE",
    "RECORDINGS_FILE",
    "RECORDINGS_SCHEMA",
    "REPORT_FILE",
    "SCHEMA_VERSION",
    "SPLITS",
    "STATISTICS_FOLDER",
    "UNITS_OF_TYPE",
    "Annotation",
    "Channel",
    "DatasetInfo",
    "MemberSpec",
    "SegmentMeta",
    "ShardFacts",
    "ShardSet",
    "ShardWriter",
    "SplitFacts",
    "block_crc32",
    "decode",
    "encode_int16",
    "file_sha256",
    "labels_from_json",
    "labels_to_json",
    "npy_bytes",
    "open_shard_set",
    "publish_bytes",
    "publishing",
    "read_table",
    "shard_name",
    "split_of_shard",
    "to_table",
    "write_dataset",
    "write_table",
]
