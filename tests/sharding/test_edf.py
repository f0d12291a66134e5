"""EDF, EDF+ and BDF: values, gaps, annotations, and what odd or damaged files are told."""

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.errors import InputError, MissingInputError
from physioscale.testing.damage import overwrite, patch_header
from physioscale.testing.edf import write_edf
from physioscale.testing.edf_bytes import Annotation
from physioscale_sharding.readers import (
    EdfReader,
    RecordingHeader,
    Run,
    reader_for,
    records,
    same_start,
    to_physical,
)

KINDS = ["edf", "edf+c", "edf+d", "bdf", "bdf+c", "bdf+d"]
RATE_HZ = 100
READER = EdfReader()


def signals(*, num_channels: int = 2, num_samples: int = 400) -> NDArray[np.float64]:
    """Return (C, T) noise of 50 uV."""
    return np.random.default_rng(1).normal(scale=50.0, size=(num_channels, num_samples))


def write(path: Path, *, kind: str = "edf", **options: Any) -> Path:
    """Write two channels, 4 s at 100 Hz, records of 1 s."""
    values = options.pop("values", signals())
    options.setdefault("labels", [f"EEG {name}" for name in ("C3", "C4", "Cz")][: len(values)])
    write_edf(path, values, kind=kind, sampling_rate_hz=RATE_HZ, **options)  # type: ignore[arg-type]
    return path


