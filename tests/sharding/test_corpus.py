"""Corpus definitions, and what is found in plain folders."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from physioscale.errors import InputError, MissingInputError
from physioscale.testing import Annotation, patch_header, write_edf, write_folder_corpus
from physioscale_sharding.corpus import (
    Corpus,
    CorpusDefinition,
    find_recordings,
    list_definitions,
    load_definition,
)

DEFINITION = """
name: mine
title: A corpus of mine
modality: eeg
layout: folder
licence: none
access: none
"""


def touch(root: Path, *paths: str) -> Path:
    """Make files that look like recordings by their name; their content is never opened here."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"0       ")
    return root


def plain(**changes: object) -> CorpusDefinition:
    """Return the definition of a plain folder."""
    definition = load_definition("folder")
    for key, value in changes.items():
        setattr(definition, key, value)
    return definition


def subjects(corpus: Corpus) -> dict[str, str]:
    """Return the subject of each recording."""
    return {recording.path: recording.subject for recording in corpus.recordings}


def rejected(corpus: Corpus) -> dict[str, str]:
    """Return the reason for each rejected path."""
    return {item.path: item.reason for item in corpus.rejected}


# --- definitions ------------------------------------------------------------------------------


def test_every_definition_that_comes_with_the_package_loads() -> None:
    names = list_definitions()
    assert {"bids", "eegmat", "eegmmidb", "folder", "sleep_edf"} <= set(names)
    for name in names:
        definition = load_definition(name)
        assert definition.name == name
        assert set(definition.linked) <= set(names)
        assert definition.title
        assert definition.licence
        assert definition.access


def test_a_definition_of_ones_own_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(DEFINITION + "linked: [eegmat]\ntasks: {'1': rest}\n")
    definition = load_definition(tmp_path / "mine.yaml")
    assert (definition.title, definition.linked) == ("A corpus of mine", ["eegmat"])
    assert definition.tasks == {"1": "rest"}
    assert not definition.public_subject_ids
    assert definition.subject_pattern is None


def test_an_unknown_definition_names_the_near_one() -> None:
    with pytest.raises(InputError, match=r"corpus 'egmat': .*did you mean 'eegmat'\?"):
        load_definition("egmat")
    with pytest.raises(MissingInputError, match=r"nowhere\.yaml: no such file"):
        load_definition("nowhere.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("licens: x", "unknown key 'licens'; did you mean 'licence'"),
        ("layout: tree", "layout 'tree'.*expected one of bids, folder"),
        ("modality: ecg", "modality 'ecg'; did you mean 'eeg'"),
        ("name: other", "name 'other'; expected the file's name, 'mine'"),
        ("linked: eegmat", "linked: .*expected a value of the key's type"),
        ("public_subject_ids: perhaps", "public_subject_ids: .*'perhaps'"),
        ("subject_pattern: '(?P<subject>'", r"subject_pattern: '\(\?P<subject>' \("),
        ("subject_pattern: 'S\\d+'", r"expected a group \(\?P<subject>"),
        ("subject_pattern: '(?P<subject>S)(?P<sesion>1)'", "'sesion'; did you mean 'session'"),
        ("annotations_pattern: 'x'", r"annotations_pattern: 'x'; expected a group"),
        ("title: [", r"mine\.yaml, line \d+: .*expected YAML"),
        ("annotation_labels: [T0, {a: b}]", "annotation_labels with an item that is no text"),
        ("tasks: {1: rest}", "tasks.*: .*expected a value of the key's type"),
    ],
)
def test_a_wrong_definition_says_what_is_wrong(tmp_path: Path, change: str, message: str) -> None:
    key = change.partition(":")[0]
    lines = [line for line in DEFINITION.splitlines() if not line.startswith(f"{key}:")]
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, change]))
    with pytest.raises(InputError, match=message):
        load_definition(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "no mapping; expected keys and values"),
        ("name: mine\n", "no access, layout, licence, modality, title; expected these keys"),
        (DEFINITION + "title: again\n", "found duplicate key title; expected YAML"),
        ("name: \u00e4".encode("latin-1"), "expected YAML"),
    ],
)
def test_a_file_that_is_no_definition_is_refused(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "mine.yaml").write_bytes(data)
    with pytest.raises(InputError, match=rf"mine\.yaml.*: .*{message}"):
        load_definition(tmp_path / "mine.yaml")


