"""Real EDF and BDF files, odd ones included: their facts, their values, their corpora.

Referees: edfio for digital numbers (exact), mne for volts and annotations (a hundredth of a step).
"""

import shutil
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from physioscale.errors import InputError
from physioscale_sharding.corpus import find_recordings, load_definition
from physioscale_sharding.readers import (
    EdfReader,
    RecordingHeader,
    reader_for,
    same_start,
    to_physical,
)
from physioscale_sharding.standardise import (
    locate,
    parse_prefilter,
    parse_unit,
    standard_names,
)

pytestmark = pytest.mark.realdata

READER = EdfReader()
EEGMAT = [
    f"eeg/eegmat/Subject{subject:02d}_{run}.edf" for subject in (0, 1, 3, 6) for run in (1, 2)
]
BIDS = "eeg/bids_eegmat_mini/sub-{0}/eeg/sub-{0}_task-arithmetic_eeg.edf"
SLEEP = "eeg/sleep_edf_short/SC4001E0_first5min_PSG"
HYPNOGRAM = "eeg/sleep_edf_short/SC4001EC-Hypnogram.edf"
ECOG = (
    "ieeg/eegio_bids_ecog/sub-0001/ses-seizure/ieeg/"
    "sub-0001_ses-seizure_task-monitor_acq-ecog_run-00_ieeg.edf"
)
DUPLICATES = "eeg/odd/edf_duplicate_labels/duplicate_channel_labels.edf"

# path: format, (rate in Hz, channels, samples) per stream, annotations, rules of the notes
Facts = tuple[str, list[tuple[float, int, int]], int, list[str]]
FACTS: dict[str, Facts] = {
    **{
        path: ("EDF+C", [(500, 21, 91000 if path.endswith("1.edf") else 31000)], 0, [])
        for path in EEGMAT
    },
    **{BIDS.format(subject): ("EDF+C", [(500, 21, 31000)], 0, []) for subject in ("03", "06")},
    "eeg/edf_bdf/test.edf": ("EDF+C", [(512, 139, 3072)], 5, []),
    "eeg/edf_bdf/test.bdf": ("BDF", [(2048, 73, 2048)], 0, []),
    "eeg/edf_bdf/mne_test_24bit.bdf": ("BDF+C", [(512, 139, 3072)], 5, []),
    "eeg/eegmmidb/test_edf_overlapping_annotations.edf": ("EDF+C", [(128, 64, 15872)], 38, []),
    DUPLICATES: ("EDF+C", [(250, 3, 2500)], 0, ["duplicate_labels"]),
    "eeg/odd/edf_plus_d/MB0400FU.edf": ("EDF+D", [(200, 25, 5800)], 4, ["onset_as_text"]),
    "eeg/odd/edf_utf8_annotations/test_utf8_annotations.edf": (
        "EDF+C",
        [(200, 11, 2000)],
        2,
        [],
    ),
    f"{SLEEP}.edf": ("EDF", [(100, 3, 30000), (1, 4, 300)], 0, []),
    f"{SLEEP}.bdf": ("BDF", [(100, 3, 30000), (1, 4, 300)], 0, []),
    ECOG: ("EDF+C", [(1000, 98, 15500)], 4, ["onset_as_text", "annotations_outside"]),
    "ecg/odd/edf_invalid_sample_fill/sample.edf": ("EDF", [(300, 1, 12000)], 0, []),
}
MIXED = "eeg/odd/edf_mixed_rates/test_reduced.edf"


def test_the_table_names_every_edf_and_bdf_file(realdata: Path) -> None:
    found = [p for p in realdata.rglob("*") if p.suffix.lower() in (".edf", ".bdf")]
    names = {path.relative_to(realdata).as_posix() for path in found}
    assert names == {*FACTS, MIXED, HYPNOGRAM}


@pytest.mark.parametrize("path", FACTS)
def test_facts_are_those_of_the_manifest(realdata: Path, path: str) -> None:
    kind, streams, num_annotations, rules = FACTS[path]
    header = READER.read_header(realdata / path, root=realdata)
    assert (header.source, header.format) == (path, kind)
    found = [(s.sampling_rate_hz, len(s.channels), s.num_samples) for s in header.streams]
    assert found == streams
    # The one EDF+D file declares gaps and has none: its record onsets are contiguous.
    assert [len(stream.runs) for stream in header.streams] == [1] * len(streams)
    assert len(header.annotations) == num_annotations
    assert [note.partition(":")[0] for note in header.notes] == rules
    assert header.unusable_channels == ()


@pytest.mark.parametrize("path", [*FACTS, MIXED])
def test_digital_numbers_equal_edfios(realdata: Path, path: str) -> None:
    header = READER.read_header(realdata / path)
    read = edfio.read_bdf if path.endswith("bdf") else edfio.read_edf
    theirs = read(realdata / path).signals
    assert sum(len(stream.channels) for stream in header.streams) == len(theirs)
    for stream in header.streams:
        ours = READER.read_samples(header, stream.channels, start=0, stop=stream.num_samples)
        for row, channel in zip(ours, stream.channels, strict=True):
            assert channel.label == theirs[channel.index].label
            np.testing.assert_array_equal(row, theirs[channel.index].digital)


