"""What the types cannot say: choices, ranges, and settings that must fit each other.

All problems of a configuration are raised together, before anything is built or read.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from physioscale.config.problems import did_you_mean, raise_together
from physioscale.config.run import RunConfig
from physioscale.errors import InputError

CHOICES: dict[str, tuple[str, ...]] = {
    "load.normalise": ("none", "session", "corpus", "window"),
    "optimizer.name": ("adamw", "stable_adamw"),
    "schedule.name": ("constant", "trapezoid"),
    "tracking.wandb": ("disabled", "offline", "online"),
    "trainer.accelerator": ("auto", "cpu", "cuda"),
    "trainer.precision": ("32", "bf16-mixed"),
    "trainer.strategy": ("auto", "single", "ddp", "zero1", "zero2", "zero3"),
}
"""Keys whose text is one of a few words; of a list, each element."""

POSITIVE = (
    "accepts.max_low_cut_hz",
    "accepts.min_channels",
    "accepts.min_high_cut_hz",
    "data.batch_samples",
    "data.batch_tokens",
    "data.divisible_by",
    "data.micro_batch",
    "data.pool_shards",
    "data.reader_threads",
    "data.ring_batches",
    "data.stride_s",
    "data.window_s",
    "load.clip",
    "load.high_cut_hz",
    "load.low_cut_hz",
    "load.notch_hz",
    "load.sampling_rate_hz",
    "optimizer.eps",
    "optimizer.lr",
    "trainer.checkpoint_every_steps",
    "trainer.devices",
    "trainer.gradient_clip_norm",
    "trainer.keep_checkpoints",
    "trainer.log_every_steps",
    "trainer.max_steps",
    "trainer.nodes",
    "trainer.stop_at_step",
)
"""Numbers above zero; those that may be null are then not looked at."""

NOT_NEGATIVE = (
    "accepts.min_sampling_rate_hz",
    "data.damage_budget",
    "optimizer.weight_decay",
    "schedule.cooldown_share",
    "schedule.final_lr",
    "schedule.start_lr",
    "schedule.warmup_share",
    "seed",
)


def check_run(config: RunConfig) -> None:
    """Check a configuration beyond its types.

    Raises:
        InputError: one or more problems, each with its key, what was found and what was expected.
    """
    raise_together(
        [
            *_check_choices(config),
            *_check_numbers(config),
            *_check_batch(config),
            *_check_band(config),
            *_check_reference(config),
            *_check_run_name(config),
            *_check_optimizer(config),
        ]
    )


def num_ranks(config: RunConfig) -> int:
    """Return the number of processes that share a global batch."""
    return config.trainer.devices * config.trainer.nodes


def _check_choices(config: RunConfig) -> Iterator[InputError]:
    for key, choices in {**_contract_choices(), **CHOICES}.items():
        value = _get(config, key)
        for word in value if isinstance(value, list) else [value]:
            if word not in choices:
                yield InputError(
                    key,
                    found=f"'{word}'",
                    expected=f"one of {', '.join(choices)}",
                    do=f"{did_you_mean(word, choices)}Correct the value.",
                )


def _contract_choices() -> dict[str, tuple[str, ...]]:
    """Return the words that the contract of a shard set defines."""
    # Imported here: the contract brings pyarrow, which `physioscale ls` does without.
    from physioscale.contract.schema import KINDS, UNITS_OF_TYPE

    units = dict.fromkeys(unit for units in UNITS_OF_TYPE.values() for unit in units)
    return {
        "accepts.kinds": KINDS,
        "accepts.channel_types": tuple(UNITS_OF_TYPE),
        "accepts.units": tuple(units),
    }


def _check_numbers(config: RunConfig) -> Iterator[InputError]:
    for key in POSITIVE:
        value = _get(config, key)
        if value is not None and not (value > 0 and math.isfinite(value)):
            yield _bad(key, value, "a number above 0")
    for key in NOT_NEGATIVE:
        value = _get(config, key)
        if not (value >= 0 and math.isfinite(value)):
            yield _bad(key, value, "a number not below 0")


def _check_batch(config: RunConfig) -> Iterator[InputError]:
    data, ranks = config.data, num_ranks(config)
    if (data.batch_samples is None) == (data.batch_tokens is None):
        both = f"{data.batch_samples} and {data.batch_tokens}"
        yield InputError(
            "data.batch_samples, data.batch_tokens",
            found="neither is set" if data.batch_samples is None else f"both are set ({both})",
            expected="exactly one of them",
            do="Give the global batch in windows or in tokens, and set the other to null.",
        )
    layout = f"{config.trainer.devices} devices x {config.trainer.nodes} nodes = {ranks} ranks"
    sizes = (ranks, data.divisible_by, data.batch_samples, data.micro_batch)
    if any(size is not None and size < 1 for size in sizes):
        return  # named by the check of the numbers; a remainder would mean nothing
    if data.divisible_by % ranks:
        yield InputError(
            "data.divisible_by",
            found=f"{data.divisible_by} with {layout}",
            expected="a multiple of the number of ranks, so that every rank has an equal share",
            do="Change trainer.devices or trainer.nodes, or raise data.divisible_by.",
        )
    if data.batch_samples is not None:
        yield from _check_shares(config, batch=data.batch_samples, layout=layout)


def _check_shares(config: RunConfig, *, batch: int, layout: str) -> Iterator[InputError]:
    data, ranks = config.data, num_ranks(config)
    micro = "the whole share" if data.micro_batch is None else f"{data.micro_batch} windows"
    found = f"a batch of {batch} windows for {layout}, micro batch {micro}"
    if batch % data.divisible_by:
        yield InputError(
            "data.batch_samples",
            found=f"{batch} with data.divisible_by {data.divisible_by}",
            expected="a multiple of data.divisible_by",
            do=f"Take {_multiple_near(batch, data.divisible_by)}, or lower data.divisible_by.",
        )
    if batch % ranks:
        yield InputError(
            "data.batch_samples",
            found=found,
            expected="a batch that the ranks divide, so that all take the same steps",
            do=f"Take {_multiple_near(batch, math.lcm(ranks, data.divisible_by))} windows, or"
            " another number of ranks.",
        )
    elif data.micro_batch is not None and (batch // ranks) % data.micro_batch:
        yield InputError(
            "data.micro_batch",
            found=found,
            expected=f"a micro batch that divides a rank's share of {batch // ranks} windows",
            do="Change data.micro_batch, or set it to null to take the whole share at once.",
        )


def _check_band(config: RunConfig) -> Iterator[InputError]:
    load = config.load
    low_hz, high_hz, rate_hz = load.low_cut_hz, load.high_cut_hz, load.sampling_rate_hz
    if low_hz is not None and high_hz is not None and not low_hz < high_hz:
        yield _bad("load.low_cut_hz", low_hz, f"a corner below load.high_cut_hz ({high_hz} Hz)")
    if high_hz is not None and rate_hz is not None and not high_hz <= rate_hz / 2:
        yield _bad(
            "load.high_cut_hz",
            high_hz,
            f"a corner not above half of load.sampling_rate_hz ({rate_hz} Hz)",
        )


def _check_reference(config: RunConfig) -> Iterator[InputError]:
    load = config.load
    if "average" in load.reference and len(load.reference) > 1:
        yield _bad("load.reference", load.reference, "[average], or names of channels")
    if load.reference and load.normalise in ("session", "corpus"):
        yield InputError(
            "load.normalise",
            found=f"{load.normalise} with load.reference {load.reference}",
            expected="window or none: stored statistics are those of the recording's own reference",
            do="Change one of the two.",
        )


def _check_run_name(config: RunConfig) -> Iterator[InputError]:
    name = config.run.name
    if name is not None and (name in ("", ".", "..") or "/" in name or "\\" in name):
        yield InputError(
            "run.name",
            found=repr(name),
            expected="the name of one folder, without separators",
            do="Name the folder of the runs with run.root.",
        )


def _check_optimizer(config: RunConfig) -> Iterator[InputError]:
    schedule, betas = config.schedule, config.optimizer.betas
    shares = schedule.warmup_share + schedule.cooldown_share
    if shares > 1:
        yield _bad("schedule.warmup_share + schedule.cooldown_share", shares, "a sum of at most 1")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield _bad("optimizer.betas", betas, "two numbers from 0 up to, but not, 1")


def _bad(key: str, value: Any, expected: str) -> InputError:
    return InputError(key, found=f"{value}", expected=expected, do="Correct the value.")


def _multiple_near(value: int, divisor: int) -> str:
    below = value // divisor * divisor
    return f"{below} or {below + divisor}" if below else f"{divisor}"


def _get(config: RunConfig, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        assert dataclasses.is_dataclass(value)
        value = getattr(value, name)
    return value
