"""Conversion in one pass: equal to the offline chain, however it is cut, in bounded memory."""

import hashlib
import tracemalloc

import mne
import numpy as np
import pytest

from physioscale.signal import (
    apply_fir,
    fir_kernel,
    notch_kernel,
    num_resampled,
    rational_ratio,
    resample,
    robust_std,
)
from physioscale.signal.onepass import OnePass, OnePassPlan, RecordingFigures, plan_one_pass
from physioscale.signal.onepass.accumulate import Subsample
from physioscale.testing import generate_eeg, spread_positions

# Rates of the corpora, and what is asked of them: filters, then a new rate.
CHAINS = {
    "512-to-200": (512, 200, (0.5, 99.5), 50.0),
    "250-to-200": (250, 200, (0.5, 99.5), 50.0),
    "1024-to-200": (1024, 200, (0.5, 99.5), 50.0),
    "1000-to-200-unfiltered": (1000, 200, None, None),
    "512-to-200-unfiltered": (512, 200, None, None),
    "1024-to-512-wide": (1024, 512, (0.1, None), None),
    "256-kept": (256, 256, (0.5, None), None),
    "128-to-200": (128, 200, None, None),
    "208-to-200": (208, 200, None, None),
    "500-to-512": (500, 512, (0.5, None), None),
}


def _chain(name: str) -> tuple[int, list[np.ndarray], int, int]:
    source_hz, target_hz, cutoffs_hz, line_hz = CHAINS[name]
    kernels = []
    if cutoffs_hz is not None:
        kernels.append(fir_kernel(source_hz, low_hz=cutoffs_hz[0], high_hz=cutoffs_hz[1]))
    if line_hz is not None:
        kernels.append(notch_kernel(source_hz, line_hz=line_hz))
    return source_hz, kernels, *rational_ratio(source_hz, target_hz)


def _offline(values: np.ndarray, kernels: list[np.ndarray], up: int, down: int) -> np.ndarray:
    for kernel in kernels:
        values = apply_fir(values, kernel)
    return values if up == down else resample(values, up=up, down=down)


def _white(num_channels: int, num_times: int, *, dtype: type = np.int16) -> np.ndarray:
    generator = np.random.default_rng(num_times)
    return np.rint(generator.standard_normal((num_channels, num_times)) * 1000).astype(dtype)


def _run(
    digital: np.ndarray,
    plan: OnePassPlan,
    *,
    gain: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    cut: int | None = None,
) -> tuple[np.ndarray, RecordingFigures]:
    """Return the stored samples and figures of one run, pushed in pieces of `cut` samples."""
    one_pass = OnePass(
        plan,
        gain=np.ones(len(digital)) if gain is None else gain,
        offset=np.zeros(len(digital)) if offset is None else offset,
    )
    blocks = []
    for start in range(0, digital.shape[1], cut or digital.shape[1]):
        blocks += one_pass.push(digital[:, start : start + (cut or digital.shape[1])])
    blocks += one_pass.finish()
    return np.concatenate(blocks, axis=1), one_pass.figures()


@pytest.mark.parametrize("name", CHAINS)
def test_blocks_equal_the_offline_chain_edges_included(name: str) -> None:
    source_hz, kernels, up, down = _chain(name)
    plan = plan_one_pass(kernels, up=up, down=down)
    # Two blocks and a bit, so that first, inner and last blocks all take part.
    digital = _white(3, 2 * plan.step + 3 * source_hz + 1)
    expected = _offline(digital.astype(np.float64), kernels, up, down)
    found, _ = _run(digital, plan)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    error = found - expected
    # 3e-7 is float32's share; the rest are images that the resampling kernel passes at -100 dB.
    assert np.sqrt(np.mean(error**2)) < 2e-6 * digital.std()
    for edge in (slice(0, 20), slice(-20, None)):
        assert np.sqrt(np.mean(error[:, edge] ** 2)) < 5e-6 * digital.std()


def test_without_a_change_of_rate_float64_leaves_rounding_only() -> None:
    _, kernels, up, down = _chain("256-kept")
    plan = plan_one_pass(kernels, up=up, down=down, dtype=np.float64)
    digital = _white(2, 2 * plan.step)
    found, _ = _run(digital, plan)
    expected = _offline(digital.astype(np.float64), kernels, up, down)
    assert np.abs(found - expected).max() < 1e-11 * digital.std()