# --- subjects of a plain folder ---------------------------------------------------------------


def test_generated_corpora_are_found_with_their_subjects_tasks_and_labels(tmp_path: Path) -> None:
    for layout in ("flat", "subfolders"):
        truth = write_folder_corpus(
            tmp_path / layout,
            num_subjects=3,
            duration_s=2,
            sampling_rate_hz=32,
            layout=layout,
            broken=True,
        )
        corpus = find_recordings(truth.root, definition=plain())
        expected = {item.path: item.subject for item in truth.recordings}
        expected |= dict.fromkeys(truth.broken, "subject04")
        assert {item.absolute: item.subject for item in corpus.recordings} == expected
        assert corpus.rejected == ()
        if layout == "flat":
            found = {item.absolute: item for item in corpus.recordings}
            for item in truth.recordings:
                assert found[item.path].task == item.task
                assert found[item.path].labels == {"age": float(item.age), "sex": item.sex}
                assert found[item.path].size_bytes == item.path.stat().st_size


def test_a_table_gives_subject_session_run_task_and_typed_labels(tmp_path: Path) -> None:
    touch(tmp_path, "b/two.EDF", "a.bdf", "c.edf")
    (tmp_path / "labels.csv").write_text(
        "file,subject,session,run,task,age,code,grade\n"
        "b\\two.EDF,S2,1,,rest,41,012,n/a\n"
        "a.bdf,S1,,03,,n/a,A7,\n"
        "c.edf,n/a,,,,3,1,2\n",
        encoding="utf-8-sig",
    )
    corpus = find_recordings(tmp_path, definition=plain(public_subject_ids=True))
    first, second = corpus.recordings
    assert (first.path, first.subject, first.run, first.task) == ("a.bdf", "S1", "03", None)
    assert first.labels == {"age": None, "code": "A7", "grade": None}
    assert (second.path, second.subject, second.session) == ("b/two.EDF", "S2", "1")
    assert second.labels == {"age": 41.0, "code": "012", "grade": None}
    assert second.absolute == tmp_path / "b/two.EDF"
    assert second.subject_is_public
    assert rejected(corpus) == {"c.edf": "no row in labels.csv names its subject"}
    assert pickle.loads(pickle.dumps(corpus)) == corpus


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "recordings.tsv"])
def test_tables_have_three_usual_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.edf")
    separator = "\t" if name.endswith("tsv") else ";"
    rows = [["file", "subject", "score"], ["a.edf", "S1", "1,5"]]
    (tmp_path / name).write_text("\n".join(separator.join(row) for row in rows))
    [recording] = find_recordings(tmp_path, definition=plain()).recordings
    assert (recording.subject, recording.labels) == ("S1", {"score": "1,5"})