def read_all(header: RecordingHeader, *, stream: int = 0) -> NDArray[np.float64]:
    """Return the physical values (C, T) of all runs of a stream, one behind the other."""
    chosen = header.streams[stream]
    parts = [
        READER.read_samples(
            header,
            chosen.channels,
            start=run.start_sample,
            stop=run.start_sample + run.num_samples,
        )
        for run in chosen.runs
    ]
    return np.concatenate([to_physical(part, chosen.channels) for part in parts], axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_physical_values_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind[:3]}"
    recovered = write_edf(
        path,
        signals(),
        labels=["C3", "C4"],
        sampling_rate_hz=RATE_HZ,
        kind=kind,  # type: ignore[arg-type]
    )
    header = READER.read_header(path)
    assert header.format == kind.upper()
    assert header.duration_s == 4.0
    assert (header.num_records_declared, header.num_records_found) == (4, 4)
    assert not header.is_truncated
    assert header.notes == ()
    np.testing.assert_allclose(read_all(header), recovered, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_values_equal_those_of_mne_within_a_hundredth_of_a_step(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind[:3]}", kind=kind)
    read = mne.io.read_raw_bdf if kind.startswith("bdf") else mne.io.read_raw_edf
    theirs = read(path, preload=True, verbose="error").get_data()
    header = READER.read_header(path)
    channels = header.streams[0].channels
    step_v = np.array([[abs(channel.gain)] for channel in channels]) * 1e-6
    assert (np.abs(read_all(header) * 1e-6 - theirs) < 0.01 * step_v).all()


def test_samples_are_digital_numbers_of_the_files_width(tmp_path: Path) -> None:
    for kind, dtype in (("edf", np.int16), ("bdf", np.int32)):
        header = READER.read_header(write(tmp_path / f"a.{kind}", kind=kind))
        digital = READER.read_samples(header, header.streams[0].channels, start=0, stop=10)
        assert digital.dtype == dtype
        assert digital.shape == (2, 10)


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_full_range_of_digital_numbers_keeps_its_sign(tmp_path: Path, kind: str) -> None:
    bits = 24 if kind == "bdf" else 16
    limit = 2 ** (bits - 1)
    values = np.resize(np.array([-limit, -1, 0, 1, limit - 1], dtype=np.float64), (1, 100))
    path = write(
        tmp_path / f"a.{kind}", kind=kind, values=values, physical_range=(-limit, limit - 1)
    )
    header = READER.read_header(path)
    digital = READER.read_samples(header, header.streams[0].channels, start=0, stop=100)
    np.testing.assert_array_equal(digital, values)


@pytest.mark.parametrize("block_bytes", [1, 500, 1000, 2**22])
@pytest.mark.parametrize("kind", ["edf", "bdf+c"])
def test_every_range_equals_the_slice_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, block_bytes: int
) -> None:
    header = READER.read_header(write(tmp_path / f"a.{kind[:3]}", kind=kind))
    channels = header.streams[0].channels
    whole = READER.read_samples(header, channels, start=0, stop=400)
    # One byte a block makes every record "too large", so that channels are picked one by one.
    monkeypatch.setattr(records, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(records, "READ_BYTES", block_bytes)
    for start, stop in [(0, 400), (0, 1), (99, 101), (150, 350), (399, 400), (200, 200)]:
        part = READER.read_samples(header, channels[::-1], start=start, stop=stop)
        np.testing.assert_array_equal(part, whole[::-1, start:stop])


@pytest.mark.parametrize(
    ("samples_per_record", "num_records", "num_samples"),
    [
        (100, 200_000, 100),  # a second of a long file
        (100, 200_000, 2_500_000),  # a long stretch of it
        (20_000_000, 1, 100),  # a record that is the whole file
    ],
)
def test_memory_is_the_result_and_a_few_blocks_whatever_the_file(
    tmp_path: Path, samples_per_record: int, num_records: int, num_samples: int
) -> None:
    path = write(tmp_path / "a.edf")
    patch_header(path, "num_records", text=str(num_records))
    for channel in range(2):
        text = str(samples_per_record)
        patch_header(path, "samples_per_record", text=text, channel=channel)
    with path.open("r+b") as file:
        file.truncate(256 * 3 + num_records * samples_per_record * 4)  # sparse: 80 MB of zeros
    header = READER.read_header(path)
    middle = header.streams[0].num_samples // 2
    tracemalloc.start()
    digital = READER.read_samples(
        header, header.streams[0].channels[:1], start=middle, stop=middle + num_samples
    )
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < digital.nbytes + 3 * records.BLOCK_BYTES


def test_channels_of_one_rate_make_a_stream(tmp_path: Path) -> None:
    values = [np.arange(400.0), np.arange(4.0), np.arange(400.0) / 2]
    recovered = write_edf(
        tmp_path / "a.edf", values, labels=["a", "b", "c"], sampling_rate_hz=[100, 1, 100]
    )
    header = READER.read_header(tmp_path / "a.edf")
    assert [stream.sampling_rate_hz for stream in header.streams] == [100.0, 1.0]
    assert [[c.label for c in stream.channels] for stream in header.streams] == [["a", "c"], ["b"]]
    assert [stream.num_samples for stream in header.streams] == [400, 4]
    np.testing.assert_allclose(read_all(header)[1], recovered[2], atol=1e-9)
    np.testing.assert_allclose(read_all(header, stream=1)[0], recovered[1], atol=1e-9)


def test_rates_are_exact_for_records_that_are_no_whole_seconds(tmp_path: Path) -> None:
    values = np.zeros((1, 620))
    write_edf(
        tmp_path / "a.edf", values, labels=["a"], sampling_rate_hz=1000, record_duration_s=0.31
    )
    header = READER.read_header(tmp_path / "a.edf")
    assert header.streams[0].sampling_rate_hz == 1000.0
    assert header.duration_s == 0.62


def test_an_inverted_physical_range_inverts_the_values(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    before = READER.read_header(path)
    upright = read_all(before)
    low, high = (
        before.streams[0].channels[0].physical_min,
        before.streams[0].channels[0].physical_max,
    )
    patch_header(path, "physical_min", text=f"{high:g}", channel=0)
    patch_header(path, "physical_max", text=f"{low:g}", channel=0)
    header = READER.read_header(path)
    assert header.streams[0].channels[0].gain < 0
    np.testing.assert_allclose(read_all(header)[0], -upright[0], atol=1e-3)
    np.testing.assert_array_equal(read_all(header)[1], upright[1])


def test_a_status_channel_keeps_all_its_bits(tmp_path: Path) -> None:
    codes = np.resize(np.array([0xFF01, 0x10000, 0x7FFFFF, -1], dtype=np.float64), (1, 100))
    path = write(
        tmp_path / "a.bdf",
        kind="bdf",
        values=codes,
        labels=["Status"],
        units="Boolean",
        physical_range=(-8388608, 8388607),
    )
    header = READER.read_header(path)
    channel = header.streams[0].channels[0]
    assert (channel.gain, channel.offset, channel.physical_dimension) == (1.0, 0.0, "Boolean")
    digital = READER.read_samples(header, [channel], start=0, stop=4)
    np.testing.assert_array_equal(digital, [[0xFF01, 0x10000, 0x7FFFFF, -1]])


def test_labels_that_occur_twice_are_two_channels_and_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", labels=["EEG F1-Ref", "EEG F1-Ref"])
    header = READER.read_header(path)
    assert [channel.index for channel in header.streams[0].channels] == [0, 1]
    assert header.notes == ("duplicate_labels: 1 labels occur more than once: 'EEG F1-Ref' (2)",)
    assert not np.array_equal(*read_all(header))


# --- gaps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["edf+d", "bdf+d"])
def test_a_gap_begins_a_new_run_at_the_right_sample_and_second(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind[:3]}", kind=kind, record_onsets_s=[0.0, 1.0, 7.25, 8.25])
    header = READER.read_header(path)
    assert header.streams[0].runs == (Run(0.0, 0, 200), Run(7.25, 200, 200))
    assert header.duration_s == 4.0
    assert header.notes == ()


def test_runs_of_each_stream_count_its_own_samples(tmp_path: Path) -> None:
    write_edf(
        tmp_path / "a.edf",
        [np.zeros(300), np.zeros(30)],
        labels=["a", "b"],
        sampling_rate_hz=[100, 10],
        kind="edf+d",
        record_onsets_s=[0.0, 2.0, 3.0],
    )
    header = READER.read_header(tmp_path / "a.edf")
    assert header.streams[0].runs == (Run(0.0, 0, 100), Run(2.0, 100, 200))
    assert header.streams[1].runs == (Run(0.0, 0, 10), Run(2.0, 10, 20))


@pytest.mark.parametrize(
    ("onsets_s", "starts_s"),
    [
        ([0.0, 1.0, 2.0, 3.0], [0.0]),
        ([0.0, 1.01, 2.01, 3.01], [0.0, 1.01]),  # one sample
        ([0.0, 1.004, 2.004, 3.004], [0.0]),  # less than half a sample
        ([0.0, 1.006, 2.006, 3.006], [0.0, 1.006]),  # more than half a sample
        ([0.0, 1.004, 2.008, 3.012], [0.0, 2.008]),  # small shifts add up
        ([0.5, 1.5, 2.75, 3.75], [0.0, 2.25]),  # starts half a second after the full second
        ([0.0, 2.0, 4.0, 6.0], [0.0, 2.0, 4.0, 6.0]),
    ],
)
def test_the_tolerance_is_half_a_sample_over_the_whole_run(
    tmp_path: Path, onsets_s: list[float], starts_s: list[float]
) -> None:
    path = write(tmp_path / "a.edf", kind="edf+d", record_onsets_s=onsets_s)
    runs = READER.read_header(path).streams[0].runs
    assert [run.start_s for run in runs] == starts_s
    assert sum(run.num_samples for run in runs) == 400


def test_onsets_are_not_trusted_below_their_last_decimal(tmp_path: Path) -> None:
    # 1/3 s written with three decimals is 0.3 ms early: more than half a sample at 3 kHz.
    write_edf(
        tmp_path / "a.edf",
        np.zeros((1, 4000)),
        labels=["a"],
        sampling_rate_hz=3000,
        record_duration_s=1 / 3,
        kind="edf+d",
        record_onsets_s=[0.0, 0.333, 0.667, 1.0],
    )
    assert len(READER.read_header(tmp_path / "a.edf").streams[0].runs) == 1


def test_reading_across_a_gap_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", kind="edf+d", record_onsets_s=[0.0, 1.0, 7.0, 8.0])
    header = READER.read_header(path)
    channels = header.streams[0].channels
    READER.read_samples(header, channels, start=200, stop=400)
    with pytest.raises(ValueError, match=r"samples 150 to 250 lie in no single run .* \(2 runs\)"):
        READER.read_samples(header, channels, start=150, stop=250)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 401), (10, 5)])
