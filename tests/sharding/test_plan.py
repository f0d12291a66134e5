"""The plan: subjects to splits, recordings to shards, cuts, and names without identity."""

import math
from pathlib import Path
from typing import Any

import pytest

from physioscale.config.settings import parse_overrides
from physioscale.contract.schema import check_key
from physioscale.errors import InputError
from physioscale_sharding.corpus import SourceRecording
from physioscale_sharding.identity import identify, read_key, segment_key
from physioscale_sharding.plan import Plan, Scanned, differing_parts, make_plan
from physioscale_sharding.profile import SplitConfig, load_profile
from physioscale_sharding.quarantine import Quarantined
from physioscale_sharding.segments import cut_run
from physioscale_sharding.split import assign_splits

KEY = b"0123456789abcdef"


def recording(path: str, subject: str, **facts: Any) -> SourceRecording:
    """Return a recording as a corpus lists it."""
    return SourceRecording(path=path, absolute=Path("/corpus") / path, subject=subject, **facts)


def counts(num_subjects: int, **shares: Any) -> dict[str, int]:
    """Return how many of that many subjects each split gets."""
    splits = assign_splits((f"s{n}" for n in range(num_subjects)), config=SplitConfig(**shares))
    found = list(splits.values())
    return {split: found.count(split) for split in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("num_subjects", "shares", "expected"),
    [
        (1, {}, (1, 0, 0)),
        (2, {}, (2, 0, 0)),
        (3, {}, (1, 1, 1)),
        (10, {}, (8, 1, 1)),
        (100, {}, (80, 10, 10)),
        (4, {"val": 0.25, "test": 0.25}, (2, 1, 1)),
        (10, {"val": 0.0, "test": 0.2}, (8, 0, 2)),
        (4, {"val": 0.45, "test": 0.45}, (1, 1, 2)),
        (5, {"val": 0.0, "test": 1.0}, (0, 0, 5)),
        (2, {"val": 0.5, "test": 0.0}, (1, 1, 0)),
        (0, {}, (0, 0, 0)),
    ],
)
def test_ranked_shares_are_exact(
    num_subjects: int, shares: dict[str, float], expected: tuple[int, int, int]
) -> None:
    assert tuple(counts(num_subjects, **shares).values()) == expected


def test_ranked_depends_on_the_seed_and_not_on_the_order_of_subjects() -> None:
    names = [f"s{n}" for n in range(40)]
    first = assign_splits(names, config=SplitConfig(seed=1))
    assert first == assign_splits(reversed(names), config=SplitConfig(seed=1))
    assert first != assign_splits(names, config=SplitConfig(seed=2))


def test_threshold_is_stable_when_subjects_are_added() -> None:
    config = SplitConfig(rule="threshold", val=0.2, test=0.2)
    before = assign_splits((f"s{n}" for n in range(300)), config=config)
    after = assign_splits((f"s{n}" for n in range(600)), config=config)
    assert {name: after[name] for name in before} == before
    # 600 draws with p = 0.2: four standard deviations.
    allowed = 4 * math.sqrt(600 * 0.2 * 0.8)
    for split in ("val", "test"):
        assert abs(list(after.values()).count(split) - 120) < allowed


def plan_of(sizes: dict[str, int], *, shard_mb: float = 1.0, segments: int = 10) -> Plan:
    """Return a plan of one subject per recording, all in training."""
    recordings = [recording(path, path) for path in sizes]
    scanned = [Scanned(path, segments, 60.0, size) for path, size in sizes.items()]
    words = [f"shard_mb={shard_mb}", "split.val=0", "split.test=0"]
    profile = load_profile("eeg-wide", overrides=parse_overrides(words))
    return make_plan(recordings, scanned, request={"a": "1"}, quarantined=(), profile=profile)


def test_recordings_fill_shards_in_hashed_order() -> None:
    plan = plan_of({f"r{n:02d}": 240_000 for n in range(20)})
    assert [len(item.recordings) for item in plan.items] == [4] * 5
    paths = [one.path for item in plan.items for one in item.recordings]
    assert sorted(paths) == [f"r{n:02d}" for n in range(20)]
    assert paths != sorted(paths)
    assert all(item.num_bytes <= 1_000_000 and item.num_shards == 1 for item in plan.items)


