"""Division of subjects into train, val and test.

In:  subject names as the corpus states them, and a `SplitConfig`.
Out: a split for each subject; a subject is never in two.

The order of subjects comes from a hash of (seed, subject), so it depends neither on the order of
files nor on the corpus's name: linked corpora with equal subject names agree under `threshold`.
"""

import hashlib
import math
from collections.abc import Iterable

from physioscale_sharding.profile import SplitConfig

_FEWEST_FOR_ALL_SPLITS = 3


def assign_splits(subjects: Iterable[str], *, config: SplitConfig) -> dict[str, str]:
    """Return the split of each subject by the profile's rule."""
    ordered = sorted(set(subjects), key=lambda subject: (_place(subject, config.seed), subject))
    if config.rule == "threshold":
        return {subject: _by_threshold(subject, config) for subject in ordered}
    num_test, num_val = _counts(len(ordered), config)
    names = ["test"] * num_test + ["val"] * num_val
    names += ["train"] * (len(ordered) - len(names))
    return dict(zip(ordered, names, strict=True))


def _by_threshold(subject: str, config: SplitConfig) -> str:
    place = _place(subject, config.seed)
    if place < config.test:
        return "test"
    return "val" if place < config.test + config.val else "train"


def _counts(num_subjects: int, config: SplitConfig) -> tuple[int, int]:
    """Return the numbers of test and val subjects, rounded half up.

    With three subjects or more, a split whose share is not zero gets at least one.
    """
    least = 1 if num_subjects >= _FEWEST_FOR_ALL_SPLITS else 0
    train_share = 1.0 - config.val - config.test
    counts = [
        max(math.floor(num_subjects * share + 0.5), least) if share > 0 else 0
        for share in (config.test, config.val)
    ]
    # Rounding up twice can leave too few: take back from the larger, val at a draw.
    most = num_subjects - (1 if train_share > 1e-9 else 0)
    while sum(counts) > most:
        counts[0 if counts[0] > counts[1] else 1] -= 1
    return counts[0], counts[1]


def _place(subject: str, seed: int) -> float:
    """Return the subject's place in [0, 1)."""
    digest = hashlib.sha256(f"split/{seed}/{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