def test_reading_outside_the_signal_is_refused(tmp_path: Path, start: int, stop: int) -> None:
    header = READER.read_header(write(tmp_path / "a.edf"))
    with pytest.raises(ValueError, match="lie in no single run"):
        READER.read_samples(header, header.streams[0].channels, start=start, stop=stop)


def test_channels_of_two_rates_cannot_be_read_together(tmp_path: Path) -> None:
    write_edf(
        tmp_path / "a.edf",
        [np.zeros(100), np.zeros(1)],
        labels=["a", "b"],
        sampling_rate_hz=[100, 1],
    )
    header = READER.read_header(tmp_path / "a.edf")
    both = [stream.channels[0] for stream in header.streams]
    with pytest.raises(ValueError, match="channels of 2 rates"):
        READER.read_samples(header, both, start=0, stop=1)


def test_a_record_that_begins_before_the_last_one_ends_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", kind="edf+d", record_onsets_s=[0.0, 1.0, 1.5, 2.5])
    with pytest.raises(
        InputError, match=r"a.edf: EDF\+D, but data record 2 begins at 1.5 s, 0.5 s"
    ):
        READER.read_header(path)


def test_discontinuous_records_without_an_onset_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", kind="edf+d")
    overwrite(path, b"\x00", offset=path.read_bytes().rindex(b"+3\x14"))
    with pytest.raises(InputError, match=r"1 of 4 data records give no onset \(first: 3\)"):
        READER.read_header(path)


