"""Writing one shard: validated segments into a byte-stable tar, with their index rows.

webdataset's `TarWriter` writes the tar (mtime 0, no user, no group); this module only knows where
in it each member lies. Members of a sample stand in the order crc.npy, meta.json, optional ones,
signal.npy, sorted by name as `TarWriter` does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from physioscale.contract.blocks import block_crc32, npy_bytes
from physioscale.contract.schema import (
    CRC_MEMBER,
    META_MEMBER,
    REQUIRED_MEMBERS,
    SIGNAL_MEMBER,
    check_member,
)
from physioscale.contract.segment import SegmentMeta
from physioscale.errors import InputError

_TAR_BLOCK = 512
# tarfile writes 10 kB at a time, and a system call each costs as much as their checksums.
_BUFFER_BYTES = 2**20


@dataclass(frozen=True)
class ShardFacts:
    """What `dataset.json` says of a shard."""

    name: str
    sha256: str
    num_bytes: int
    num_segments: int


class ShardWriter:
    """Writes segments into the tar at `path`; a context manager.

    `name` is the shard's final name, which goes into the index rows: `path` may be a temporary one.
    """

    def __init__(
        self, path: Path, *, name: str, members: Mapping[str, object] | None = None
    ) -> None:
        # Imported here: it brings torch, and whoever reads the contract's names does without.
        import webdataset

        self._name = name
        self._optional = frozenset(members or ()) - frozenset(REQUIRED_MEMBERS)
        for member in sorted(self._optional):
            check_member(member, where=name)
        self._file = _HashingFile(path.open("wb", buffering=_BUFFER_BYTES))
        # mtime as an integer: a float would be kept in an extra header before every member.
        self._tar = webdataset.TarWriter(
            self._file, user="", group="", mode=0o444, mtime=0, encoder=False
        )
        self._at = 0
        self._keys: set[str] = set()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._file.closed:
            self.close()

    def write(
        self,
        meta: SegmentMeta,
        signal: NDArray[np.int16] | NDArray[np.float32],
        *,
        quality: Mapping[str, float] | None = None,
        optional: Mapping[str, bytes] | None = None,
    ) -> dict[str, Any]:
        """Append a segment and return its row of `index.parquet`.

        Args:
            meta: the segment's description; `dtype`, `num_times` and the channel count must fit.
            signal: (times, channels) int16 or float32, little endian, as stored.
            quality: named figures of the segment.
            optional: members declared in `dataset.json`, by name, already encoded.

        Raises:
            InputError: signal and meta contradict each other, a key occurs twice, or an optional
                member was not declared.
        """
        self._check(meta, signal, optional or {})
        stored = np.ascontiguousarray(signal)
        crc = block_crc32(stored.data)
        framed = npy_bytes(stored)
        payload = {
            CRC_MEMBER: npy_bytes(crc),
            META_MEMBER: meta.to_json(),
            SIGNAL_MEMBER: framed,
            **(optional or {}),
        }
        self._tar.write({"__key__": meta.key, **payload})
        members = self._locate(payload)
        self._keys.add(meta.key)
        signal_at = next(m["offset"] for m in members if m["name"] == SIGNAL_MEMBER)
        return {
            "key": meta.key,
            "shard": self._name,
            "split": meta.split,
            "recording": meta.recording,
            "segment": meta.segment,
            "run": meta.run,
            "start_sample": meta.start_sample,
            "start_s": meta.start_sample / meta.sampling_rate_hz,
            "num_times": meta.num_times,
            "num_channels": len(meta.channels),
            "sampling_rate_hz": meta.sampling_rate_hz,
            "dtype": meta.dtype,
            "signal_offset": signal_at + len(framed) - stored.nbytes,
            "signal_bytes": stored.nbytes,
            "members": members,
            "scale": list(meta.scale),
            "offset": list(meta.offset),
            "block_crc32": crc.tolist(),
            "quality": [
                {"name": name, "value": value} for name, value in sorted((quality or {}).items())
            ],
        }

    def close(self) -> ShardFacts:
        """Finish the tar and return its facts."""
        self._tar.close()
        self._file.close()
        return ShardFacts(
            name=self._name,
            sha256=self._file.hash.hexdigest(),
            num_bytes=self._file.num_bytes,
            num_segments=len(self._keys),
        )

    def _locate(self, payload: Mapping[str, bytes]) -> list[dict[str, Any]]:
        members = []
        for name in sorted(payload):
            size = len(payload[name])
            members.append({"name": name, "offset": self._at + _TAR_BLOCK, "size": size})
            self._at += _TAR_BLOCK + -(-size // _TAR_BLOCK) * _TAR_BLOCK
        assert self._at == self._tar.tarstream.offset, "the tar holds more than its members"
        return members

    def _check(
        self, meta: SegmentMeta, signal: NDArray[Any], optional: Mapping[str, bytes]
    ) -> None:
        where = f"{self._name}, segment {meta.key!r}"
        shape = (meta.num_times, len(meta.channels))
        if signal.shape != shape or signal.dtype != np.dtype(meta.dtype).newbyteorder("<"):
            raise InputError(
                where,
                found=f"signal {signal.shape} {signal.dtype}",
                expected=f"(times, channels) = {shape} {meta.dtype}, as its meta says",
                do="Mend the converter.",
            )
        if signal.dtype.kind == "f" and not np.isfinite(signal).all():
            raise InputError(
                where, found="values that are not finite", expected="finite values", do="Cut them."
            )
        if meta.key in self._keys:
            raise InputError(
                where, found="a key that occurs twice", expected="unique keys", do="Rename one."
            )
        for name in sorted(set(optional) - self._optional):
            raise InputError(
                where,
                found=f"member {name!r}, which dataset.json does not declare",
                expected=f"one of {sorted(self._optional)}",
                do="Declare it with dtype, shape and unit.",
            )


class _HashingFile:
    """A write-only binary file that hashes what passes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()
        self.num_bytes = 0

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.num_bytes += len(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()