@pytest.mark.parametrize("path", FACTS)
def test_volts_and_annotations_equal_mnes(realdata: Path, path: str) -> None:
    read = mne.io.read_raw_bdf if path.endswith("bdf") else mne.io.read_raw_edf
    raw = read(realdata / path, preload=True, verbose="error")
    header = READER.read_header(realdata / path)
    # mne resamples slower channels and masks triggers, so both are left to edfio.
    stream = header.streams[0]
    rows = [row for row, c in enumerate(stream.channels) if c.label != "Status"]
    channels = [stream.channels[row] for row in rows]
    digital = READER.read_samples(header, channels, start=0, stop=stream.num_samples)
    factor = np.array([[parse_unit(c.physical_dimension).factor] for c in channels])
    step = np.abs(np.array([[c.gain] for c in channels])) * factor
    theirs = raw.get_data(picks=[channel.index for channel in channels])
    assert (np.abs(to_physical(digital, channels) * factor - theirs) < 0.01 * step).all()
    # mne leaves annotations behind the signal out.
    inside = [a for a in header.annotations if a.onset_s < header.duration_s]
    ours = sorted((a.onset_s, a.text) for a in inside)
    expected = sorted(zip(raw.annotations.onset, raw.annotations.description, strict=True))
    np.testing.assert_allclose([o[0] for o in ours], [e[0] for e in expected], atol=1e-6)
    assert sorted(o[1] for o in ours) == sorted(e[1] for e in expected)


def test_ten_rates_are_ten_streams(realdata: Path) -> None:
    header = READER.read_header(realdata / MIXED)
    rates = [stream.sampling_rate_hz for stream in header.streams]
    assert sorted(rates) == [float(2**power) for power in range(10)]
    assert sum(len(stream.channels) for stream in header.streams) == 139
    assert {stream.num_samples / stream.sampling_rate_hz for stream in header.streams} == {6.0}


def test_the_hypnogram_is_annotations_only(realdata: Path) -> None:
    with pytest.raises(InputError, match=r"SC4001EC-Hypnogram.edf: annotations only, no signal"):
        READER.read_header(realdata / HYPNOGRAM)
    stages = READER.read_annotations(realdata / HYPNOGRAM)
    theirs = mne.read_annotations(realdata / HYPNOGRAM)
    assert len(stages) == len(theirs) == 154
    assert (stages[0].duration_s, stages[0].text) == (30630.0, "Sleep stage W")
    np.testing.assert_array_equal([stage.onset_s for stage in stages], theirs.onset)
    np.testing.assert_array_equal([stage.duration_s for stage in stages], theirs.duration)
    assert same_start(realdata / HYPNOGRAM, realdata / f"{SLEEP}.edf")


# --- standardisation --------------------------------------------------------------------------


def _types(header: RecordingHeader, cap: str | None = None) -> dict[str, int]:
    labels = [channel.label for stream in header.streams for channel in stream.channels]
    types = [name.type for name in standard_names(labels, cap=cap)]
    return {kind: types.count(kind) for kind in dict.fromkeys(types)}


@pytest.mark.parametrize(
    ("path", "types"),
    [
        (EEGMAT[0], {"eeg": 20, "ecg": 1}),
        ("eeg/eegmmidb/test_edf_overlapping_annotations.edf", {"eeg": 64}),
        (f"{SLEEP}.edf", {"eeg": 2, "eog": 1, "resp": 1, "emg": 1, "temp": 1, "stim": 1}),
        ("eeg/odd/edf_plus_d/MB0400FU.edf", {"eeg": 21, "misc": 4}),
        (DUPLICATES, {"eeg": 3}),
        # A1..I8 are outputs of an amplifier: without the cap, C3 is no central electrode.
        ("eeg/edf_bdf/test.edf", {"unknown": 136, "misc": 2, "stim": 1}),
        ("eeg/edf_bdf/test.bdf", {"eeg": 66, "misc": 3, "eog": 3, "stim": 1}),
        (
            "eeg/odd/edf_utf8_annotations/test_utf8_annotations.edf",
            {"unknown": 9, "misc": 1, "ecg": 1},
        ),
        (ECOG, {"unknown": 89, "misc": 7, "ecg": 2}),
    ],
)
def test_channel_types_are_what_the_labels_say(
    realdata: Path, path: str, types: dict[str, int]
) -> None:
    assert _types(READER.read_header(realdata / path)) == types


def test_every_scalp_channel_of_eegmat_and_eegmmidb_has_a_place(realdata: Path) -> None:
    for path in (EEGMAT[0], "eeg/eegmmidb/test_edf_overlapping_annotations.edf"):
        channels = READER.read_header(realdata / path).streams[0].channels
        names = standard_names([channel.label for channel in channels])
        places = locate(names)
        assert places.absent == ()
        for name, place in zip(names, places.xyz_m, strict=True):
            assert (place is None) == (name.type == "ecg")
            assert name.type != "eeg" or len({name.name, *name.electrodes}) <= 3