def test_a_discontinuous_file_without_annotation_signal_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    patch_header(path, "reserved", text="EDF+D")
    with pytest.raises(InputError, match=r"EDF\+D, but it has no annotation signal"):
        READER.read_header(path)


def test_a_gap_in_a_file_that_declares_none_is_a_gap_and_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", kind="edf+c", record_onsets_s=[0.0, 1.0, 5.0, 6.0])
    header = READER.read_header(path)
    assert [run.start_s for run in header.streams[0].runs] == [0.0, 5.0]
    assert header.notes == ("undeclared_gaps: 1 gaps in a file that declares none",)


def test_impossible_onsets_of_a_continuous_file_are_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", kind="edf+c", record_onsets_s=[0.0, 0.0, 0.0, 0.0])
    header = READER.read_header(path)
    assert header.streams[0].runs == (Run(0.0, 0, 400),)
    assert header.notes[0].startswith("onsets_ignored: data record 1 begins at 0 s, 1 s before")


# --- annotations ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["edf+c", "bdf+c", "edf+d"])
def test_annotations_keep_onset_duration_and_text(tmp_path: Path, kind: str) -> None:
    written = [
        Annotation(0.125, "T1", duration_s=4.1),
        Annotation(2.5, "\u4ef0\u5367"),
        Annotation(2.25, "lid, open", duration_s=0.5),
    ]
    path = write(tmp_path / f"a.{kind[:3]}", kind=kind, annotations=written)
    found = READER.read_header(path).annotations
    assert [(item.onset_s, item.duration_s, item.text) for item in found] == [
        (0.125, 4.1, "T1"),
        (2.25, 0.5, "lid, open"),
        (2.5, 0.0, "\u4ef0\u5367"),
    ]
    read = mne.io.read_raw_bdf if kind.startswith("bdf") else mne.io.read_raw_edf
    theirs = read(path, verbose="error").annotations
    np.testing.assert_allclose([item.onset_s for item in found], theirs.onset, atol=1e-9)
    assert [item.text for item in found] == list(theirs.description)


def test_onsets_count_from_the_first_sample_gaps_included(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.edf",
        kind="edf+d",
        record_onsets_s=[0.25, 1.25, 9.25, 10.25],
        annotations=[Annotation(0.0, "before"), Annotation(9.5, "behind the gap")],
    )
    header = READER.read_header(path)
    assert [(item.onset_s, item.text) for item in header.annotations] == [
        (-0.25, "before"),
        (9.25, "behind the gap"),
    ]
    assert header.streams[0].runs[1].start_s == 9.0
    assert header.notes == ("annotations_outside: 1 annotations begin before or after the signal",)


def test_a_text_about_one_channel_names_it(tmp_path: Path) -> None:
    texts = ["spike@@EEG C3", "mail@@nobody"]
    path = write(
        tmp_path / "a.edf", kind="edf+c", annotations=[Annotation(1.0, text) for text in texts]
    )
    found = READER.read_header(path).annotations
    assert [(item.text, item.channel) for item in found] == [
        ("spike", "EEG C3"),
        ("mail@@nobody", None),
    ]