def test_rows_without_a_file_and_files_without_a_row_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.edf", "extra.edf", "notes.txt")
    (tmp_path / "labels.csv").write_text(
        "file,subject\na.edf,S1\ngone.edf,S1\n../out.edf,S2\n/etc/x.edf,S2\n"
    )
    corpus = find_recordings(tmp_path, definition=plain())
    assert subjects(corpus) == {"a.edf": "S1"}
    assert rejected(corpus) == {
        "../out.edf": "named in labels.csv, but it leaves the corpus folder",
        "/etc/x.edf": "named in labels.csv, but it leaves the corpus folder",
        "extra.edf": "no row in labels.csv names its subject",
        "gone.edf": "named in labels.csv, but not in the folder",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,subject\na.edf,S1\n", r"columns name, subject; expected columns file and subject"),
        ("file,subject\na.edf,S1\na.edf,S2\n", "row 3 has a file that occurs before"),
        ("file,subject\n,S1\n", "row 2 has no file"),
        ("file,subject\na.edf\n", "row 2 has 1 values; expected 2"),
        ("file,subject,subject\na.edf,S1,S2\n", "a column name that occurs twice"),
        ("", "no header line"),
        ("file,subject\nb.edf,S1\n", r"1 recordings, and for each of them: no row in labels.csv"),
        ("file,subject\na.edf,\u00e9".encode("latin-1"), "byte 19 is not UTF-8"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    touch(tmp_path, "a.edf")
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        find_recordings(tmp_path, definition=plain())


def test_two_tables_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "a.edf")
    for name in ("labels.csv", "recordings.tsv"):
        (tmp_path / name).write_text("file\tsubject\n")
    with pytest.raises(InputError, match=r"both labels.csv and recordings.tsv; expected one"):
        find_recordings(tmp_path, definition=plain())


def test_a_pattern_gives_subject_session_run_and_task(tmp_path: Path) -> None:
    touch(tmp_path, "x/S01_ses2_R03_rest.edf", "x/S02_ses1_R01_move.edf", "x/calibration.edf")
    pattern = r"(?P<subject>S\d+)_ses(?P<session>\d)_R(?P<run>\d+)_(?P<task>\w+)\.edf$"
    corpus = find_recordings(tmp_path, definition=plain(), subject_pattern=pattern)
    first = corpus.recordings[0]
    parts = (first.subject, first.session, first.run, first.task)
    assert parts == ("S01", "2", "03", "rest")
    assert list(rejected(corpus)) == ["x/calibration.edf"]
    assert "does not match the subject pattern" in rejected(corpus)["x/calibration.edf"]
    with pytest.raises(InputError, match="3 recordings, and for each of them: its path does not"):
        find_recordings(tmp_path, definition=plain(), subject_pattern=r"(?P<subject>P\d+)")
    with pytest.raises(InputError, match=r"subject pattern: 'S\(' \(.*expected a regular"):
        find_recordings(tmp_path, definition=plain(), subject_pattern="S(")


def test_a_table_counts_before_a_pattern_which_fills_in_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "Subject00_1.edf", "Subject00_2.edf")
    (tmp_path / "labels.csv").write_text(
        "file,subject,task\nSubject00_1.edf,P7,sleep\nSubject00_2.edf,P7,n/a\n"
    )
    corpus = find_recordings(tmp_path, definition=load_definition("eegmat"))
    assert [(r.subject, r.run, r.task) for r in corpus.recordings] == [
        ("P7", "1", "sleep"),
        ("P7", "2", "arithmetic"),
    ]
    assert corpus.notes == ("table_absent: subject-info.csv is not in the folder",)


def test_first_level_folders_are_subjects_when_every_file_lies_in_one(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.edf", "p1/deep/b.edf", "p2/a.edf")
    corpus = find_recordings(tmp_path, definition=plain())
    assert subjects(corpus) == {"p1/a.edf": "p1", "p1/deep/b.edf": "p1", "p2/a.edf": "p2"}


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (("a.edf", "b.edf"), "2 of 2 recordings lie directly in it"),
        (("p1/a.edf", "b.edf"), r"1 of 2 recordings lie directly in it \(b.edf\)"),
        (("Train/a.edf", "eval/b.edf"), "its folder 'Train' does not look like a person's"),
        (("normal/a.edf", "abnormal/b.edf"), "its folder 'abnormal' does not look like"),
    ],
)
def test_one_subject_per_file_is_never_assumed(
    tmp_path: Path, paths: tuple[str, ...], found: str
) -> None:
    touch(tmp_path, *paths)
    with pytest.raises(InputError, match=found) as refused:
        find_recordings(tmp_path, definition=plain())
    for way in ("labels.csv", "(?P<subject>", "one folder for each subject"):
        assert way in str(refused.value)


def test_participants_are_joined_by_subject_under_the_table_of_recordings(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.edf", "p2/a.edf")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsite\nsub-p1\t30\tA\nsub-p3\t31\tB\n"
    )
    corpus = find_recordings(tmp_path, definition=plain())
    assert [recording.labels for recording in corpus.recordings] == [{"age": 30.0, "site": "A"}, {}]
    (tmp_path / "labels.csv").write_text("file,subject,site\np1/a.edf,p1,C\np2/a.edf,p2,C\n")
    corpus = find_recordings(tmp_path, definition=plain())
    assert corpus.recordings[0].labels == {"age": 30.0, "site": "C"}


