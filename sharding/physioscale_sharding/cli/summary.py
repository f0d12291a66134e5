"""What `physioscale shard` prints: a plan before it is carried out, and what became of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from physioscale.cli.output import aligned
from physioscale.cli.progress import amount
from physioscale.contract import SPLITS, DatasetInfo
from physioscale_sharding.convert import Outcome
from physioscale_sharding.identity import DEFAULT_KEY
from physioscale_sharding.plan import Plan, PlanItem
from physioscale_sharding.quarantine import Quarantined, describe_quarantine, without_names
from physioscale_sharding.request import Found


def plan_lines(plan: Plan, found: Found, *, show_names: bool = False) -> list[str]:
    """Return a line for each item, and the totals; file names only where they may be shown."""
    subjects = {one.path: one.subject for one in found.corpus.recordings}
    head = ("item", "split", "recordings", "subjects", "hours", "shards", "size")
    recordings = [one for item in plan.items for one in item.recordings]
    people = {subjects[one.path] for one in recordings}
    size = amount(sum(item.num_bytes for item in plan.items), "bytes")
    return [
        *aligned([head, *(_item_row(item, subjects) for item in plan.items)]),
        f"{_count(len(recordings), 'recording')} of {_count(len(people), 'subject')}, "
        f"{sum(one.duration_s for one in recordings) / 3600:.2f} h, "
        f"{_count(sum(item.num_shards for item in plan.items), 'shard')}, about {size}",
        *_quarantine_lines(plan.quarantined, found, show_names=show_names),
        *_notes(found, show_names=show_names),
        "nothing was written (--dry-run)",
    ]


def _item_row(item: PlanItem, subjects: Mapping[str, str]) -> tuple[str, ...]:
    return (
        str(item.number),
        item.split,
        str(len(item.recordings)),
        str(len({subjects[one.path] for one in item.recordings})),
        f"{sum(one.duration_s for one in item.recordings) / 3600:.2f}",
        str(item.num_shards),
        f"about {amount(item.num_bytes, 'bytes')}",
    )


def outcome_lines(outcome: Outcome, *, out: Path, show_names: bool = False) -> list[str]:
    """Return the closing lines of a conversion; file names only where they may be shown."""
    found, info, merged = outcome.found, outcome.info, outcome.merged
    if outcome.num_items_left:
        return [f"this task is done; {_count(outcome.num_items_left, 'item')} of other tasks to do"]
    lines = _quarantine_lines(merged.quarantined, found, show_names=show_names) if merged else []
    if info is None:
        return [*lines, "no recording was converted; no shard set was written"]
    if merged is None:
        return [f"{out} holds this shard set already; nothing was done", _next(out)]
    recordings = sum(facts.recordings for facts in info.splits.values())
    hours = sum(facts.hours for facts in info.splits.values())
    segments = sum(facts.segments for facts in info.splits.values())
    size = amount(sum(shard.num_bytes for shard in info.shards), "bytes")
    return [
        f"{info.corpus}: {_count(recordings, 'recording')} converted, {hours:.2f} h, "
        f"profile {info.profile['name']}",
        *_split_lines(info),
        f"{_count(segments, 'segment')} in {_count(len(info.shards), 'shard')}, {size}; "
        f"{_count(merged.num_float32, 'segment')} stored as float32",
        *lines,
        *(f"warning: {warning}" for warning in merged.warnings),
        *_notes(found, show_names=show_names),
        _next(out),
    ]


def _split_lines(info: DatasetInfo) -> list[str]:
    rows: list[tuple[str, ...]] = [("split", "subjects", "recordings", "segments", "hours")]
    for split in SPLITS:
        facts = info.splits[split]
        counts = (facts.subjects, facts.recordings, facts.segments)
        rows.append((split, *(str(count) for count in counts), f"{facts.hours:.2f}"))
    return [f"  {line}" for line in aligned(rows)]


def _quarantine_lines(rows: Sequence[Quarantined], found: Found, *, show_names: bool) -> list[str]:
    if not (show_names or found.conversion.public):
        rows = without_names(rows, key=found.conversion.key)
    head = f"{len(rows)} of {_count(found.num_files, 'file')} in quarantine"
    return [head, *(f"  {line}" for text in describe_quarantine(rows) for line in text.split("\n"))]


def _notes(found: Found, *, show_names: bool) -> list[str]:
    hidden = not (show_names or found.conversion.public)
    by_rule: dict[str, list[str]] = {}
    for note in found.corpus.notes:
        rule = note.partition(":")[0]
        by_rule.setdefault(rule, []).append(f"{rule}: (withheld)" if hidden else note)
    notes = [
        notes[0] + (f" (and {len(notes) - 1} more of this kind)" if len(notes) > 1 else "")
        for notes in by_rule.values()
    ]
    if not found.conversion.public and found.conversion.key == DEFAULT_KEY:
        notes.append(
            "names_hashed: subjects and paths are hashed with the package's own key, so who has a "
            "list of the names can test them; --subject-key FILE closes that"
        )
    if hidden:
        notes.append(
            "names_withheld: names of files may be patients', so their hashes are printed; "
            "--show-names prints the names (with --dry-run nothing else is done)"
        )
    return [f"note: {note}" for note in notes]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _next(out: Path) -> str:
    return f"next: physioscale verify {out}"