def test_damaged_and_latin_annotations_are_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.edf",
        kind="edf+c",
        annotations=[Annotation(1.0, "ABCD"), Annotation(2.0, "WXYZ")],
    )
    data = path.read_bytes()
    overwrite(path, b"\xe9", offset=data.index(b"ABCD"))
    overwrite(path, b"?", offset=data.index(b"+2\x14WXYZ"))
    header = READER.read_header(path)
    assert [item.text for item in header.annotations] == ["\xe9BCD"]
    assert header.notes == (
        "damaged_annotations: 1 annotation lists could not be parsed",
        "latin_annotations: 1 annotation texts are not UTF-8",
    )


def annotations_only(path: Path) -> Path:
    """Write an EDF+ file without signals, as scoring programs do."""
    write_edf(
        path,
        [],
        labels=[],
        sampling_rate_hz=RATE_HZ,
        kind="edf+c",
        record_duration_s=0.0,
    )
    tal = b"+0\x14\x14\x00+0\x1530\x14Sleep stage W\x14\x00+30\x1560\x14Sleep stage 1\x14\x00"
    tal = tal.ljust(len(tal) + len(tal) % 2, b"\x00")
    patch_header(path, "num_records", text="1")
    patch_header(path, "samples_per_record", text=str(len(tal) // 2), channel=0)
    with path.open("ab") as file:
        file.write(tal)
    return path


def test_a_file_of_annotations_only_is_no_recording_but_can_be_read(tmp_path: Path) -> None:
    path = annotations_only(tmp_path / "hypnogram.edf")
    with pytest.raises(InputError, match=r"hypnogram.edf: annotations only, no signal"):
        READER.read_header(path)
    assert [
        (item.onset_s, item.duration_s, item.text) for item in READER.read_annotations(path)
    ] == [
        (0.0, 30.0, "Sleep stage W"),
        (30.0, 60.0, "Sleep stage 1"),
    ]


# --- files that end early, or late ------------------------------------------------------------


def test_a_truncated_file_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    whole = read_all(READER.read_header(path))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 500)  # the fourth record, and half of the third
    with pytest.raises(InputError, match=r"a.edf: truncated: 2 whole data records; expected the 4"):
        READER.read_header(path)
    header = READER.read_header(path, accept_truncated=True)
    assert header.is_truncated
    assert (header.num_records_declared, header.num_records_found) == (4, 2)
    assert header.duration_s == 2.0
    assert header.notes == ("truncated: 2 of 4 declared records are missing",)
    np.testing.assert_array_equal(read_all(header), whole[:, :200])


def test_a_file_without_a_whole_record_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    with path.open("r+b") as file:
        file.truncate(256 * 3 + 399)
    with pytest.raises(InputError, match="399 bytes behind the header, no whole data record"):
        READER.read_header(path, accept_truncated=True)


def test_an_unknown_record_count_comes_from_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    patch_header(path, "num_records", text="-1")
    with path.open("ab") as file:
        file.write(b"\x01" * 17)
    header = READER.read_header(path)
    assert (header.num_records_declared, header.num_records_found) == (None, 4)
    assert not header.is_truncated
    assert header.notes == (
        "record_count_unknown: the header says -1; 4 whole records were found",
        "trailing_bytes: 17 bytes after record 4 were left out",
    )


def test_bytes_behind_the_declared_records_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    with path.open("ab") as file:
        file.write(bytes(1000))
    header = READER.read_header(path)
    assert header.duration_s == 4.0
    assert header.notes == ("trailing_bytes: 1000 bytes after record 4 were left out",)


def test_a_file_that_shrinks_between_header_and_samples_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    header = READER.read_header(path)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(InputError, match=r"a.edf: ends at byte 1000; expected data up to byte"):
        READER.read_samples(header, header.streams[0].channels, start=0, stop=400)


# --- headers that cannot be ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\); expected an EDF or BDF recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "begins with .*PNG.*, so it is not EDF or BDF"),
        (b"0       " + bytes(50), "58 bytes; expected a header of at least 256 bytes"),
        (b"/annex/objects/MD5E-s1--0.edf\n", "a pointer to the recording instead of its content"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Download the content"),
    ],
)
def test_files_that_are_not_edf_say_what_they_are(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x.edf").write_bytes(content)
    with pytest.raises(InputError, match=rf"^x\.edf: .*{message}"):
        READER.read_header(tmp_path / "x.edf")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"^x.edf: no such file"):
        READER.read_header(tmp_path / "x.edf")
    (tmp_path / "folder.edf").mkdir()
    with pytest.raises(InputError, match=r"^folder.edf: cannot be read \(Is a directory\)"):
        READER.read_header(tmp_path / "folder.edf")


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (
            "header_bytes",
            "512",
            "the header claims 512 bytes; expected 768 bytes for its 2 signals",
        ),
        ("header_bytes", "", "number of header bytes is ''; expected a number"),
        ("num_records", "0", "0 data records; expected at least one, or -1 for unknown"),
        ("num_records", "-2", "-2 data records; expected at least one, or -1"),
        ("num_records", "4.5", "number of data records is '4.5'; expected a whole number"),
        ("num_signals", "0", "0 signals; expected at least one"),
        ("num_signals", "9999", "ends inside its header, after 2368 bytes"),
        ("record_duration", "0", "data records of 0 s; expected a duration above 0"),
        ("record_duration", "-1", "data records of -1 s; expected a duration above 0"),
        ("record_duration", "1e999999", "duration of a data record is '1e999999'"),
        ("record_duration", "1e-99999", "duration of a data record is '1e-99999'"),
        ("record_duration", "inf", "duration of a data record is 3 characters; expected a number"),
        ("reserved", "BDF+C", r"EDF version bytes, but reserved field 'BDF\+C'"),
    ],
)
def test_contradictions_in_the_header_are_refused(
    tmp_path: Path, field: str, text: str, message: str
) -> None:
    path = write(tmp_path / "a.edf")
    patch_header(path, field, text=text)
    with pytest.raises(InputError, match=f"^a.edf: {message}"):
        READER.read_header(path)


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("physical_max", "{physical_min}", "physical minimum and maximum are both"),
        ("digital_max", "-32768", "digital range -32768 to -32768; expected minimum below maximum"),
        ("digital_min", "32767", "digital range 32767 to 32767"),
        ("physical_min", "", "physical minimum is ''; expected a number"),
        ("digital_max", "nan", "digital maximum is 3 characters; expected a number"),
    ],
)
def test_one_impossible_channel_is_set_aside_and_all_are_refused(
    tmp_path: Path, field: str, text: str, reason: str
) -> None:
    path = write(tmp_path / "a.edf")
    first = READER.read_header(path)
    good = read_all(first)[1]
    text = text.format(physical_min=f"{first.streams[0].channels[0].physical_min:.8g}"[:8])
    patch_header(path, field, text=text, channel=0)
    if field == "physical_max":
        patch_header(path, "physical_min", text=text, channel=0)
    header = READER.read_header(path)
    assert [channel.label for channel in header.streams[0].channels] == ["EEG C4"]
    np.testing.assert_array_equal(read_all(header)[0], good)
    [unusable] = header.unusable_channels
    assert (unusable.index, unusable.label) == (0, "EEG C3")
    assert unusable.reason.startswith(reason)
    assert header.notes[0].startswith("unusable_channels: 1 channels cannot be decoded ('EEG C3'")
    patch_header(path, "digital_max", text="-40000", channel=1)
    with pytest.raises(InputError, match=r"^a.edf: none of 2 channels can be decoded \('EEG C3'"):
        READER.read_header(path)