@pytest.mark.parametrize("frequency_hz", [0.1, 49.7, 50.0, 100.0])
def test_joining_filters_shortens_them_and_costs_nothing_even_where_both_work(
    frequency_hz: float,
) -> None:
    source_hz, kernels, up, down = _chain("512-to-200")
    plan = plan_one_pass(kernels, up=up, down=down, dtype=np.float64)
    assert plan.lead < 0.75 * plan.margin
    times = np.arange(2 * plan.step)
    tone = 30000 * np.sin(2 * np.pi * frequency_hz * times / source_hz)
    digital = np.rint(tone).astype(np.int16)[np.newaxis]
    expected = _offline(digital.astype(np.float64), kernels, up, down)
    found, _ = _run(digital, plan)
    # A drift or a line a hundred times the EEG leaves 2e-4 of the EEG, out of its band.
    assert np.sqrt(np.mean((found - expected) ** 2)) < 2e-6 * digital.std()


@pytest.mark.parametrize(
    ("up", "down"), [(1, 2), (2, 1), (2, 3), (3, 2), (5, 7), (7, 5), (1, 9), (16, 15), (15, 16)]
)
def test_folding_equals_resampling_for_any_small_ratio(up: int, down: int) -> None:
    plan = plan_one_pass([], up=up, down=down, dtype=np.float64)
    digital = _white(1, 3 * plan.step // 2)
    found, _ = _run(digital, plan)
    expected = resample(digital.astype(np.float64), up=up, down=down)
    assert np.sqrt(np.mean((found - expected) ** 2)) < 5e-6 * digital.std()


@pytest.mark.parametrize("source_hz", [250, 256, 500, 512, 1000, 1024])
def test_the_band_equals_mne_with_exact_padding_after_storage_in_16_bits(source_hz: int) -> None:
    duration_s, target_hz, gain_uv = 40, 200, 0.05
    eeg_uv = generate_eeg(
        spread_positions(2),
        duration_s=duration_s,
        sampling_rate_hz=source_hz,
        seed=1,
        eyes_closed=True,
    )
    digital = np.rint(eeg_uv / gain_uv).astype(np.int16)
    up, down = rational_ratio(source_hz, target_hz)
    kernels = [
        fir_kernel(source_hz, low_hz=0.5, high_hz=99.5),
        notch_kernel(source_hz, line_hz=50.0),
    ]
    plan = plan_one_pass(kernels, up=up, down=down)
    found, _ = _run(digital, plan, gain=np.full(2, gain_uv))
    scale = np.abs(found).max(axis=1, keepdims=True) / 32767
    stored = np.rint(found / scale) * scale

    source = digital * gain_uv
    filtered = mne.filter.filter_data(source, source_hz, 0.5, 99.5, verbose="error")
    lines_hz = np.arange(50, source_hz / 2 - 1, 50)
    notched = mne.filter.notch_filter(filtered, source_hz, lines_hz, verbose="error")
    expected = mne.filter.resample(
        notched, up=target_hz, down=source_hz, npad=40 * down, pad="reflect_limited"
    )
    assert stored.shape == expected.shape
    assert _relative_rms(stored, expected, rate_hz=target_hz) < 1e-4


def _relative_rms(found: np.ndarray, expected: np.ndarray, *, rate_hz: float) -> float:
    """Return the relative RMS of the difference in 1-90 Hz, two seconds at the ends left out."""
    inner = slice(int(2 * rate_hz), -int(2 * rate_hz))
    taper = np.hanning(expected[:, inner].shape[1])
    difference = np.fft.rfft((found - expected)[:, inner] * taper)
    reference = np.fft.rfft(expected[:, inner] * taper)
    frequency_hz = np.fft.rfftfreq(len(taper), 1 / rate_hz)
    band = (frequency_hz >= 1) & (frequency_hz <= 90)
    norm = np.linalg.norm(difference[:, band]) / np.linalg.norm(reference[:, band])
    return float(norm)


@pytest.mark.parametrize("source_hz", [250, 500, 1000])
def test_a_tone_is_not_shifted_where_mne_shifts_it(source_hz: int) -> None:
    target_hz, tone_hz, duration_s = 200, 40.0, 60
    phase = 2 * np.pi * tone_hz * np.arange(duration_s * source_hz) / source_hz
    digital = np.rint(30000 * np.sin(phase)).astype(np.int16)[np.newaxis]
    up, down = rational_ratio(source_hz, target_hz)
    found, _ = _run(digital, plan_one_pass([], up=up, down=down))
    default = mne.filter.resample(digital.astype(np.float64), up=up, down=down, npad="auto")
    assert _largest_shift_s(found[0], tone_hz, target_hz) < 1e-8
    assert _largest_shift_s(default[0], tone_hz, target_hz) > 1e-4


def _largest_shift_s(signal: np.ndarray, tone_hz: float, rate_hz: float) -> float:
    """Return how far the tone is from its place in the worst quarter of the signal."""
    time_s = np.arange(len(signal)) / rate_hz
    turned = 1j * signal * np.exp(-2j * np.pi * tone_hz * time_s)
    quarters = np.array_split(turned[int(rate_hz) : -int(rate_hz)], 4)
    phases = np.array([np.angle(quarter.mean()) for quarter in quarters])
    return float(np.abs(phases).max() / (2 * np.pi * tone_hz))


@pytest.mark.parametrize("cut", [1, 97, 1000, 40_000])
def test_no_bit_depends_on_how_the_source_is_cut(cut: int) -> None:
    _, kernels, up, down = _chain("128-to-200")
    band = fir_kernel(200.0, low_hz=1.0)
    plan = plan_one_pass(kernels, up=up, down=down, bands={"all": None, "high": band})
    digital = _white(5, 2 * plan.step + 77)
    whole, whole_figures = _run(digital, plan)
    found, figures = _run(digital, plan, cut=cut)
    np.testing.assert_array_equal(found, whole)
    assert repr(figures) == repr(whole_figures)


@pytest.mark.parametrize("name", ["512-to-200", "128-to-200", "256-kept"])
@pytest.mark.parametrize("longer", ["one", "two", "margin", "margin + 1", "margin + 2"])
def test_short_runs_equal_the_offline_chain(name: str, longer: str) -> None:
    _, kernels, up, down = _chain(name)
    plan = plan_one_pass(kernels, up=up, down=down)
    lengths = {"one": 1, "two": 2, "margin": plan.margin}
    lengths |= {"margin + 1": plan.margin + 1, "margin + 2": plan.margin + 2}
    digital = _white(2, lengths[longer])
    values = digital.astype(np.float64)
    if plan.dc_gain == 0:
        values -= values.mean(axis=1, keepdims=True)
    expected = _offline(values, kernels, up, down)
    found, _ = _run(digital, plan)
    assert found.shape == (2, num_resampled(lengths[longer], up=up, down=down))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * digital.std())


