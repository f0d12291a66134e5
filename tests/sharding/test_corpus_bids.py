"""What is found in BIDS trees: names, labels, inheritance of side files, and what is refused."""

import json
from pathlib import Path

import pytest

from physioscale.errors import InputError
from physioscale.testing import write_bids_corpus
from physioscale_sharding.corpus import (
    ChannelRow,
    Corpus,
    CorpusDefinition,
    SourceRecording,
    find_recordings,
    load_definition,
)

EEG = "sub-01/ses-a/eeg/sub-01_ses-a_task-rest_run-02"


def tree(root: Path, files: dict[str, str | dict[str, object]]) -> Path:
    """Write a BIDS tree; texts as they are, mappings as JSON, lines of tables with ' | '."""
    for path, content in {"dataset_description.json": "{}", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (root / path).write_text(text.replace(" | ", "\t"), encoding="utf-8")
    return root


def find(root: Path, *, definition: CorpusDefinition | None = None) -> Corpus:
    """Return what is found in a tree."""
    return find_recordings(root, definition=definition or load_definition("bids"))


def only(root: Path) -> SourceRecording:
    """Return the one recording of a tree."""
    [recording] = find(root).recordings
    return recording


def test_a_generated_tree_is_found_with_labels_events_channels_and_line_frequency(
    tmp_path: Path,
) -> None:
    truth = write_bids_corpus(tmp_path, num_subjects=2, duration_s=20, sampling_rate_hz=32)
    corpus = find(tmp_path)
    assert (corpus.rejected, corpus.notes) == ((), ())
    found = {recording.absolute: recording for recording in corpus.recordings}
    assert set(found) == {item.path for item in truth.recordings}
    for item in truth.recordings:
        recording = found[item.path]
        assert (recording.subject, recording.session, recording.task, recording.run) == (
            item.subject,
            None,
            item.task,
            None,
        )
        assert recording.labels == {"age": float(item.age), "sex": item.sex}
        assert recording.events is not None
        assert [(e.onset_s, e.duration_s, e.text) for e in recording.events] == [
            (e.onset_s, e.duration_s, e.label) for e in item.events
        ]
        assert recording.channels is not None
        assert tuple(recording.channels) == item.channel_names
        assert {row.type for row in recording.channels.values()} == {"eeg"}
        assert recording.line_frequency_hz == 50.0
        assert recording.notes == ()
        assert recording.size_bytes == item.path.stat().st_size


def test_entities_come_from_the_name(tmp_path: Path) -> None:
    root = tree(tmp_path, {f"{EEG}_eeg.bdf": "", "sub-02/eeg/sub-02_task-x_acq-b+c_eeg.EDF": ""})
    first, second = find(root).recordings
    parts = (first.subject, first.session, first.task, first.run)
    assert parts == ("01", "a", "rest", "02")
    assert (second.subject, second.session, second.task) == ("02", None, "x")
    assert (first.events, first.channels, first.electrodes) == (None, None, None)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub-01/eeg/recording.edf", "its name is not that of a BIDS recording"),
        ("sub-01/eeg/sub-01_task-_eeg.edf", "its name is not that of a BIDS recording"),
        ("sub-01/eeg/sub-02_task-rest_eeg.edf", "not in sub-02/eeg/"),
        ("sub-01/eeg/sub-01_ses-1_task-rest_eeg.edf", "not in sub-01/ses-1/eeg/"),
        ("sub-01/eeg/sub-01_task-rest_physio.edf", r"not \*_eeg"),
        ("sub-01_task-rest_eeg.edf", "not in sub-01/eeg/"),
        ("sub-01/eeg/sub-01_task-rest_eeg.vhdr", "BrainVision is not read"),
        ("sub-01/eeg/sub-01_task-rest_eeg.set", "EEGLAB is not read"),
    ],
)
def test_recordings_that_are_not_where_or_what_bids_says_are_rejected(
    tmp_path: Path, path: str, reason: str
) -> None:
    corpus = find(tree(tmp_path, {f"{EEG}_eeg.edf": "", path: ""}))
    assert len(corpus.recordings) == 1
    [refused] = corpus.rejected
    assert refused.path == path
    assert refused.reason.startswith(reason) or reason.replace("\\", "") in refused.reason