def test_a_cap_of_64_has_the_order_of_a_real_recording(realdata: Path) -> None:
    labels = [f"{letter}{number}" for letter in "AB" for number in range(1, 33)]
    header = READER.read_header(realdata / "eeg/edf_bdf/test.bdf")
    written = [channel.label for channel in header.streams[0].channels[:64]]
    assert [name.name for name in standard_names(labels, cap="biosemi64")] == written


def test_units_and_filters_of_real_headers_are_known(realdata: Path) -> None:
    [fast, slow] = READER.read_header(realdata / f"{SLEEP}.edf").streams
    assert [parse_unit(c.physical_dimension).symbol for c in fast.channels] == ["V"] * 3
    assert [parse_unit(c.physical_dimension).symbol for c in slow.channels] == [
        "unknown",
        "V",
        "degC",
        "unknown",
    ]
    assert parse_prefilter(fast.channels[0].prefilter).high_cut_hz == 100.0
    eegmat = READER.read_header(realdata / EEGMAT[0]).streams[0].channels
    assert {parse_unit(c.physical_dimension).factor for c in eegmat} == {1e-6, 1e-3}
    filters = {parse_prefilter(channel.prefilter) for channel in eegmat}
    assert {(f.low_cut_hz, f.high_cut_hz, f.notch_hz) for f in filters} == {(0.5, 45.0, 50.0)}


# --- corpora ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eegmat", "folder"])
def test_eegmat_has_four_subjects_with_labels(realdata: Path, name: str) -> None:
    corpus = find_recordings(realdata / "eeg/eegmat", definition=load_definition(name))
    assert corpus.rejected == ()
    assert [recording.path for recording in corpus.recordings] == [Path(p).name for p in EEGMAT]
    subjects = [recording.subject for recording in corpus.recordings]
    assert subjects == [Path(path).name.split("_")[0] for path in EEGMAT]
    first = corpus.recordings[0]
    assert first.labels == {
        "state": "rest",
        "age": 21.0,
        "sex": "F",
        "year": 2011.0,
        "subtractions_per_4min": 9.7,
        "count_quality": 0.0,
    }
    assert first.task == ("rest" if name == "eegmat" else None)
    assert first.subject_is_public == (name == "eegmat")


def test_a_bids_tree_of_two_subjects(realdata: Path) -> None:
    corpus = find_recordings(realdata / "eeg/bids_eegmat_mini", definition=load_definition("bids"))
    assert corpus.rejected == ()
    first, second = corpus.recordings
    assert (first.subject, first.task, first.labels) == (
        "03",
        "arithmetic",
        {"age": 17.0, "sex": "F", "count_quality": 1.0},
    )
    assert second.subject == "06"
    assert first.channels is not None
    assert first.channels["ECG ECG"].type == "ecg"
    assert parse_unit(first.channels["EEG Fp1"].unit).factor == 1e-6
    assert first.line_frequency_hz == 50.0
    # The tables of scans give a date each, which is not kept.
    assert all("acq_time" in note for note in corpus.notes)
    assert len(corpus.notes) == 2


def test_a_bids_tree_of_brainvision_files_is_rejected_file_by_file(realdata: Path) -> None:
    corpus = find_recordings(
        realdata / "eeg/odd/tiny_bids_not_brain", definition=load_definition("bids")
    )
    assert corpus.recordings == ()
    [rejected] = corpus.rejected
    assert rejected.reason == "BrainVision is not read; EDF and BDF are"


def test_an_intracranial_tree_is_found_by_its_modality(realdata: Path) -> None:
    definition = load_definition("bids")
    definition.modality = "ieeg"
    corpus = find_recordings(realdata / "ieeg/eegio_bids_ecog", definition=definition)
    [recording] = corpus.recordings
    assert (recording.subject, recording.session, recording.run) == ("0001", "seizure", "00")
    assert recording.labels == {"age": None, "sex": None}
    assert recording.channels is not None
    assert recording.events is not None
    assert "bad" in {row.status for row in recording.channels.values()}


def test_sleep_edf_joins_its_hypnogram(realdata: Path, tmp_path: Path) -> None:
    shutil.copy(realdata / f"{SLEEP}.edf", tmp_path / "SC4001E0-PSG.edf")
    shutil.copy(realdata / HYPNOGRAM, tmp_path / "SC4001EC-Hypnogram.edf")
    definition = load_definition("sleep_edf")
    [recording] = find_recordings(tmp_path, definition=definition).recordings
    assert (recording.subject, recording.session) == ("SC400", "1")
    assert recording.events is not None
    assert len(recording.events) == 154
    assert {event.text for event in recording.events} <= set(definition.annotation_labels)


def test_a_folder_of_text_files_holds_no_recording(realdata: Path) -> None:
    with pytest.raises(InputError, match="no EDF or BDF file among its 1 files"):
        find_recordings(realdata / "eeg/eye_state", definition=load_definition("folder"))
    with pytest.raises(InputError, match=r"\.vhdr.*expected one of .edf, .bdf"):
        reader_for(realdata / "eeg/brainvision/test.vhdr")
