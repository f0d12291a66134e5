"""Profiles: what comes with the package, a user's own file, and what is refused."""

from pathlib import Path

import pytest

from physioscale.config.settings import parse_overrides
from physioscale.errors import InputError
from physioscale_sharding.catalogue import corpora, profiles
from physioscale_sharding.profile import PROFILES_FOLDER, list_profiles, load_profile


def test_profiles_are_found_by_listing() -> None:
    assert {"eeg-wide", "eeg-native", "reve"} <= set(list_profiles())
    assert set(list_profiles()) == {path.stem for path in PROFILES_FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(list_profiles()))
def test_every_profile_loads_and_has_a_title(name: str) -> None:
    named = load_profile(name)
    assert named.profile.title
    assert named.name == name


def test_wide_profile_is_wide() -> None:
    profile = load_profile("eeg-wide").profile
    assert (profile.low_cut_hz, profile.high_cut_hz, profile.notch_hz) == (0.1, None, None)
    assert (profile.sampling_rate_hz, profile.max_sampling_rate_hz) == (None, 512)
    assert (profile.segment_s, profile.lsb_share, profile.shard_mb) == (60, 0.01, 256)
    reve = profile.statistics_bands["reve"]
    assert (reve.low_hz, reve.high_hz) == (0.5, 99.5)
    assert profile.statistics_bands["wide"].low_hz is None


def test_own_file_states_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "low_cut_hz: 1\nsplit: {val: 0.3}\nstatistics_bands: {alpha: {low_hz: 8, high_hz: 13}}\n"
        "quality: {line_hz: [60]}\n"
    )
    named = load_profile(str(path))
    assert named.name == "mine"
    assert (named.profile.low_cut_hz, named.profile.split.val, named.profile.split.test) == (
        1,
        0.3,
        0.1,
    )
    assert named.profile.statistics_bands["alpha"].high_hz == 13
    assert (named.profile.quality.line_hz, named.profile.quality.max_flat_share) == ([60], 0.1)
    assert named.profile.quality_action == "mark"


def test_overrides_win_and_change_the_hash() -> None:
    plain = load_profile("eeg-wide")
    changed = load_profile("eeg-wide", overrides=parse_overrides(["shard_mb=64", "split.val=0.2"]))
    assert (changed.profile.shard_mb, changed.profile.split.val) == (64, 0.2)
    assert plain.sha256 != changed.sha256
    assert plain.sha256 == load_profile("eeg-wide").sha256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sgment_s: 30", "unknown key 'sgment_s'.*Did you mean 'segment_s'"),
        ("segment_s: long", "segment_s .*'long'; expected a number"),
        ("segment_s: 0.5", "segment_s: 0.5; expected at least 1 s"),
        ("lsb_share: 0.02", "lsb_share: 0.02; expected above 0, at most 0.01"),
        ("channel_types: [eegg]", "channel_types: .*eegg"),
        ("channel_types: []", "channel_types"),
        ("coding: natve", "coding: 'natve'; did you mean 'native'"),
        ("coding: native\nlow_cut_hz: 0.1", "coding: native, with a filter or another rate"),
        ("sampling_rate_hz: 200\nmax_sampling_rate_hz: 512", "sampling_rate_hz beside it"),
        ("shard_mb: 0", "shard_mb: 0.0; expected a value above 0"),
        ("split: {val: 0.6, test: 0.6}", "val 0.6 and test 0.6; expected shares"),
        ("split: {rule: rank}", "split.rule: 'rank'; did you mean 'ranked'"),
        ("low_cut_hz: 50\nhigh_cut_hz: 40", "low 50.0 and high 40.0 Hz; expected 0 < low < high"),
        ("statistics_bands: {a: {low_hz: 9, high_hz: 8}}", "statistics_bands.a: low 9.0 and high"),
        ("statistics_bands: {a: {lw_hz: 9}}", "statistics_bands.a.lw_hz .*unknown key 'lw_hz'"),
        ("statistics_bands: {A-b: {}}", "statistics_bands.A-b .*no file and no field"),
        ("statistics_bands: 3", "statistics_bands .*names of bands"),
        ("subject_ids: secret", "subject_ids: 'secret'; expected auto, public, hashed"),
        ("quality_action: drop", "quality_action: 'drop'.*expected mark, drop_segments"),
        ("quality_action: drop_segments\nchannel_types: [ecg]", "without channels of type eeg"),
        ("quality: {max_flat_share: 2}", "quality.max_flat_share: 2.0; expected a share above 0"),
        ("quality: {max_flt_share: 0.2}", "max_flt_share.*Did you mean 'max_flat_share'"),
        ("- a list", "no mapping at the top level"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(f"{text}\n")
    with pytest.raises(InputError, match=message):
        load_profile(str(tmp_path / "bad.yaml"))


def test_all_contradictions_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("lsb_share: 0.5\nsegment_s: 0\nquality: {max_noise_z: 0}\n")
    with pytest.raises(InputError, match=r"(?s)3 problems.*lsb_share.*segment_s.*max_noise_z"):
        load_profile(str(tmp_path / "bad.yaml"))


def test_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="no profile of that name; did you mean 'eeg-wide'"):
        load_profile("eeg-wid")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_profile(str(tmp_path / "none.yaml"))


def test_catalogue_lists_profiles_and_corpora() -> None:
    assert [entry.name for entry in profiles()] == list(list_profiles())
    assert all(entry.title and not entry.problem for entry in (*profiles(), *corpora()))
    assert "eegmat" in {entry.name for entry in corpora()}


def test_catalogue_shows_a_broken_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.yaml").write_text("shard_mb: -1\n")
    monkeypatch.setattr("physioscale_sharding.profile.PROFILES_FOLDER", tmp_path)
    (entry,) = profiles()
    assert entry.name == "broken"
    assert "shard_mb" in (entry.problem or "")