def test_runs_are_independent_and_figures_join_them() -> None:
    _, kernels, up, down = _chain("256-kept")
    plan = plan_one_pass(kernels, up=up, down=down, bands={"all": None})
    first, second = _white(3, 2 * plan.step), _white(3, plan.margin + 500)
    one_pass = OnePass(plan, gain=np.ones(3), offset=np.zeros(3))
    runs = []
    for digital in (first, second):
        blocks = [*one_pass.push(digital), *one_pass.finish()]
        runs.append(np.concatenate(blocks, axis=1))
    np.testing.assert_array_equal(runs[0], _run(first, plan)[0])
    np.testing.assert_array_equal(runs[1], _run(second, plan)[0])
    figures = one_pass.figures()
    joined = np.concatenate(runs, axis=1).astype(np.float64)
    assert figures.num_samples == first.shape[1] + second.shape[1]
    assert figures.num_stored == joined.shape[1]
    np.testing.assert_allclose(figures.bands["all"].std, joined.std(axis=1), rtol=1e-6)
    np.testing.assert_allclose(figures.bands["all"].mean, joined.mean(axis=1), atol=1e-4)


def test_gain_sign_and_offset_are_those_of_the_channel() -> None:
    plan = plan_one_pass([], up=1, down=4)
    digital = _white(3, 2 * plan.step)
    gain, offset = np.array([2.5e-7, -1e-6, 1.0]), np.array([1e-3, 0.0, -4.0])
    found, _ = _run(digital, plan, gain=gain, offset=offset)
    values = digital * gain[:, np.newaxis] + offset[:, np.newaxis]
    expected = resample(values, up=1, down=4)
    spread = values.std(axis=1, keepdims=True)
    assert (np.abs(found - expected) < 2e-5 * spread).all()