def test_a_definition_names_its_participants_table_and_key(tmp_path: Path) -> None:
    touch(tmp_path, "Subject00_1.edf", "Subject00_2.edf", "Subject01_1.edf")
    (tmp_path / "subject-info.csv").write_text("Subject,Age,Gender\nSubject00,21,F\n")
    corpus = find_recordings(tmp_path, definition=load_definition("eegmat"))
    assert [(r.subject, r.task, r.labels) for r in corpus.recordings] == [
        ("Subject00", "rest", {"Age": 21.0, "Gender": "F"}),
        ("Subject00", "arithmetic", {"Age": 21.0, "Gender": "F"}),
        ("Subject01", "rest", {}),
    ]
    (tmp_path / "subject-info.csv").write_text("Id,Age\nSubject00,21\n")
    with pytest.raises(
        InputError, match=r"subject-info.csv: columns Id, Age; expected a column Sub"
    ):
        find_recordings(tmp_path, definition=load_definition("eegmat"))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("name", ("A", "B")),
        ("Last_Name", ("A", "B")),
        ("birth_date", ("1950", "1951")),
        ("DOB", ("1", "2")),
        ("acq_time", ("n/a", "n/a")),
        ("comments", ("tired", "n/a")),
        ("patient_id", ("1", "2")),
        ("visit", ("2011-03-04", "n/a")),
        ("seen", ("4.3.2011", "x")),
        ("when", ("20110304", "20110305")),
    ],
)
def test_columns_that_identify_people_are_left_out_and_named(
    tmp_path: Path, column: str, values: tuple[str, str]
) -> None:
    touch(tmp_path, "p1/a.edf", "p2/a.edf")
    (tmp_path / "participants.csv").write_text(
        f"subject,{column},age,year\np1,{values[0]},30,2011\np2,{values[1]},31,2012\n"
    )
    corpus = find_recordings(tmp_path, definition=plain())
    assert corpus.recordings[0].labels == {"age": 30.0, "year": 2011.0}
    [note] = corpus.notes
    assert note.startswith(f"columns_left_out: participants.csv: {column} (")
    assert values[0] not in note or values[0] in "participants.csv"


# --- files -----------------------------------------------------------------------------------


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", ".hidden/a.edf")
    with pytest.raises(InputError, match="no EDF or BDF file among its 1 files"):
        find_recordings(tmp_path, definition=plain())
    with pytest.raises(MissingInputError, match="nowhere: no such folder"):
        find_recordings(tmp_path / "nowhere", definition=plain())
    with pytest.raises(InputError, match=r"notes.txt: a file; expected a corpus folder"):
        find_recordings(tmp_path / "notes.txt", definition=plain())


def test_recordings_in_formats_that_are_not_read_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.edf", "p1/b.vhdr", "p1/b.eeg", "p1/c.set", "p1/d.edf.gz", "p1/e.json")
    corpus = find_recordings(tmp_path, definition=plain())
    assert rejected(corpus) == {
        "p1/b.vhdr": "BrainVision is not read; EDF and BDF are",
        "p1/c.set": "EEGLAB is not read; EDF and BDF are",
        "p1/d.edf.gz": "compressed EDF is not read; EDF and BDF are",
    }


def test_links_are_followed_only_to_content_inside_the_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "corpus", "p1/a.edf", ".annex/objects/xyz")
    touch(tmp_path, "outside.edf")
    (root / "p1/annexed.edf").symlink_to("../.annex/objects/xyz")
    (root / "p1/escaped.edf").symlink_to(tmp_path / "outside.edf")
    (root / "p1/absent.edf").symlink_to("../.annex/objects/not-here")
    (root / "p1/README").symlink_to("nowhere")
    (root / "p1/loop.edf").symlink_to("loop.edf")
    (root / "again").symlink_to(root / "p1")
    corpus = find_recordings(root, definition=plain())
    assert list(subjects(corpus)) == ["p1/a.edf", "p1/annexed.edf"]
    found = rejected(corpus)
    assert found.pop("p1/escaped.edf") == "a link that leaves the corpus folder"
    assert found.pop("p1/absent.edf").startswith("a link to content that is not here")
    assert found.pop("p1/loop.edf").startswith("a link to content that is not here")
    assert found.pop("again") == "a link to a folder, which is not followed"
    assert found == {}


