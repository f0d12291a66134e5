"""The resolved configuration of one run: what `physioscale show` prints and a run folder keeps.

A recipe's YAML is merged onto these dataclasses in OmegaConf's strict mode; the recipe's own
`model` and `objective` sections are merged onto dataclasses that the recipe brings. Configuration
stops at the builders: an `nn.Module` takes plain keyword arguments.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class AcceptsConfig:
    """What a recipe asks of a shard set; `validate` refuses another and names the field."""

    kinds: list[str] = field(default_factory=lambda: ["signal"])
    """Kinds of shard set: signal, roi, t1, embedding."""
    channel_types: list[str] = field(default_factory=lambda: ["eeg"])
    """Types of the channels that are read; others in the shards are left out."""
    units: list[str] = field(default_factory=lambda: ["V"])
    """Units of those channels."""
    min_sampling_rate_hz: float = 0.0
    """Recordings below it are left out (and counted): upsampling would invent content."""
    max_low_cut_hz: float | None = None
    """The shards' high-pass may be at most this (Hz); None: any."""
    min_high_cut_hz: float | None = None
    """The shards' low-pass may be at least this (Hz); None: any."""
    notch: bool = False
    """Whether shards with a notch filter applied are accepted."""
    positions: bool = False
    """Whether each channel needs a position; channels without one are left out (and counted)."""
    min_channels: int = 1
    """Recordings with fewer usable channels are left out (and counted)."""


@dataclass
class LoadConfig:
    """What is done to a batch after it was read, on the device."""

    sampling_rate_hz: float | None = None
    """Rate handed to the model (Hz); None keeps the shards' rate."""
    low_cut_hz: float | None = None
    """High-pass corner (Hz) of the load-time band-pass; None: none."""
    high_cut_hz: float | None = None
    """Low-pass corner (Hz) of the load-time band-pass; None: none."""
    notch_hz: float | None = None
    """Line frequency (Hz) that is taken out with its harmonics below half the rate; None: none."""
    channels: list[str] | None = None
    """Channels by name, in this order; recordings without one of them are left out (and counted).
    None: all that the recipe accepts, in the order of the shards."""
    reference: list[str] = field(default_factory=list)
    """Channels whose mean is subtracted from every channel, or `average` for the mean of all;
    empty: the reference of the recording is kept."""
    normalise: str = "none"
    """none, session (z-score with the recording's statistics per channel in the band above), corpus
    (z-score with one deviation per channel type, pooled over the training subjects) or window
    (z-score per channel over the window)."""
    clip: float | None = None
    """Values are limited to +- this after normalisation; None: not limited."""


@dataclass
class SelectConfig:
    """Which recordings are read, decided on the tables before any sample is."""

    corpora: list[str] | None = None
    """Names of corpora; None: all."""
    tasks: list[str] | None = None
    """Tasks of recordings; None: all."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Label -> values of which a recording must have one, compared as text."""
    max_quality: dict[str, float] = field(default_factory=dict)
    """Name of a quality figure -> highest value; channels above it are left out (and counted). A
    channel whose figure could not be measured stays."""


@dataclass
class DataConfig:
    """Where windows come from and how they are batched."""

    shards: list[str] = field(default_factory=list)
    """Shard-set folders; one string is accepted on the command line."""
    weights: list[float] | None = None
    """Per shard set, how often an epoch takes each of its windows (2: twice; 0.25: a quarter, the
    next quarter in the next epoch); None: once."""
    select: SelectConfig = field(default_factory=SelectConfig)
    """Which recordings and channels of the shard sets are used."""
    window_s: float = 10.0
    """Window length (s)."""
    stride_s: float | None = None
    """Distance of neighbouring window starts in a recording (s); None: the window length."""
    random_onset: bool = False
    """In training, start each window at a keyed random place between its own start and the next
    window's, instead of at its own."""
    batch_samples: int | None = None
    """Global batch in windows, over all ranks and accumulated micro-batches."""
    batch_tokens: int | None = None
    """Global batch in tokens (patches); the number of windows follows from a bucket's shape."""
    micro_batch: int | None = None
    """Windows per rank and forward pass; None: the whole share of a rank at once."""
    divisible_by: int = 8
    """Global batches are multiples of this, so that 1, 2, 4 or 8 ranks can share them."""
    pool_shards: int = 16
    """Shards whose windows are mixed with each other: larger mixes better, smaller reads nearer."""
    reader_threads: int = 2
    """Threads per rank that read and decode."""
    ring_batches: int = 3
    """Micro-batches per rank kept ready."""
    damage_budget: int = 0
    """Damaged windows that a rank may replace by another one of the same micro-batch, counted and
    named; one more stops the run. 0: the first one does."""
    cache_dir: str | None = None
    """Where the compact index of a shard set is kept; None: the folder named by PHYSIOSCALE_CACHE,
    else the user's cache folder."""