@pytest.mark.parametrize("high_pass", [True, False])
def test_a_large_offset_costs_no_digits(high_pass: bool) -> None:
    # A DC-coupled 24-bit amplifier: 10 uV of signal on 200 mV, 31.25 nV per step.
    gain_v = 31.25e-9
    kernels = [fir_kernel(256.0, low_hz=0.5)] if high_pass else []
    plan = plan_one_pass(kernels, up=1, down=2, bands={"all": None})
    signal_v = _white(2, 2 * plan.step) * 1e-8
    digital = np.rint((signal_v + 0.2) / gain_v).astype(np.int32)
    found, figures = _run(digital, plan, gain=np.full(2, gain_v))
    expected = _offline(digital * gain_v, kernels, 1, 2)
    # Stored around 200 mV, a float32 is 15 nV wide; without the offset nothing is lost.
    atol_v = 1e-10 if high_pass else 1.6e-8
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol_v)
    np.testing.assert_allclose(figures.bands["all"].std, expected.std(axis=1), rtol=1e-4)
    np.testing.assert_allclose(figures.bands["all"].mean, expected.mean(axis=1), atol=1e-9)


def test_wide_integers_keep_their_last_digits() -> None:
    plan = plan_one_pass([], up=1, down=2)
    small = _white(2, 2 * plan.step, dtype=np.int32)
    found, _ = _run(small + (1 << 30), plan, offset=np.full(2, -float(1 << 30)))
    expected = resample(small.astype(np.float64), up=1, down=2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * small.std())


def test_wide_integers_do_not_overflow() -> None:
    plan = plan_one_pass([], up=1, down=2)
    digital = np.full((1, plan.step), np.iinfo(np.int32).min, dtype=np.int32)
    digital[0, ::2] = np.iinfo(np.int32).max
    found, _ = _run(digital, plan)
    expected = resample(digital.astype(np.float64), up=1, down=2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2**32 * 1e-5)


def test_statistics_are_those_of_each_band() -> None:
    rate_hz = 512
    band = fir_kernel(float(rate_hz), low_hz=0.5, high_hz=99.5)
    wide = fir_kernel(float(rate_hz), low_hz=0.1)
    plan = plan_one_pass([wide], up=1, down=1, bands={"wide": None, "reve": band})
    eeg_uv = generate_eeg(
        spread_positions(3), duration_s=120, sampling_rate_hz=rate_hz, seed=2, eyes_closed=False
    )
    digital = np.rint(eeg_uv * 10).astype(np.int16)
    found, figures = _run(digital, plan, gain=np.full(3, 0.1))
    stored = found.astype(np.float64)
    filtered = apply_fir(stored, band)
    assert plan.bands["reve"].decimation == 2
    np.testing.assert_allclose(figures.bands["wide"].std, stored.std(axis=1), rtol=1e-6)
    np.testing.assert_allclose(figures.bands["reve"].std, filtered.std(axis=1), rtol=1e-4)
    np.testing.assert_allclose(figures.bands["reve"].mean, filtered.mean(axis=1), atol=1e-3)
    # 8192 of 61440 moments: the sample's deviation is off by 1.3 %, tested to three times that.
    np.testing.assert_allclose(figures.robust_std, robust_std(stored), rtol=0.04)


@pytest.mark.parametrize(("high_hz", "decimation"), [(20.0, 8), (60.0, 2), (100.0, 2), (120.0, 1)])
def test_a_band_is_taken_at_a_lower_rate_only_where_all_of_it_fits(
    high_hz: float, decimation: int
) -> None:
    band = fir_kernel(512.0, high_hz=high_hz)
    plan = plan_one_pass([], up=1, down=1, bands={"low": band})
    digital = _white(2, plan.step + 1000)
    # A large last sample would rule the signal's continuation, and count eightfold or not at all.
    digital[:, [0, -1]] = 0
    found, figures = _run(digital, plan, offset=np.full(2, 5000.0))
    filtered = apply_fir(found.astype(np.float64), band)
    assert plan.bands["low"].decimation == decimation
    np.testing.assert_allclose(figures.bands["low"].std, filtered.std(axis=1), rtol=2e-3)
    np.testing.assert_allclose(figures.bands["low"].mean, filtered.mean(axis=1), atol=0.5)


def test_the_sample_for_robust_figures_stays_between_half_full_and_full() -> None:
    subsample = Subsample(1, capacity=1000)
    generator = np.random.default_rng(0)
    spreads = []
    for block in range(40):
        values = generator.standard_normal((1, 5000)).astype(np.float32)
        subsample.add(values, first=5000 * block)
        assert 400 < subsample.num_held <= 1000
        spreads.append(subsample.robust_std()[0])
    # 400 samples: a standard error of 6 %.
    np.testing.assert_allclose(spreads, 1.0, rtol=0.2)