def test_links_that_leave_the_tree_are_rejected_and_neighbours_stay(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree", {f"{EEG}_eeg.edf": ""})
    (tmp_path / "secret.edf").write_text("")
    (root / "sub-02/eeg").mkdir(parents=True)
    (root / "sub-02/eeg/sub-02_task-rest_eeg.edf").symlink_to(tmp_path / "secret.edf")
    corpus = find(root)
    assert [recording.subject for recording in corpus.recordings] == ["01"]
    assert [item.reason for item in corpus.rejected] == ["a link that leaves the corpus folder"]


def test_derivatives_and_other_modalities_are_no_recordings_of_the_corpus(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            "derivatives/clean/sub-01/eeg/sub-01_task-rest_eeg.edf": "",
            "sourcedata/sub-01/raw.edf": "",
            "sub-01/ieeg/sub-01_task-rest_ieeg.edf": "",
            "sub-01/meg/sub-01_task-rest_meg.fif": "",
        },
    )
    corpus = find(root)
    assert [recording.path for recording in corpus.recordings] == [f"{EEG}_eeg.edf"]
    assert corpus.rejected == ()
    assert corpus.notes[0].startswith("other_modality: 2 recordings of other modalities")
    definition = load_definition("bids")
    definition.modality = "ieeg"
    [recording] = find(root, definition=definition).recordings
    assert recording.path == "sub-01/ieeg/sub-01_task-rest_ieeg.edf"


def test_a_plain_folder_and_a_pattern_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.edf").write_text("")
    with pytest.raises(InputError, match=r"no dataset_description.json, so this is no BIDS tree"):
        find(tmp_path)
    with pytest.raises(InputError, match=r"subject pattern: 'S' for a BIDS tree"):
        find_recordings(tmp_path, definition=load_definition("bids"), subject_pattern="S")
    tree(tmp_path / "empty", {"README": ""})
    with pytest.raises(InputError, match="no EDF or BDF file among its 2 files"):
        find(tmp_path / "empty")


# --- labels -----------------------------------------------------------------------------------


def test_labels_of_scans_count_over_sessions_over_participants(tmp_path: Path) -> None:
    files: dict[str, str | dict[str, object]] = {
        f"{EEG}_eeg.edf": "",
        "participants.tsv": "\ufeffparticipant_id | age | drug | dose\nsub-01 | 30 | n/a | 1",
        "sub-01/sub-01_sessions.tsv": "session_id | drug | dose\nses-a | yes | 2\nses-b | no | 4",
        "sub-01/ses-a/sub-01_ses-a_scans.tsv": "filename | acq_time | dose\n"
        "eeg/sub-01_ses-a_task-rest_run-02_eeg.edf | 2010-01-02T03:04:05 | 3\n",
    }
    corpus = find(tree(tmp_path, files))
    assert corpus.recordings[0].labels == {"age": 30.0, "drug": "yes", "dose": 3.0}
    assert corpus.notes == (
        "columns_left_out: sub-01/ses-a/sub-01_ses-a_scans.tsv: acq_time "
        "(names, dates, contacts or text)",
    )


def test_a_damaged_table_of_scans_costs_its_own_labels_only(tmp_path: Path) -> None:
    files: dict[str, str | dict[str, object]] = {
        f"{EEG}_eeg.edf": "",
        "participants.tsv": "participant_id | age\nsub-01 | 30\n",
        "sub-01/ses-a/sub-01_ses-a_scans.tsv": "file | dose\nx.edf | 3\n",
    }
    recording = only(tree(tmp_path, files))
    assert recording.labels == {"age": 30.0}
    [note] = recording.notes
    assert note.startswith("side_file_unused: sub-01/ses-a/sub-01_ses-a_scans.tsv: no column file")


def test_subjects_without_a_row_are_named(tmp_path: Path) -> None:
    files: dict[str, str | dict[str, object]] = {
        f"{EEG}_eeg.edf": "",
        "sub-02/eeg/sub-02_task-rest_eeg.edf": "",
        "participants.tsv": "participant_id | age\nsub-01 | 30\n",
    }
    corpus = find(tree(tmp_path, files))
    assert [recording.labels for recording in corpus.recordings] == [{"age": 30.0}, {}]
    assert corpus.notes == (
        "subjects_without_row: 1 of 2 subjects have no row in participants.tsv (first: sub-02)",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("participant_id | age\nsub-01 | 1\nsub-01 | 2\n", "row 3 has a value that occurs before"),
        ("participant_id | age\nn/a | 1\n", "row 2 has no value in column participant_id"),
        ("subject | age\nsub-01 | 1\n", "no column participant_id"),
    ],
)
def test_a_damaged_participants_table_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    root = tree(tmp_path, {f"{EEG}_eeg.edf": "", "participants.tsv": content})
    with pytest.raises(InputError, match=rf"participants\.tsv: .*{message}"):
        find(root)