@dataclass
class OptimizerConfig:
    """The optimizer by name, with the arguments the named ones share."""

    name: str = "adamw"
    """adamw or stable_adamw."""
    lr: float = 1e-3
    """Peak learning rate."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Decay rates of the first and second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on all parameters."""


@dataclass
class ScheduleConfig:
    """The learning rate over the run, as a share of its length."""

    name: str = "trapezoid"
    """constant or trapezoid (warm-up, plateau, cool-down)."""
    warmup_share: float = 0.1
    """Share of the steps spent rising to the peak."""
    cooldown_share: float = 0.1
    """Share of the steps spent falling to the final rate."""
    start_lr: float = 1e-5
    """Learning rate of the first step."""
    final_lr: float = 1e-6
    """Learning rate of the last step."""


@dataclass
class TrainerConfig:
    """How long, on what, and how often something is written."""

    max_steps: int = 1000
    """Global steps (optimizer updates) of the whole run; the schedule spans them."""
    stop_at_step: int | None = None
    """End this launch after that global step, with a checkpoint; a later launch goes on."""
    accelerator: str = "auto"
    """auto, cpu or cuda."""
    devices: int = 1
    """Ranks per node."""
    nodes: int = 1
    """Nodes."""
    strategy: str = "auto"
    """auto, single, ddp, zero1, zero2 or zero3 (DeepSpeed)."""
    precision: str = "32"
    """32 or bf16-mixed."""
    deterministic: bool = True
    """Refuse operations without a deterministic implementation."""
    gradient_clip_norm: float | None = None
    """Largest L2 norm of all gradients together; None: not clipped."""
    checkpoint_every_steps: int = 500
    """Global steps between checkpoints."""
    keep_checkpoints: int = 3
    """Newest checkpoints kept."""
    log_every_steps: int = 10
    """Global steps between writes of the metrics; every step has its row."""


@dataclass
class TrackingConfig:
    """Views of the run's metrics.jsonl, which is always written."""

    wandb: str = "disabled"
    """disabled, offline (synced later with `wandb sync`) or online."""
    wandb_project: str = "physioscale"
    """W&B project."""
    tensorboard: bool = True
    """Write TensorBoard event files into the run folder."""


@dataclass
class RunFolderConfig:
    """Where the run lives."""

    root: str = "runs"
    """Folder of run folders."""
    name: str | None = None
    """Name of the run folder; None: recipe, variant and a hash of the resolved configuration, so
    that the same line goes on with the same run."""


@dataclass
class RunConfig:
    """One resolved run of one stage of one recipe."""

    recipe: str
    """Name of the recipe folder."""
    variant: str
    """Named size."""
    stage: str
    """Stage of the recipe."""
    model: Any
    """The recipe's own model settings (a dataclass of the recipe)."""
    objective: Any
    """The recipe's own objective settings (a dataclass of the recipe)."""
    seed: int = 0
    """Keys every random draw of the run: order, crops, masks, noise, initialisation."""
    accepts: AcceptsConfig = field(default_factory=AcceptsConfig)
    load: LoadConfig = field(default_factory=LoadConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    run: RunFolderConfig = field(default_factory=RunFolderConfig)
