"""Bytes of a stored signal: npy framing, integer coding that never clips, block checksums."""

import io
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.contract import BLOCK_BYTES, block_crc32, decode, encode_int16, npy_bytes
from physioscale.contract.blocks import crc32_of_blocks


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (5, 2), (7,)])
@pytest.mark.parametrize("dtype", ["<i2", "<f4", "<u4"])
def test_npy_framing_is_read_back_by_numpy(shape: tuple[int, ...], dtype: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    read = np.load(io.BytesIO(npy_bytes(array)), allow_pickle=False)
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    assert np.array_equal(read, array)


def test_npy_framing_of_a_transposed_array_is_c_order() -> None:
    array = np.arange(6, dtype="<i2").reshape(2, 3)
    assert npy_bytes(array.T) == npy_bytes(np.ascontiguousarray(array.T))


def test_npy_framing_refuses_objects_because_they_would_need_pickle() -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        npy_bytes(np.array([None], dtype=object))


@pytest.mark.parametrize(
    ("num_bytes", "lengths"),
    [
        (0, []),
        (1, [1]),
        (BLOCK_BYTES - 1, [BLOCK_BYTES - 1]),
        (BLOCK_BYTES, [BLOCK_BYTES]),
        (BLOCK_BYTES + 1, [BLOCK_BYTES, 1]),
        (3 * BLOCK_BYTES, [BLOCK_BYTES] * 3),
    ],
)
def test_each_block_has_the_crc32_of_its_bytes(num_bytes: int, lengths: list[int]) -> None:
    data = np.random.default_rng(0).bytes(num_bytes)
    at, expected = 0, []
    for length in lengths:
        expected.append(zlib.crc32(data[at : at + length]))
        at += length
    crc = block_crc32(data)
    assert crc.dtype == np.uint32
    assert crc.tolist() == expected


def test_block_checksums_of_an_array_are_those_of_its_bytes() -> None:
    array = np.arange(3 * BLOCK_BYTES, dtype="<i2").reshape(-1, 4)
    assert block_crc32(array.data).tolist() == block_crc32(array.tobytes()).tolist()


def test_an_array_without_rows_has_no_block() -> None:
    assert block_crc32(np.zeros((0, 3), dtype="<i2").data).shape == (0,)


def test_integer_coding_is_off_by_half_a_step_at_most() -> None:
    scale = np.array([1e-7, 3e-6])
    values = np.random.default_rng(0).uniform(-1, 1, (500, 2)) * scale * 32767
    stored = encode_int16(values, scale=scale)
    assert stored is not None
    assert stored.dtype == np.dtype("<i2")
    decoded = decode(stored, scale=scale.astype(np.float32), offset=np.zeros(2, dtype=np.float32))
    # Half a step, and the rounding of a float32 product of up to 32767 steps.
    assert (np.abs(decoded - values) <= scale * (0.5 + 32767 * 2.0**-23)).all()


def test_values_in_float32_are_coded_as_well_as_in_float64() -> None:
    scale = np.array([1e-7, 3e-6], dtype=np.float32).astype(np.float64)
    values = (np.random.default_rng(0).uniform(-1, 1, (500, 2)) * scale * 32767).astype(np.float32)
    stored = encode_int16(values, scale=scale)
    assert stored is not None
    assert (np.abs(stored * scale - values) <= scale * 0.504).all()


def test_the_ends_of_the_range_are_coded_and_one_step_beyond_is_not() -> None:
    scale = np.array([2.0])
    stored = encode_int16(np.array([[65534.0], [-65534.0]]), scale=scale)
    assert stored is not None
    assert stored.ravel().tolist() == [32767, -32767]
    assert encode_int16(np.array([[0.0], [65536.0]]), scale=scale) is None
    assert encode_int16(np.array([[0.0], [-65536.0]]), scale=scale) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_has_no_integer_form(value: float) -> None:
    assert encode_int16(np.array([[0.0], [value]]), scale=np.array([1.0])) is None


def test_one_channel_that_does_not_fit_leaves_the_segment_uncoded() -> None:
    values: NDArray[np.float64] = np.array([[1.0, 1.0]])
    assert encode_int16(values, scale=np.array([1.0, 1e-6])) is None


def test_no_rows_are_coded_as_no_rows() -> None:
    stored = encode_int16(np.zeros((0, 2)), scale=np.ones(2))
    assert stored is not None
    assert stored.shape == (0, 2)


def test_decoding_applies_scale_and_offset_per_channel() -> None:
    stored = np.array([[1, -2], [3, 4]], dtype="<i2")
    scale, offset = np.array([0.5, 2.0], "f4"), np.array([0.0, 1.0], "f4")
    decoded = decode(stored, scale=scale, offset=offset)
    assert decoded.dtype == np.float32
    assert decoded.tolist() == [[0.5, -3.0], [1.5, 9.0]]


@pytest.mark.parametrize("blocks", [0, 1, 2, 7])
def test_the_checksum_of_blocks_together_follows_from_each(blocks: int) -> None:
    data = np.random.default_rng(blocks).bytes(blocks * BLOCK_BYTES)
    assert crc32_of_blocks(block_crc32(data).tolist()) == zlib.crc32(data)