def test_names_that_are_not_text_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.edf", "p1/line\nfeed.edf")
    (tmp_path / "p1" / os.fsdecode(b"\xff.edf")).write_bytes(b"")
    corpus = find_recordings(tmp_path, definition=plain())
    assert list(subjects(corpus)) == ["p1/a.edf"]
    assert rejected(corpus) == {
        "p1/\\udcff.edf": "its name is not printable UTF-8",
        "p1/line\\nfeed.edf": "its name is not printable UTF-8",
    }


def test_a_folder_named_like_a_recording_is_no_recording(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.edf", "p1/odd.edf/note.txt")
    os.mkfifo(tmp_path / "p1/pipe.edf")
    corpus = find_recordings(tmp_path, definition=plain())
    assert list(subjects(corpus)) == ["p1/a.edf"]
    assert rejected(corpus) == {"p1/pipe.edf": "not a regular file"}


# --- corpora with files of annotations ---------------------------------------------------------


def hypnogram(path: Path, **options: str) -> None:
    """Write a recording of stages; a signal more or less does not matter to its annotations."""
    write_edf(
        path,
        np.zeros((1, 60)),
        labels=["x"],
        sampling_rate_hz=1,
        kind="edf+c",
        annotations=[
            Annotation(0.0, "Sleep stage W", duration_s=30.0),
            Annotation(30.0, "Sleep stage 2", duration_s=30.0),
        ],
        **options,  # type: ignore[arg-type]
    )


def test_hypnograms_become_the_events_of_their_recording(tmp_path: Path) -> None:
    for night in ("SC4001E0", "SC4002E0", "ST7011J0", "SC4011E0"):
        write_edf(
            tmp_path / f"{night}-PSG.edf", np.zeros((1, 60)), labels=["x"], sampling_rate_hz=1
        )
    hypnogram(tmp_path / "SC4001EC-Hypnogram.edf")
    hypnogram(tmp_path / "SC4002EC-Hypnogram.edf", starttime="00.00.01")
    hypnogram(tmp_path / "ST7011JP-Hypnogram.edf")
    patch_header(tmp_path / "ST7011JP-Hypnogram.edf", "header_bytes", text="7")
    hypnogram(tmp_path / "SC4999EC-Hypnogram.edf")
    for scorer in "AB":
        hypnogram(tmp_path / f"SC4011E{scorer}-Hypnogram.edf")
    definition = load_definition("sleep_edf")
    corpus = find_recordings(tmp_path, definition=definition)
    assert subjects(corpus) == {
        "SC4001E0-PSG.edf": "SC400",
        "SC4002E0-PSG.edf": "SC400",
        "SC4011E0-PSG.edf": "SC401",
        "ST7011J0-PSG.edf": "ST701",
    }
    assert corpus.rejected == ()
    first, other_start, scored_twice, damaged = corpus.recordings
    assert first.session == "1"
    assert first.events is not None
    assert [(e.onset_s, e.duration_s, e.text) for e in first.events] == [
        (0.0, 30.0, "Sleep stage W"),
        (30.0, 30.0, "Sleep stage 2"),
    ]
    assert {event.text for event in first.events} <= set(definition.annotation_labels)
    assert other_start.events is None
    assert other_start.notes[0].endswith("SC4002EC-Hypnogram.edf: it starts at another time")
    assert scored_twice.events is None
    assert scored_twice.notes == ("annotation_file_unused: 2 files fit this recording",)
    assert damaged.events is None
    assert "the header claims 7 bytes" in damaged.notes[0]
    assert corpus.notes == (
        "annotation_files_alone: 1 annotation files have no recording "
        "(first: SC4999EC-Hypnogram.edf)",
    )


def test_runs_of_a_corpus_name_their_tasks(tmp_path: Path) -> None:
    touch(tmp_path, "S001/S001R01.edf", "S001/S001R04.edf", "S109/S109R14.edf")
    corpus = find_recordings(tmp_path, definition=load_definition("eegmmidb"))
    assert [(r.subject, r.run, r.task) for r in corpus.recordings] == [
        ("S001", "01", "eyes_open"),
        ("S001", "04", "fist_imagery"),
        ("S109", "14", "fists_feet_imagery"),
    ]
    assert all(recording.subject_is_public for recording in corpus.recordings)
