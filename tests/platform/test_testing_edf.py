"""The byte-level EDF writer against two independent readers, and the damage helpers."""

from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from physioscale.testing import Annotation, overwrite, patch_header, truncate, write_edf
from physioscale.testing.edf import Kind

RATE_HZ = 100.0
READERS = {"edf": mne.io.read_raw_edf, "bdf": mne.io.read_raw_bdf}


def _signals(num_channels: int = 3, num_times: int = 400) -> np.ndarray:
    rng = np.random.default_rng(1)
    return 50.0 * rng.standard_normal((num_channels, num_times))


@pytest.mark.parametrize("kind", ["edf", "edf+c", "bdf", "bdf+c"])
def test_mne_reads_the_values_that_the_writer_promises(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / f"a.{kind[:3]}"
    signals = _signals()
    recovered = write_edf(
        path, signals, labels=["Fp1", "Fp2", "Cz"], sampling_rate_hz=RATE_HZ, kind=kind
    )
    raw = READERS[kind[:3]](path, verbose="error")
    assert raw.ch_names == ["Fp1", "Fp2", "Cz"]
    assert raw.info["sfreq"] == RATE_HZ
    np.testing.assert_allclose(raw.get_data() * 1e6, np.stack(recovered), rtol=0, atol=1e-9)
    # Half a digital step: the range is 1 % wider than the largest value on either side.
    steps = 2 ** {"edf": 16, "bdf": 24}[kind[:3]] - 1
    half_step = 1.01 * np.abs(signals).max(axis=1, keepdims=True) / steps
    assert (np.abs(np.stack(recovered) - signals) <= 1.001 * half_step).all()


def test_edfio_reads_the_same_values_fields_and_annotations(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    events = [Annotation(0.25, "start"), Annotation(2.5, "stimulus, left", duration_s=0.125)]
    recovered = write_edf(
        path,
        _signals(),
        labels=["A", "A", "B"],
        sampling_rate_hz=RATE_HZ,
        kind="edf+c",
        annotations=events,
        patient="X F X Jane_Doe",
        transducer="AgAgCl",
        prefiltering="HP:0.1Hz",
    )
    edf = edfio.read_edf(path)
    assert [signal.label for signal in edf.signals] == ["A", "A", "B"]
    assert [(one.onset, one.duration, one.text) for one in edf.annotations] == [
        (0.25, None, "start"),
        (2.5, 0.125, "stimulus, left"),
    ]
    assert edf.patient.name == "Jane_Doe"
    assert edf.signals[0].transducer_type == "AgAgCl"
    assert edf.signals[2].prefiltering == "HP:0.1Hz"
    for signal, expected in zip(edf.signals, recovered, strict=True):
        np.testing.assert_allclose(signal.data, expected, rtol=0, atol=1e-9)


def test_mixed_rates_and_units_keep_their_own_samples(tmp_path: Path) -> None:
    path = tmp_path / "mixed.edf"
    slow, fast = np.linspace(-1, 1, 20), np.linspace(-3, 3, 400)
    recovered = write_edf(
        path,
        [slow, fast],
        labels=["Resp", "Cz"],
        sampling_rate_hz=[5.0, RATE_HZ],
        units=["mV", "uV"],
        physical_range=[(-2.0, 2.0), (-3200.0, 3200.0)],
    )
    edf = edfio.read_edf(path)
    assert [signal.sampling_frequency for signal in edf.signals] == [5.0, 100.0]
    assert [signal.physical_dimension for signal in edf.signals] == ["mV", "uV"]
    assert [signal.physical_range.max for signal in edf.signals] == [2.0, 3200.0]
    np.testing.assert_allclose(edf.signals[0].data, recovered[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(edf.signals[1].data, recovered[1], rtol=0, atol=1e-9)


def test_record_onsets_of_a_file_with_a_gap_stand_in_its_records(tmp_path: Path) -> None:
    path = tmp_path / "gap.edf"
    write_edf(
        path,
        _signals(1, 300),
        labels=["Cz"],
        sampling_rate_hz=RATE_HZ,
        kind="edf+d",
        record_onsets_s=[0, 1, 10.5],
        annotations=[Annotation(10.75, "after")],
    )
    content = path.read_bytes()
    assert content[192:236].strip() == b"EDF+D"
    records = content[256 * 3 :]
    size = len(records) // 3
    tals = [records[row * size + 200 : (row + 1) * size] for row in range(3)]
    assert [tal.split(b"\x14")[0] for tal in tals] == [b"+0", b"+1", b"+10.5"]
    assert b"+10.75\x14after\x14\x00" in tals[2]


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.edf", "b.edf"):
        write_edf(tmp_path / name, _signals(), labels=list("abc"), sampling_rate_hz=RATE_HZ)
    assert (tmp_path / "a.edf").read_bytes() == (tmp_path / "b.edf").read_bytes()


def test_edge_cases_have_their_bytes(tmp_path: Path) -> None:
    flat = write_edf(
        tmp_path / "flat.edf", np.zeros((1, 100)), labels=["z"], sampling_rate_hz=RATE_HZ
    )
    assert np.ptp(flat[0]) == 0
    write_edf(tmp_path / "none.edf", np.zeros((2, 0)), labels=["a", "b"], sampling_rate_hz=RATE_HZ)
    assert (tmp_path / "none.edf").stat().st_size == 256 * 3
    one = write_edf(
        tmp_path / "one.edf",
        np.full((1, 1), 7.0),
        labels=["a"],
        sampling_rate_hz=1.0,
        physical_range=(-10.0, 10.0),
    )
    assert one[0] == pytest.approx([7.0], abs=20 / 65535)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": np.zeros((1, 150))}, "150 samples do not fill records of 100"),
        ({"signals": np.full((1, 100), np.nan)}, "not finite"),
        ({"signals": np.full((1, 100), 11.0), "physical_range": (-10.0, 10.0)}, "leave the phys"),
        ({"physical_range": (5.0, 5.0)}, "is empty"),
        ({"labels": ["a", "b"]}, "2 labels for 1 signals"),
        ({"labels": ["a" * 17]}, "longer than its 16 bytes"),
        ({"sampling_rate_hz": 100.5}, "expected a whole number"),
        ({"annotations": [Annotation(0, "x")]}, "holds no annotations"),
        ({"kind": "edf+d", "record_onsets_s": [0, 1]}, "2 record onsets for 1 records"),
        ({"physical_range": (-123456789.0, 1.0)}, "does not fit the 8 characters"),
    ],
)
def test_what_no_bytes_can_hold_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {
        "signals": np.zeros((1, 100)),
        "labels": ["Cz"],
        "sampling_rate_hz": RATE_HZ,
    }
    with pytest.raises(ValueError, match=message):
        write_edf(tmp_path / "a.edf", **(arguments | change))  # type: ignore[arg-type]
    assert not (tmp_path / "a.edf").exists()


def test_damage_lands_where_it_is_aimed(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, _signals(2), labels=["Fp1", "Cz"], sampling_rate_hz=RATE_HZ)
    before = path.read_bytes()
    patch_header(path, "num_records", text="-1")
    patch_header(path, "unit", text="\xb5V", channel=1)
    overwrite(path, b"\x01\x02", offset=-2)
    after = path.read_bytes()
    assert after[236:244] == b"-1      "
    assert after[256 + 2 * 96 + 8 : 256 + 2 * 96 + 16] == b"\xb5V      "
    assert after[-2:] == b"\x01\x02"
    changed = [place for place in range(len(before)) if before[place] != after[place]]
    assert len(changed) <= 8 + 8 + 2
    assert truncate(path, keep_share=0.5) == len(before) // 2 == path.stat().st_size


def test_damage_outside_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    write_edf(path, _signals(1), labels=["Cz"], sampling_rate_hz=RATE_HZ)
    with pytest.raises(ValueError, match="no header field 'units'"):
        patch_header(path, "units", text="V", channel=0)
    with pytest.raises(ValueError, match="no channel 1"):
        patch_header(path, "unit", text="V", channel=1)
    with pytest.raises(ValueError, match="longer than its 8 bytes"):
        patch_header(path, "num_records", text="123456789")
    with pytest.raises(ValueError, match="lie outside"):
        overwrite(path, b"\x00", offset=path.stat().st_size)
    with pytest.raises(ValueError, match="expected 0 to 1"):
        truncate(path, keep_share=1.5)