def test_recording_larger_than_a_shard_is_an_item_of_several() -> None:
    plan = plan_of({"big": 3_500_000, "a": 100_000, "b": 100_000}, segments=10)
    by_paths = {tuple(sorted(one.path for one in item.recordings)): item for item in plan.items}
    assert set(by_paths) == {("big",), ("a", "b")}
    big = by_paths["big",]
    assert (big.num_shards, big.segments_per_shard) == (4, 3)


def test_items_of_a_split_hold_its_subjects_only() -> None:
    recordings = [recording(f"s{n % 7}/r{n}", f"s{n % 7}") for n in range(70)]
    scanned = [Scanned(one.path, 1, 60.0, 300_000) for one in recordings]
    profile = load_profile("eeg-wide", overrides=parse_overrides(["shard_mb=1"]))
    plan = make_plan(recordings, scanned, request={}, quarantined=(), profile=profile)
    subjects: dict[str, set[str]] = {}
    for item in plan.items:
        for one in item.recordings:
            assert one.split == item.split
            subjects.setdefault(item.split, set()).add(one.path.split("/")[0])
    assert {split: len(found) for split, found in subjects.items()} == {
        "train": 5,
        "val": 1,
        "test": 1,
    }
    assert len(set.union(*subjects.values())) == sum(len(found) for found in subjects.values())


def test_plan_survives_json() -> None:
    plan = plan_of({f"r{n}": 400_000 for n in range(5)})
    plan = Plan(plan.request, plan.items, (Quarantined("a/b.edf", "header", "x", "a/b.edf: x"),))
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json()).sha256 == plan.sha256


def test_differing_parts_are_named() -> None:
    asked = {"the profile": "1", "the version of numpy": "2"}
    other = {"the profile": "1", "the version of numpy": "3"}
    assert differing_parts(asked, other) == "the version of numpy"


@pytest.mark.parametrize(
    ("num_times", "bounds", "rest"),
    [
        (0, (), 0),
        (99, (), 99),
        (100, ((0, 100),), 0),
        (1000, ((0, 1000),), 0),
        (1050, ((0, 1000),), 50),
        (1100, ((0, 1000), (1000, 1100)), 0),
        (1999, ((0, 1000), (1000, 1999)), 0),
    ],
)
def test_run_is_cut(num_times: int, bounds: tuple[tuple[int, int], ...], rest: int) -> None:
    cut = cut_run(num_times, rate_hz=100.0, segment_s=10.0)
    assert (cut.bounds, cut.rest) == (bounds, rest)


def test_public_names_are_kept() -> None:
    found = identify(
        recording("sub-01/a.edf", "01", session="2", task="rest", run="3"), public=True, key=KEY
    )
    assert (found.subject, found.source) == ("01", "sub-01/a.edf")
    assert found.recording.startswith("sub-01_ses-2_task-rest_run-3_rec-")


def test_hashed_names_show_nothing_and_follow_the_subject() -> None:
    files = ["Doe_John/2019.edf", "Doe_John/b.edf", "Roe/b.edf"]
    one, same, other = (
        identify(recording(path, path.split("/")[0], session="2019-05-06"), public=False, key=KEY)
        for path in files
    )
    assert one.subject == same.subject != other.subject
    assert len({one.recording, same.recording, other.recording}) == 3
    for found in (one, same, other):
        text = " ".join(str(value) for value in vars(found).values())
        assert not any(word in text for word in ("Doe", "John", "Roe", "2019", ".edf"))
    another_key = identify(recording(files[0], "Doe_John"), public=False, key=KEY[::-1])
    assert another_key.subject != one.subject


@pytest.mark.parametrize("public", [True, False])
def test_keys_are_valid_whatever_the_names(public: bool) -> None:
    long = "x" * 90
    facts = [("01", "1"), (long, "1"), ("01", long), ("M\u00fcller, J.", "a b"), ("...", "-")]
    keys = set()
    for number, (subject, session) in enumerate(facts):
        found = identify(
            recording(f"f{number}.edf", subject, session=session), public=public, key=KEY
        )
        check_key(segment_key(found.recording, 99999), where="test")
        keys.add(found.recording)
    assert len(keys) == len(facts)


def test_key_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef\n")
    assert read_key(tmp_path / "key") == KEY
    (tmp_path / "short").write_text("secret\n")
    with pytest.raises(InputError, match="a key of 6 bytes; expected 16 or more"):
        read_key(tmp_path / "short")
    with pytest.raises(InputError, match="no such file"):
        read_key(tmp_path / "none")
