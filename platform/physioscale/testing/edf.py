"""Write EDF, EDF+ and BDF files byte by byte, gaps and odd headers included.

In:  signals (C, T) or one (T_c,) array per channel, in the physical unit named in the header.
Out: a file, and per channel the physical values that an exact reader recovers from it.

A library writer refuses what real corpora contain: records with gaps, labels that occur twice,
units nobody knows. This one writes what it is told, refusing only what no bytes can hold; a value
outside the physical range is an error, never clipped. No clock is read: the same arguments give
the same bytes.

Letters: C channels, T samples, R data records, N samples of a channel per record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from physioscale.testing.edf_bytes import (
    Annotation,
    annotation_bytes,
    digital_range,
    header_bytes,
    number_text,
    record_bytes,
)

FloatArray = NDArray[np.float64]
Kind = Literal["edf", "edf+c", "edf+d", "bdf", "bdf+c", "bdf+d"]


@dataclass(frozen=True)
class _Channel:
    """One channel as it stands in the file: header texts, digital samples (R, N), true values."""

    header: dict[str, str]
    digital: NDArray[np.int64]
    recovered: FloatArray


def write_edf(
    path: Path,
    signals: FloatArray | Sequence[FloatArray],
    *,
    labels: Sequence[str],
    sampling_rate_hz: float | Sequence[float],
    units: str | Sequence[str] = "uV",
    physical_range: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    record_duration_s: float = 1.0,
    annotations: Sequence[Annotation] = (),
    kind: Kind = "edf",
    record_onsets_s: Sequence[float] | None = None,
    patient: str = "X X X X",
    recording: str = "Startdate X X X X",
    startdate: str = "01.01.85",
    starttime: str = "00.00.00",
    transducer: str = "",
    prefiltering: str = "",
) -> list[FloatArray]:
    """Write one file and return what an exact reader recovers from it.

    Args:
        path: the file; its folder is made where it is missing.
        signals: (C, T) float64, or C arrays (T_c,) where rates differ; values in `units`. Only
            recorded samples: the gaps of "+d" kinds are left out.
        labels: C names, as they shall stand in the header.
        sampling_rate_hz: one rate, or one for each channel.
        units: one header unit, or one for each channel.
        physical_range: (minimum, maximum) in `units`, one or one for each channel; None takes a
            symmetric range that holds the channel's largest value.
        record_duration_s: every channel must fill a whole number of records.
        annotations: needs a "+" kind.
        kind: "edf" has 16 bits, "bdf" 24; "+c" and "+d" add the annotation signal.
        record_onsets_s: R onsets, for a "+" kind; None means one record after the other.
        patient, recording, startdate, starttime: header texts of the file.
        transducer, prefiltering: header texts of every channel.

    Returns:
        C arrays (T_c,) float64 in `units`, quantised to the file's digital steps.

    Raises:
        ValueError: lengths disagree, records are not whole, or a value has no digital number.
    """
    bits = 24 if kind.startswith("bdf") else 16
    unit_list = [units] * len(signals) if isinstance(units, str) else list(units)
    samples = _samples_per_record(sampling_rate_hz, len(signals), record_duration_s)
    limits = _limits(physical_range, len(signals))
    _check_count("labels", len(labels), len(signals))
    _check_count("units", len(unit_list), len(signals))
    channels = []
    for index, signal in enumerate(signals):
        header = {"label": labels[index], "unit": unit_list[index]}
        header |= {"transducer": transducer, "prefiltering": prefiltering}
        channels.append(_channel(signal, header, limits[index], samples=samples[index], bits=bits))
    headers = [channel.header for channel in channels]
    blocks = [record_bytes(channel.digital, bits=bits) for channel in channels]
    num_records = _num_records(channels)
    if "+" in kind:
        onsets = _onsets(record_onsets_s, num_records, record_duration_s)
        blocks.append(annotation_bytes(annotations, onsets, bytes_per_sample=bits // 8))
        headers.append(_annotation_header(blocks[-1].shape[1] * 8 // bits, bits=bits))
    elif annotations or record_onsets_s is not None:
        raise ValueError(f"kind '{kind}' holds no annotations or record onsets; use '{kind}+c'")
    fields = {
        "version": "\xffBIOSEMI" if bits == 24 else "0",
        "patient": patient,
        "recording": recording,
        "startdate": startdate,
        "starttime": starttime,
        "header_bytes": str(256 * (len(headers) + 1)),
        "reserved": kind.upper() if "+" in kind else {16: "", 24: "24BIT"}[bits],
        "num_records": str(num_records),
        "record_duration": number_text(record_duration_s),
        "num_signals": str(len(headers)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    records = np.concatenate(blocks, axis=1).tobytes() if blocks else b""
    path.write_bytes(header_bytes(fields, headers) + records)
    return [channel.recovered for channel in channels]


def _channel(
    signal: FloatArray,
    texts: dict[str, str],
    limits: tuple[float, float] | None,
    *,
    samples: int,
    bits: int,
) -> _Channel:
    values = np.asarray(signal, dtype=np.float64)
    where = f"channel '{texts['label']}'"
    if values.ndim != 1:
        raise ValueError(f"{where} has shape {values.shape}; expected one dimension")
    if len(values) % samples:
        raise ValueError(f"{where}: {len(values)} samples do not fill records of {samples}")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{where} holds a value that is not finite: no digital number stands for it"
        )
    low_text, high_text = (number_text(limit) for limit in limits or _symmetric_range(values))
    # Readers know the limits as the header writes them, so the scale is taken from the texts.
    low, high = float(low_text), float(high_text)
    least, greatest = digital_range(bits=bits)
    gain = (high - low) / (greatest - least)
    if gain <= 0:
        raise ValueError(f"{where}: physical range {low_text} to {high_text} is empty")
    digital = np.rint((values - low) / gain).astype(np.int64) + least
    if len(values) and (digital.min() < least or digital.max() > greatest):
        raise ValueError(
            f"{where}: values {values.min():g} to {values.max():g} leave the physical range "
            f"{low_text} to {high_text}"
        )
    header = texts | {
        "physical_min": low_text,
        "physical_max": high_text,
        "digital_min": str(least),
        "digital_max": str(greatest),
        "samples_per_record": str(samples),
    }
    recovered = (digital - least) * np.float64(gain) + low
    return _Channel(header, digital.reshape(-1, samples), recovered)


def _symmetric_range(values: FloatArray) -> tuple[float, float]:
    # 1 % above the largest value: the limit is still above it when its text drops decimals.
    limit = 1.01 * float(np.abs(values).max(initial=0.0)) or 1.0
    return -limit, limit


def _check_count(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"{found} {name} for {expected} signals")


def _limits(
    value: tuple[float, float] | Sequence[tuple[float, float]] | None, count: int
) -> list[tuple[float, float] | None]:
    if value is None:
        return [None] * count
    pairs = [value] * count if isinstance(value[0], float | int) else list(value)
    _check_count("physical ranges", len(pairs), count)
    return cast(list[tuple[float, float] | None], pairs)


def _samples_per_record(
    sampling_rate_hz: float | Sequence[float], count: int, record_duration_s: float
) -> list[int]:
    if isinstance(sampling_rate_hz, Sequence):
        rates = list(sampling_rate_hz)
    else:
        rates = [sampling_rate_hz] * count
    _check_count("sampling rates", len(rates), count)
    numbers = []
    for rate in rates:
        samples = round(rate * record_duration_s)
        if samples < 1 or not np.isclose(samples, rate * record_duration_s, rtol=1e-9, atol=0):
            raise ValueError(
                f"{rate:g} Hz gives {rate * record_duration_s:g} samples in a record of "
                f"{record_duration_s:g} s; expected a whole number"
            )
        numbers.append(samples)
    return numbers


def _num_records(channels: Sequence[_Channel]) -> int:
    numbers = sorted({len(channel.digital) for channel in channels})
    if len(numbers) > 1:
        raise ValueError(
            f"channels fill {numbers[0]} to {numbers[-1]} records; expected one number"
        )
    return numbers[0] if numbers else 0


def _onsets(
    record_onsets_s: Sequence[float] | None, num_records: int, record_duration_s: float
) -> list[float]:
    if record_onsets_s is None:
        return [record * record_duration_s for record in range(num_records)]
    if len(record_onsets_s) != num_records:
        raise ValueError(f"{len(record_onsets_s)} record onsets for {num_records} records")
    return list(record_onsets_s)


def _annotation_header(samples_per_record: int, *, bits: int) -> dict[str, str]:
    least, greatest = digital_range(bits=bits)
    return {
        "label": "BDF Annotations" if bits == 24 else "EDF Annotations",
        "physical_min": "-1",
        "physical_max": "1",
        "digital_min": str(least),
        "digital_max": str(greatest),
        "samples_per_record": str(samples_per_record),
    }