# --- side files -------------------------------------------------------------------------------

EVENTS = "onset | duration | trial_type\n"


def test_the_deepest_table_whose_entities_fit_applies(tmp_path: Path) -> None:
    other = EEG.replace("run-02", "run-03")
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            f"{other}_eeg.edf": "",
            "events.tsv": EVENTS + "0 | 1 | root",
            "task-rest_events.tsv": EVENTS + "0 | 1 | root of the task",
            "task-move_events.tsv": EVENTS + "0 | 1 | another task",
            "sub-01/sub-01_task-rest_events.tsv": EVENTS + "0 | 1 | subject",
            f"{EEG}_events.tsv": EVENTS + "0 | 1 | run 2",
            "sub-02/sub-02_task-rest_events.tsv": EVENTS + "0 | 1 | another subject",
        },
    )
    second, third = find(root).recordings
    assert second.events is not None
    assert third.events is not None
    assert [event.text for event in second.events] == ["run 2"]
    assert [event.text for event in third.events] == ["subject"]
    (root / "sub-01/sub-01_task-rest_events.tsv").unlink()
    inherited = find(root).recordings[1].events
    assert inherited is not None
    assert inherited[0].text == "root of the task"


def test_json_fields_are_merged_from_the_root_down(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            "eeg.json": {"PowerLineFrequency": 60, "EEGReference": "Cz"},
            "task-rest_eeg.json": {"PowerLineFrequency": 50},
            "sub-01/sub-01_task-rest_eeg.json": {"EEGReference": "n/a"},
        },
    )
    recording = only(root)
    assert recording.line_frequency_hz == 50.0
    assert recording.reference is None
    (root / "sub-01/sub-01_task-rest_eeg.json").unlink()
    assert only(root).reference == "Cz"


@pytest.mark.parametrize("value", ["n/a", 0, -50, True, None, [50]])
def test_a_line_frequency_that_is_no_frequency_is_unknown(tmp_path: Path, value: object) -> None:
    files: dict[str, str | dict[str, object]] = {
        f"{EEG}_eeg.edf": "",
        f"{EEG}_eeg.json": {"PowerLineFrequency": value},
    }
    assert only(tree(tmp_path, files)).line_frequency_hz is None


def test_events_take_their_label_from_trial_type_then_value(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            f"{EEG}_events.tsv": "onset | duration | trial_type | value | sample\n"
            "2.5 | n/a | n/a | 7 | 1\n0.25 | 1.5 | go | 8 | 2\n-1e-1 | 0 | early | 9 | 3\n"
            "3 | 1 | n/a | n/a | 4\nn/a | 1 | lost | 1 | 5\n",
        },
    )
    recording = only(root)
    assert recording.events is not None
    assert [(e.onset_s, e.duration_s, e.text) for e in recording.events] == [
        (-0.1, 0.0, "early"),
        (0.25, 1.5, "go"),
        (2.5, 0.0, "7"),
    ]
    assert recording.notes == ("events_without_label: 2 of 5 rows have no onset or label",)


def test_channels_have_types_units_and_status(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            "channels.tsv": "name | type | units | status\nFp1 | EEG | \u00b5V | good\n"
            "eye | VEOG | uV | BAD\nS | TRIG | n/a | n/a\nq | QUUX | V | good\n",
        },
    )
    assert only(root).channels == {
        "Fp1": ChannelRow(type="eeg", unit="\u00b5V", status="good"),
        "eye": ChannelRow(type="eog", unit="uV", status="bad"),
        "S": ChannelRow(type="stim", unit="", status=""),
        "q": ChannelRow(type="unknown", unit="V", status="good"),
    }


ELECTRODES = "name | x | y | z\nFp1 | 10 | 20 | 30\nCz | n/a | n/a | n/a\n"


