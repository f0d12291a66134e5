"""Each quality figure against its definition, the edges, and the hard cases by name."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from physioscale.config.settings import read_yaml_settings
from physioscale.config.strict import load_strict
from physioscale.errors import InputError
from physioscale.signal.quality import (
    BlockSpectrum,
    ChannelFigures,
    QualityLimits,
    Verdict,
    block_spectrum,
    channel_figures,
    flat_share,
    judge,
    limit_problems,
    recording_quality,
    robust_z,
    saturated_share,
    segment_quality,
    spectral_figures,
)
from physioscale.testing import generate_eeg, spread_positions

FloatArray = NDArray[np.float64]
LIMITS = QualityLimits()
LINES = (50.0, 60.0)


def white(
    rms: float, *, num_channels: int = 1, duration_s: float = 60.0, rate_hz: float = 250.0
) -> FloatArray:
    rng = np.random.default_rng(0)
    return rms * rng.standard_normal((num_channels, round(duration_s * rate_hz)))


def tone(
    height: float, *, frequency_hz: float, rate_hz: float = 250.0, duration_s: float = 60.0
) -> FloatArray:
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return height * np.sin(2.0 * np.pi * frequency_hz * time_s)[np.newaxis]


def eeg(num_channels: int, *, rate_hz: float = 250.0, duration_s: float = 60.0) -> FloatArray:
    return generate_eeg(
        spread_positions(num_channels),
        duration_s=duration_s,
        sampling_rate_hz=rate_hz,
        seed=1,
        eyes_closed=False,
    )


def spectrum_of(signal_uv: FloatArray, *, rate_hz: float = 250.0) -> BlockSpectrum:
    spectrum = block_spectrum(signal_uv, gain_uv=np.ones(len(signal_uv)), sampling_rate_hz=rate_hz)
    assert spectrum is not None
    return spectrum


def figures_of(signal_uv: FloatArray, *, rate_hz: float = 250.0) -> ChannelFigures:
    return channel_figures(
        signal_uv * 1e-6, gain_v=np.ones(len(signal_uv)), sampling_rate_hz=rate_hz, limits=LIMITS
    )


def flat_of(samples: NDArray[np.int16] | FloatArray, *, gain_uv: float = 1.0) -> list[float]:
    share = flat_share(
        samples, gain_uv=np.full(len(samples), gain_uv), sampling_rate_hz=100.0, flat_range_uv=0.5
    )
    return [float(value) for value in share]


def test_flat_share_counts_blocks_of_half_a_second() -> None:
    digital = np.tile(np.arange(0, 100, 5, dtype=np.int16), 50)[np.newaxis]  # 10 s at 100 Hz
    assert flat_of(digital) == [0.0]
    digital[0, 200:500] = 7
    assert flat_of(digital) == [0.3]
    # Not on the blocks' edges: the two cut blocks do not count.
    digital[0, :] = np.tile(np.arange(0, 100, 5), 50)
    digital[0, 210:490] = 7
    assert flat_of(digital) == [0.2]


def test_flat_share_weighs_the_incomplete_last_block_by_its_length() -> None:
    signal = white(10.0, rate_hz=100.0, duration_s=2.2)
    signal[0, 200:] = 3.0
    assert flat_of(signal) == pytest.approx([20 / 220])
    assert flat_of(signal[:, :30] * 0.0) == [1.0]
    assert flat_of(signal[:, :1]) == [1.0]


def test_one_step_of_integers_is_flat_and_two_steps_are_not() -> None:
    toggling = np.tile(np.array([4, 5], dtype=np.int16), 100)[np.newaxis]
    assert flat_of(toggling, gain_uv=1.0) == [1.0]
    assert flat_of(toggling, gain_uv=-1.0) == [1.0]
    assert flat_of(2 * toggling, gain_uv=1.0) == [0.0]
    assert flat_of(2 * toggling, gain_uv=0.2) == [1.0]  # 0.4 uV
    # Floats have no step.
    assert flat_of(toggling.astype(np.float64), gain_uv=1.0) == [0.0]


def test_flat_share_survives_the_whole_range_of_int16() -> None:
    extremes = np.tile(np.array([-32768, 32767], dtype=np.int16), 100)[np.newaxis]
    assert flat_of(extremes) == [0.0]


def test_a_block_that_a_few_samples_take_for_flat_is_looked_at_whole() -> None:
    # One spike between the probes of an otherwise constant block.
    digital = np.zeros((2, 100), dtype=np.int16)
    digital[1, 3] = 40
    assert flat_of(digital) == [1.0, 0.5]


def test_saturated_share_at_the_ends_of_the_converter() -> None:
    digital = np.round(white(300.0, num_channels=2)).astype(np.int16)
    digital[0, 1000:1150] = 2047
    digital[0, 4000:4150] = -2048
    ends = {"lowest": np.full(2, -2048), "highest": np.full(2, 2047)}
    share = saturated_share(digital, sampling_rate_hz=250.0, **ends)
    assert share.tolist() == [300 / 15000, 0.0]
    # As a constant, and as a constant elsewhere.
    constant = np.array([[2047] * 250, [-2048] * 250, [5] * 250], dtype=np.int16)
    ends = {"lowest": np.full(3, -2048), "highest": np.full(3, 2047)}
    assert saturated_share(constant, sampling_rate_hz=250.0, **ends).tolist() == [1.0, 1.0, 0.0]


def test_a_declared_range_that_the_samples_leave_is_no_rail() -> None:
    # Real files declare 0 ... 100 and hold -206 ... 50.
    digital = np.round(white(60.0)).astype(np.int16)
    share = saturated_share(
        digital, sampling_rate_hz=250.0, lowest=np.zeros(1), highest=np.full(1, 100)
    )
    assert share.tolist() == [0.0]
    # Not even where several samples stand at the extreme value, as they do in coarse steps.
    digital = np.maximum(digital, np.int16(-149))
    digital[0, :8] = -150
    share = saturated_share(
        digital, sampling_rate_hz=250.0, lowest=np.zeros(1), highest=np.full(1, 100)
    )
    assert share.tolist() == [0.0]


def test_a_dead_input_on_few_levels_is_flat_and_not_saturated() -> None:
    digital = np.round(0.5 + white(0.1)).astype(np.int16)
    assert np.unique(digital).tolist() == [0, 1]
    assert not saturated_share(digital, sampling_rate_hz=250.0).any()
    assert flat_of(digital) == [1.0]


def test_a_fill_value_is_a_rail_without_any_declared_range() -> None:
    digital = np.round(white(300.0, duration_s=40.0)).astype(np.int16)
    digital[:, 7500:] = -32768
    assert saturated_share(digital, sampling_rate_hz=250.0).tolist() == [0.25]


@pytest.mark.parametrize("lsb_uv", [0.01, 0.1, 1.0])
def test_noise_and_slow_waves_stand_at_no_rail(lsb_uv: float) -> None:
    slow = tone(150.0, frequency_hz=2.0, duration_s=1.0, rate_hz=1024.0)
    signals = [
        (white(20.0), 250.0),
        (white(5.0, duration_s=1.0), 250.0),
        (eeg(8, duration_s=1.0, rate_hz=1024.0), 1024.0),
        # Two slow waves reach the same level within a second.
        (slow + white(0.8, duration_s=1.0, rate_hz=1024.0), 1024.0),
    ]
    for signal, rate_hz in signals:
        digital = np.round(signal / lsb_uv).astype(np.int16)
        assert not saturated_share(digital, sampling_rate_hz=rate_hz).any()


def test_clipping_of_floats_is_found_without_any_step() -> None:
    signal = np.minimum(white(20.0), 46.0)
    expected = np.mean(signal == 46.0)
    assert expected > 0.005
    assert saturated_share(signal, sampling_rate_hz=250.0).tolist() == [expected]


@pytest.mark.parametrize("rate_hz", [128.0, 199.8, 250.0, 1024.0])
def test_a_tone_has_its_rms_as_amplitude_and_is_neither_noise_nor_line(rate_hz: float) -> None:
    spectrum = spectrum_of(tone(40.0, frequency_hz=10.0, rate_hz=rate_hz), rate_hz=rate_hz)
    found = spectral_figures(spectrum, line_hz=LINES)
    assert found.noise_uv is not None
    assert found.line_share is not None
    # float32: six digits; at 199.8 Hz the block does not hold whole cycles.
    np.testing.assert_allclose(found.amplitude_uv, 40.0 / np.sqrt(2.0), rtol=2e-3)
    assert found.noise_uv[0] < 1e-2
    assert found.line_share[0] < 1e-5


def test_noise_is_that_of_its_band() -> None:
    spectrum = spectrum_of(white(20.0, num_channels=4, rate_hz=256.0), rate_hz=256.0)
    found = spectral_figures(spectrum, line_hz=LINES)
    # 86 bins of 1 Hz from 30 to 115 Hz, without 5 around each of 50, 60 and 100 Hz. The power of a
    # Hann-windowed block scatters by sqrt(1.94 / bins), and its upper quartile lies 0.67 of that
    # above the mean: a third of that scatter again is the quartile's own.
    for level, num_bins in ((found.noise_uv, 71), (found.amplitude_uv, 127)):
        assert level is not None
        scatter = np.sqrt(1.94 / num_bins)
        expected = 20.0 * np.sqrt(num_bins / 128 * (1.0 + 0.67 * scatter))
        np.testing.assert_allclose(level, expected, rtol=0.5 * scatter)


@pytest.mark.parametrize("line_hz", LINES)
def test_line_share_is_the_share_of_power_with_all_harmonics(line_hz: float) -> None:
    line = tone(30.0, frequency_hz=line_hz) + tone(10.0, frequency_hz=2.0 * line_hz)
    found = spectral_figures(spectrum_of(line + white(10.0)), line_hz=LINES)
    assert found.line_share is not None
    # 450 + 50 of line against 100 of noise; the noise of a block varies by a tenth.
    assert found.line_share[0] == pytest.approx(500.0 / 600.0, abs=0.02)
    # A line that drifts within the grid's tolerance is still one.
    drifting = spectral_figures(
        spectrum_of(tone(30.0, frequency_hz=line_hz + 0.2) + white(10.0)), line_hz=LINES
    )
    assert drifting.line_share is not None
    assert drifting.line_share[0] == pytest.approx(450.0 / 550.0, abs=0.03)


def test_a_rhythm_beside_the_line_is_no_line() -> None:
    found = spectral_figures(spectrum_of(tone(30.0, frequency_hz=45.0)), line_hz=LINES)
    assert found.line_share is not None
    assert found.line_share[0] < 1e-5


def test_what_a_rate_cannot_show_is_not_measured() -> None:
    at_100 = spectral_figures(spectrum_of(white(5.0), rate_hz=100.0), line_hz=[50.0])
    assert at_100.line_share is None
    assert at_100.noise_uv is not None
    assert spectral_figures(spectrum_of(white(5.0), rate_hz=64.0), line_hz=LINES).noise_uv is None
    for signal, rate_hz in ((white(5.0), 20.0), (white(5.0, duration_s=0.9), 250.0)):
        figures = figures_of(signal, rate_hz=rate_hz)
        assert (figures.line_share, figures.noise_uv, figures.amplitude_uv) == (None, None, None)
        assert figures.flat_share.tolist() == [0.0]
        assert judge(figures, limits=LIMITS).usable
        assert "noise_uv" not in segment_quality(figures, judge(figures, limits=LIMITS))


def test_offsets_and_polarity_do_not_matter() -> None:
    digital = np.round(eeg(4) / 0.03125).astype(np.int32)
    gain_v = np.full(4, 0.03125e-6)
    plain = channel_figures(digital, gain_v=gain_v, sampling_rate_hz=250.0, limits=LIMITS)
    moved = channel_figures(
        digital - 8_000_000, gain_v=-gain_v, sampling_rate_hz=250.0, limits=LIMITS
    )
    for name in ("noise_uv", "amplitude_uv", "line_share", "flat_share", "saturated_share"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name), rtol=1e-4, atol=1e-7)


def test_figures_are_the_same_bits_again_and_each_channel_stands_alone() -> None:
    digital = np.round(eeg(9) / 0.1).astype(np.int16)
    gain_v = np.full(9, 1e-7)
    first, again = (
        channel_figures(samples, gain_v=gain_v, sampling_rate_hz=250.0, limits=LIMITS)
        for samples in (digital, np.asfortranarray(digital))
    )
    alone = channel_figures(digital[3:4], gain_v=gain_v[:1], sampling_rate_hz=250.0, limits=LIMITS)
    for name in ("noise_uv", "amplitude_uv", "line_share", "flat_share", "saturated_share"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
        np.testing.assert_allclose(getattr(alone, name), getattr(first, name)[3:4], rtol=1e-5)


def test_a_spectrum_that_the_caller_has_is_used() -> None:
    signal = eeg(3)
    own = spectrum_of(signal)
    given = {"gain_v": np.full(3, 1e-6), "sampling_rate_hz": 250.0, "limits": LIMITS}
    mean = BlockSpectrum(own.power_uv2.mean(axis=1, keepdims=True), own.bin_hz)
    for spectrum, tolerance in ((own, 1e-12), (mean, 0.5)):
        with_it = channel_figures(signal, power_spectrum=spectrum, **given)  # type: ignore[arg-type]
        without = channel_figures(signal, **given)  # type: ignore[arg-type]
        assert with_it.noise_uv is not None
        assert without.noise_uv is not None
        np.testing.assert_allclose(with_it.noise_uv, without.noise_uv, rtol=tolerance)


def test_memory_stays_below_that_of_the_samples() -> None:
    digital = np.round(eeg(64, rate_hz=256.0) / 0.1).astype(np.int16)
    tracemalloc.start()
    channel_figures(digital, gain_v=np.full(64, 1e-7), sampling_rate_hz=256.0, limits=LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < digital.nbytes


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    signal = white(5.0, num_channels=3)
    signal[1, [7, 9]] = bad
    with pytest.raises(InputError, match=r"channel 1 of 3: 2 samples that are not finite"):
        figures_of(signal)


def test_shapes_and_gains_are_checked() -> None:
    for shape in ((250,), (2, 0)):
        with pytest.raises(ValueError, match="samples have shape"):
            channel_figures(
                np.zeros(shape), gain_v=np.ones(2), sampling_rate_hz=250.0, limits=LIMITS
            )
    for gain_v, message in ((np.ones(3), r"gain_v has shape \(3,\)"), (np.zeros(2), "zero or not")):
        with pytest.raises(ValueError, match=message):
            channel_figures(
                np.zeros((2, 250)), gain_v=gain_v, sampling_rate_hz=250.0, limits=LIMITS
            )


def test_robust_z_in_decibels() -> None:
    everyone = np.ones(6, dtype=bool)
    level = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 10.0])
    # No spread at all counts as 2 dB.
    np.testing.assert_allclose(robust_z(level, compared=everyone), [0, 0, 0, 0, 0, 10.0])
    # dB -10, 0, 10, 20 ...: median 15, MAD 15.
    steps = 10.0 ** (np.arange(-1.0, 5.0) / 2.0)
    np.testing.assert_allclose(
        robust_z(steps, compared=everyone), (np.arange(-10, 50, 10) - 15) / (1.4826 * 15)
    )
    # A flat channel pulls no median and is not above it.
    compared = np.array([False, False, True, True, True, True])
    z = robust_z(np.array([0.0, 0.0, 1.0, 1.0, 1.0, 10.0]), compared=compared)
    assert z.tolist() == [-np.inf, -np.inf, 0.0, 0.0, 0.0, 10.0]
    assert robust_z(np.array([1.0, 100.0]), compared=compared[2:4]).tolist() == [0.0, 0.0]


def test_all_channels_noisy_are_all_flagged() -> None:
    verdict = judge(figures_of(eeg(19) + white(60.0, num_channels=19)), limits=LIMITS)
    assert verdict.noisy.all()
    assert not verdict.usable


def test_one_channel_is_judged_by_the_limits_in_uv() -> None:
    clean = eeg(1)
    assert not judge(figures_of(clean), limits=LIMITS).bad.any()
    assert judge(figures_of(clean + white(60.0)), limits=LIMITS).noisy.all()


def test_a_quiet_recording_has_no_noisy_channel() -> None:
    # 20 dB above the others, and still less than any amplifier's hum.
    signal = white(0.1, num_channels=8)
    signal[2] *= 10.0
    assert not judge(figures_of(signal), limits=LIMITS).noisy.any()


def test_half_the_channels_may_be_bad_in_a_usable_segment() -> None:
    signal = eeg(8) + white(8.0, num_channels=8)
    # Dead channels with some noise are not what the others are compared with.
    dead = white(0.01, num_channels=5)
    signal[:4] = dead[:4]
    assert judge(figures_of(signal), limits=LIMITS).usable
    signal[4] = dead[4]
    verdict = judge(figures_of(signal), limits=LIMITS)
    assert not verdict.noisy.any()
    assert verdict.flat.tolist() == [True] * 5 + [False] * 3
    assert not verdict.usable
    lenient = dataclasses.replace(LIMITS, max_bad_channel_share=0.7)
    assert judge(figures_of(signal), limits=lenient).usable


def test_segment_quality_names_shares_of_channels_and_medians() -> None:
    signal = eeg(4)
    signal[0] = 0.0
    figures = figures_of(signal)
    named = segment_quality(figures, judge(figures, limits=LIMITS))
    assert named["flat_channel_share"] == named["bad_channel_share"] == 0.25
    assert named["saturated_channel_share"] == named["line_channel_share"] == 0.0
    assert named["noisy_channel_share"] == 0.0
    assert named["usable"] == 1.0
    assert figures.noise_uv is not None
    assert named["noise_uv"] == np.median(figures.noise_uv)
    assert all(type(value) is float for value in named.values())


def test_recording_quality_weighs_shares_by_length_and_takes_the_median_of_levels() -> None:
    def segment(
        duration_s: float, share: float, noise_uv: float | None, *, bad: bool
    ) -> tuple[ChannelFigures, Verdict]:
        level = None if noise_uv is None else np.array([noise_uv])
        figures = ChannelFigures(
            duration_s=duration_s,
            flat_share=np.array([share]),
            saturated_share=np.array([0.0]),
            line_share=None,
            noise_uv=level,
            amplitude_uv=level,
        )
        no, flag = np.array([False]), np.array([bad])
        return figures, Verdict(flag, no, no, no, usable=not bad)

    named = recording_quality(
        [
            segment(60.0, 0.0, 3.0, bad=False),
            segment(60.0, 0.5, 9.0, bad=True),
            segment(60.0, 0.0, 4.0, bad=False),
            segment(20.0, 1.0, None, bad=True),
        ]
    )
    assert named["flat_share"].tolist() == [0.25]
    assert named["bad_share"].tolist() == [0.4]
    assert named["noise_uv"].tolist() == named["amplitude_uv"].tolist() == [4.0]
    assert "line_share" not in named
    with pytest.raises(ValueError, match="one segment or more"):
        recording_quality([])


def test_limits_are_read_from_a_profile_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("max_flat_share: 0.5\nline_hz: [60]\n")
    limits = load_strict(QualityLimits, read_yaml_settings(path), where="limits.yaml")
    assert (limits.max_flat_share, limits.line_hz) == (0.5, [60.0])
    assert limit_problems(limits, where="profile 'x': quality") == []
    wrong = QualityLimits(max_line_share=1.5, max_noise_z=0.0, line_hz=[5.0])
    text = " ".join(str(problem) for problem in limit_problems(wrong, where="profile 'x': quality"))
    for part in (
        "quality.max_line_share: 1.5",
        "quality.max_noise_z: 0.0",
        "quality.line_hz: [5.0]",
    ):
        assert part in text