@pytest.mark.parametrize("num_times", [1, 2, 999, 8192])
def test_the_robust_deviation_of_a_short_recording_is_exact(num_times: int) -> None:
    plan = plan_one_pass([], up=1, down=1)
    digital = _white(2, num_times)
    digital[1] = 7
    found, figures = _run(digital, plan)
    np.testing.assert_array_equal(found, digital)
    np.testing.assert_allclose(figures.robust_std, robust_std(digital.astype(float)), rtol=1e-6)


def test_checksums_and_extremes_are_of_the_source() -> None:
    plan = plan_one_pass([], up=1, down=2)
    digital = _white(2, 5000)
    _, figures = _run(digital, plan, cut=123)
    expected = tuple(hashlib.sha256(row.astype("<i2").tobytes()).hexdigest() for row in digital)
    assert figures.channel_sha256 == expected
    assert _run(digital.astype(np.int32), plan)[1].channel_sha256 == expected
    np.testing.assert_array_equal(figures.digital_min, digital.min(axis=1))
    np.testing.assert_array_equal(figures.digital_max, digital.max(axis=1))
    changed = digital.copy()
    changed[1, 4321] += 1
    other = _run(changed, plan)[1].channel_sha256
    assert other[0] == expected[0]
    assert other[1] != expected[1]


@pytest.mark.parametrize("at", [0, 4999])
def test_a_channel_beyond_16_bits_is_hashed_with_32(at: int) -> None:
    plan = plan_one_pass([], up=1, down=2)
    digital = _white(2, 5000, dtype=np.int32)
    digital[1, at] = 32768
    _, figures = _run(digital, plan, cut=123)
    assert figures.channel_sha256 == (
        hashlib.sha256(digital[0].astype("<i2").tobytes()).hexdigest(),
        hashlib.sha256(digital[1].astype("<i4").tobytes()).hexdigest(),
    )


def test_nothing_pushed_gives_no_block_and_no_figure() -> None:
    plan = plan_one_pass([], up=1, down=2, bands={"all": None})
    one_pass = OnePass(plan, gain=np.ones(2), offset=np.zeros(2))
    assert one_pass.push(np.zeros((2, 0), dtype=np.int16)) == []
    assert one_pass.finish() == []
    figures = one_pass.figures()
    assert figures.num_samples == figures.num_stored == 0
    assert np.isnan(figures.robust_std).all()
    assert np.isnan(figures.bands["all"].std).all()


def test_memory_does_not_grow_with_the_length() -> None:
    _, kernels, up, down = _chain("512-to-200")
    plan = plan_one_pass(kernels, up=up, down=down, bands={"all": None})
    piece = _white(4, 5120)

    def peak_bytes(num_pieces: int) -> int:
        tracemalloc.start()
        one_pass = OnePass(plan, gain=np.ones(4), offset=np.zeros(4))
        for _ in range(num_pieces):
            one_pass.push(piece)
        one_pass.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(120) <= 1.05 * peak_bytes(30)


@pytest.mark.parametrize(
    ("digital", "error", "message"),
    [
        (np.zeros((3, 10), dtype=np.int16), ValueError, r"expected \(2, times\)"),
        (np.zeros(10, dtype=np.int16), ValueError, r"expected \(2, times\)"),
        (np.zeros((2, 10)), TypeError, "float64; expected int16 or int32"),
        (np.zeros((2, 10), dtype=np.int64), TypeError, "int64; expected int16 or int32"),
    ],
)
def test_other_samples_are_refused(digital: np.ndarray, error: type, message: str) -> None:
    one_pass = OnePass(plan_one_pass([], up=1, down=2), gain=np.ones(2), offset=np.zeros(2))
    with pytest.raises(error, match=message):
        one_pass.push(digital)


def test_a_change_of_type_and_a_wrong_gain_are_refused() -> None:
    plan = plan_one_pass([], up=1, down=2)
    one_pass = OnePass(plan, gain=np.ones(2), offset=np.zeros(2))
    one_pass.push(np.zeros((2, 10), dtype=np.int16))
    with pytest.raises(TypeError, match="int32; expected int16"):
        one_pass.push(np.zeros((2, 10), dtype=np.int32))
    with pytest.raises(ValueError, match=r"expected \(C,\) both"):
        OnePass(plan, gain=np.ones(2), offset=np.zeros(3))
    with pytest.raises(ValueError, match="common factor"):
        plan_one_pass([], up=2, down=4)