@pytest.mark.parametrize(("unit", "factor"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001)])
def test_electrodes_are_metres_in_their_own_coordinate_system(
    tmp_path: Path, unit: str, factor: float
) -> None:
    stem = "sub-01/ses-a/eeg/sub-01_ses-a"
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            f"{stem}_electrodes.tsv": ELECTRODES,
            f"{stem}_coordsystem.json": {
                "EEGCoordinateSystem": "CapTrak",
                "EEGCoordinateUnits": unit,
            },
        },
    )
    electrodes = only(root).electrodes
    assert electrodes is not None
    assert electrodes.frame == "CapTrak"
    assert electrodes.xyz_m["Fp1"] == pytest.approx((10 * factor, 20 * factor, 30 * factor))
    assert list(electrodes.xyz_m) == ["Fp1"]


def test_of_several_spaces_the_unnamed_counts_then_the_first(tmp_path: Path) -> None:
    stem = "sub-01/ses-a/eeg/sub-01_ses-a"
    files: dict[str, str | dict[str, object]] = {f"{EEG}_eeg.edf": ""}
    for space in ("", "_space-MNI", "_space-CapTrak"):
        files[f"{stem}{space}_electrodes.tsv"] = ELECTRODES
        files[f"{stem}{space}_coordsystem.json"] = {
            "EEGCoordinateSystem": space.removeprefix("_space-") or "Other",
            "EEGCoordinateUnits": "mm",
        }
    root = tree(tmp_path, files)
    frames = []
    for space in ("", "_space-CapTrak"):
        electrodes = only(root).electrodes
        assert electrodes is not None
        frames.append(electrodes.frame)
        (root / f"{stem}{space}_electrodes.tsv").unlink()
        (root / f"{stem}{space}_coordsystem.json").unlink()
    assert frames == ["Other", "CapTrak"]


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("_events.tsv", "time | label\n1 | x\n", "columns time, label"),
        ("_events.tsv", EVENTS + "soon | 1 | x\n", "onset 'soon'"),
        ("_events.tsv", EVENTS + "1 | -1 | x\n", "duration '-1'"),
        ("_events.tsv", EVENTS + "1 | long | x\n", "duration 'long'"),
        ("_events.tsv", EVENTS + "1 | x\n", "row 2 has 2 values"),
        ("_channels.tsv", "label\nFp1\n", "columns label"),
        ("_channels.tsv", "name | type\nFp1 | EEG\nFp1 | EEG\n", "channel 'Fp1' twice"),
        ("_eeg.json", "{", "not JSON"),
        ("_eeg.json", "[1]", "a JSON list"),
        ("_electrodes.tsv", ELECTRODES, "no coordinate system beside it"),
    ],
)
def test_a_damaged_side_file_costs_itself_and_not_the_recording(
    tmp_path: Path, name: str, content: str, note: str
) -> None:
    files: dict[str, str | dict[str, object]] = {f"{EEG}_eeg.edf": "", f"{EEG}{name}": content}
    recording = only(tree(tmp_path, files))
    assert (recording.events, recording.channels, recording.electrodes) == (None, None, None)
    [found] = recording.notes
    assert found.startswith(f"side_file_unused: {EEG}{name}: {note}")


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"EEGCoordinateSystem": "X"}, "coordinates in 'None'"),
        ({"EEGCoordinateSystem": "X", "EEGCoordinateUnits": "pixels"}, "coordinates in 'pixels'"),
        ({"Other": "X"}, "no coordinate system beside it"),
    ],
)
def test_positions_without_a_known_unit_are_not_used(
    tmp_path: Path, fields: dict[str, object], note: str
) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            f"{EEG}_electrodes.tsv": ELECTRODES,
            f"{EEG}_coordsystem.json": fields,
        },
    )
    assert only(root).electrodes is None
    assert note in only(root).notes[0]


def test_two_tables_that_apply_equally_are_used_for_neither(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            f"{EEG}_eeg.edf": "",
            "sub-01/sub-01_task-rest_events.tsv": EVENTS + "0 | 1 | a",
            "sub-01/sub-01_run-02_events.tsv": EVENTS + "0 | 1 | b",
        },
    )
    recording = only(root)
    assert recording.events is None
    assert "sub-01_task-rest_events.tsv beside it applies to" in recording.notes[0]
