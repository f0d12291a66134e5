"""`verify`: whether shard sets are, byte by byte, what was written, and free of leaks."""

from physioscale.contract.verify.report import Fault, SetCounts, VerifyReport
from physioscale.contract.verify.run import num_bytes, verify_shard_sets

__all__ = ["Fault", "SetCounts", "VerifyReport", "num_bytes", "verify_shard_sets"]