def test_samples_per_record_decide_the_layout_so_they_are_never_guessed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf")
    patch_header(path, "samples_per_record", text="-100", channel=0)
    with pytest.raises(InputError, match="-100 samples per record of 'EEG C3'; expected 0 or more"):
        READER.read_header(path)
    patch_header(path, "samples_per_record", text="0", channel=0)
    header = READER.read_header(path)
    assert header.unusable_channels[0].reason.startswith("it has 0 samples per record")
    assert [channel.label for channel in header.streams[0].channels] == ["EEG C4"]
    patch_header(path, "samples_per_record", text="0", channel=1)
    with pytest.raises(InputError, match="data records of 0 samples; expected at least one"):
        READER.read_header(path)


def test_decimal_commas_are_read_and_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.edf", physical_range=(-3276.5, 3276.5))
    values = read_all(READER.read_header(path))
    patch_header(path, "physical_max", text="3276,5", channel=0)
    header = READER.read_header(path)
    assert header.notes == (
        "decimal_comma: 1 header numbers use a comma, read as the decimal point (physical maximum)",
    )
    np.testing.assert_array_equal(read_all(header), values)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_header_texts_that_are_not_ascii_are_read_and_noted(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.edf")
    at = 256 + 2 * (16 + 80)  # the physical dimension of the first channel
    overwrite(path, "\u00b5V".encode(encoding).ljust(8), offset=at)
    header = READER.read_header(path)
    assert header.streams[0].channels[0].physical_dimension == "\u00b5V"
    assert header.notes[0].startswith("not_ascii: 1 header texts are not ASCII")


@pytest.mark.parametrize("kind", ["edf+d", "bdf"])
def test_any_damaged_header_is_read_or_refused_and_never_a_traceback(
    tmp_path: Path, kind: str
) -> None:
    path = write(tmp_path / f"a.{kind[:3]}", kind=kind)
    sound = path.read_bytes()
    rng = np.random.default_rng(7)
    outcomes = set()
    for _ in range(120):
        data = bytearray(sound)
        # Digits, signs and exponents, so that many damaged numbers are still numbers.
        for at in rng.integers(0, 256 * 4, size=rng.integers(1, 6)):
            data[at] = rng.choice(list(b"0123456789-+.,eE \x00\xff"))
        path.write_bytes(data)
        try:
            header = READER.read_header(path, accept_truncated=True)
        except InputError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert np.isfinite(read_all(header)).all()
            assert all(np.isfinite(stream.sampling_rate_hz) for stream in header.streams)
    assert outcomes == {"read", "refused"}


def test_nothing_of_the_patient_is_kept_or_shown(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "patient": "MCH-0234567 F 02-MAY-1951 Haagse_Harry",
        "recording": "Startdate 02-MAR-2002 EMG561 BK/JOP Sony",
        "startdate": "02.03.02",
        "starttime": "16.45.31",
    }
    path = write(tmp_path / "a.edf", kind="edf+c", **options)
    shown = repr(READER.read_header(path))
    # A header shifted by some bytes puts the name where a number is expected.
    patch_header(path, "num_records", text="Harry")
    with pytest.raises(InputError, match="number of data records is 5 characters") as refused:
        READER.read_header(path)
    for planted in ("Haagse", "Harry", "0234567", "MAY", "EMG561", "02.03", "16.45"):
        assert planted not in shown
        assert planted not in str(refused.value)


# --- finding the reader -----------------------------------------------------------------------


def test_readers_are_found_by_the_end_of_the_name(tmp_path: Path) -> None:
    assert isinstance(reader_for(tmp_path / "A.EDF"), EdfReader)
    assert isinstance(reader_for(tmp_path / "a.bdf"), EdfReader)
    with pytest.raises(InputError, match=r"a.vhdr: a file ending in '.vhdr'; expected one of .edf"):
        reader_for(tmp_path / "a.vhdr")


def test_names_are_relative_to_the_corpus_and_headers_cross_processes(tmp_path: Path) -> None:
    path = write(tmp_path / "s1" / "a.edf")
    header = READER.read_header(path, root=tmp_path)
    assert header.source == "s1/a.edf"
    assert pickle.loads(pickle.dumps(header)) == header
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"^s1/a\.edf: the file is empty"):
        READER.read_header(path, root=tmp_path)


def test_same_start_compares_dates_and_times(tmp_path: Path) -> None:
    first = write(tmp_path / "a.edf", startdate="24.04.89", starttime="16.13.00")
    second = write(tmp_path / "b.edf", startdate="24.04.89", starttime="16.13.00")
    later = write(tmp_path / "c.edf", startdate="24.04.89", starttime="16.13.01")
    assert same_start(first, second)
    assert not same_start(first, later)
