"""The end of a conversion: results of all items become a shard set.

In:  the work folder with every item done. Out: the shards under their final names, the tables,
`quarantine.jsonl`, `statistics/`, and last `dataset.json`; then the work folder goes.

Shards are numbered here, because only now is it known which items lost all their recordings. Every
step can be repeated: a merge that was interrupted is done again and ends in the same files.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from physioscale.contract import (
    INDEX_FILE,
    INDEX_SCHEMA,
    QUARANTINE_FILE,
    RECORDINGS_FILE,
    RECORDINGS_SCHEMA,
    SPLITS,
    STATISTICS_FOLDER,
    DatasetInfo,
    ShardFacts,
    SplitFacts,
    file_sha256,
    publish_bytes,
    read_table,
    shard_name,
    write_dataset,
    write_table,
)
from physioscale.contract.publish import sync_folder
from physioscale.errors import InputError
from physioscale_sharding.plan import Plan, package_versions
from physioscale_sharding.pooled import corpus_statistics
from physioscale_sharding.prepare import Conversion
from physioscale_sharding.profile import NamedProfile
from physioscale_sharding.quarantine import Quarantined, without_names, write_quarantine
from physioscale_sharding.work import ItemResult, WorkFolder, read_result

KIND = "signal"


@dataclass(frozen=True)
class Merged:
    """What a conversion came to."""

    info: DatasetInfo | None
    """None where no recording was converted."""
    quarantined: tuple[Quarantined, ...]
    """Every file that was left out, with its path relative to the corpus."""
    num_float32: int
    """Segments that did not fit 16 bits."""
    warnings: tuple[str, ...]


def merge(out: Path, *, plan: Plan, conversion: Conversion, profile: NamedProfile) -> Merged:
    """Publish the shard set; where no recording was converted, `quarantine.jsonl` alone.

    Raises:
        InputError: a shard of a finished item is missing.
    """
    work = WorkFolder.of(out)
    results = _results(work, plan)
    quarantined = all_quarantined(plan, results)
    named = quarantined if conversion.public else without_names(quarantined, key=conversion.key)
    publish_bytes(out / QUARANTINE_FILE, write_quarantine(named))
    if not any(result.num_recordings for result in results):
        work.remove()
        return Merged(None, tuple(quarantined), 0, ())
    names = _final_names(results)
    shards = _move_shards(out, work, results, names)
    _write_index(out, work, results, names)
    recordings = _write_recordings(out, work, results)
    files = [INDEX_FILE, RECORDINGS_FILE, QUARANTINE_FILE]
    files += _write_statistics(out, recordings, bands=list(profile.profile.statistics_bands))
    info = DatasetInfo(
        kind=KIND,
        corpus=conversion.corpus,
        profile=profile.as_dict(),
        profile_sha256=profile.sha256,
        plan_sha256=plan.sha256,
        versions=package_versions(),
        splits=_split_facts(recordings),
        shards=tuple(sorted(shards, key=lambda shard: shard.name)),
        files={name: file_sha256(out / name) for name in files},
        quarantined=len(quarantined),
        linked_corpora=_linked_corpora(conversion),
    )
    write_dataset(out, info)
    work.remove()
    return Merged(
        info,
        tuple(quarantined),
        num_float32=sum(result.num_float32 for result in results),
        warnings=tuple(same_content_in_two_splits(recordings)),
    )


def all_quarantined(plan: Plan, results: Iterable[ItemResult]) -> list[Quarantined]:
    """Return every row of `quarantine.jsonl`, with paths relative to the corpus."""
    rows = [*plan.quarantined, *(row for result in results for row in result.quarantined)]
    return sorted(rows, key=lambda row: row.path)


def same_content_in_two_splits(recordings: pa.Table) -> list[str]:
    """Return a line for each content that two splits hold, with the recordings' names."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    columns = (recordings[name].to_pylist() for name in ("content_sha256", "split", "recording"))
    for content, split, recording in zip(*columns, strict=True):
        places[content].append((split, recording))
    return [
        "the same samples are in " + " and in ".join(f"{s} ({r})" for s, r in found)
        for found in places.values()
        if len({split for split, _ in found}) > 1
    ]


def _linked_corpora(conversion: Conversion) -> tuple[str, ...]:
    """Return the corpora that share subjects with this one, its own under another name included."""
    definition = conversion.definition
    own = set() if definition.is_generic else {definition.name}
    return tuple(sorted({*definition.linked, *own} - {conversion.corpus}))


def _results(work: WorkFolder, plan: Plan) -> list[ItemResult]:
    results = []
    for item in plan.items:
        result = read_result(work, item.number)
        assert result is not None, f"item {item.number} is not done"
        results.append(result)
    return results


def _final_names(results: Sequence[ItemResult]) -> dict[str, str]:
    """Return the final name of each shard by its name in the work folder."""
    names: dict[str, str] = {}
    for split in SPLITS:
        of_split = [s.name for result in results if result.split == split for s in result.shards]
        names |= {name: shard_name(split, number) for number, name in enumerate(of_split)}
    return names


def _move_shards(
    out: Path, work: WorkFolder, results: Sequence[ItemResult], names: Mapping[str, str]
) -> list[ShardFacts]:
    shards = []
    for facts in (facts for result in results for facts in result.shards):
        source, target = work.shard(facts.name), out / names[facts.name]
        if source.is_file():
            source.replace(target)
        elif not target.is_file() or target.stat().st_size != facts.num_bytes:
            raise InputError(
                str(target),
                found="missing, although its item is done",
                expected="the shard as it was written",
                do=f"Delete {out} and convert again.",
            )
        shards.append(replace(facts, name=target.name))
    sync_folder(out)
    return shards


def _write_index(
    out: Path, work: WorkFolder, results: Sequence[ItemResult], names: Mapping[str, str]
) -> None:
    paths = [work.item(result.number, "index.parquet") for result in results]
    table = pa.concat_tables([read_table(path, schema=INDEX_SCHEMA) for path in paths])
    place = table.schema.get_field_index("shard")
    final = pa.array([names[name] for name in table["shard"].to_pylist()], pa.string())
    table = table.set_column(place, INDEX_SCHEMA.field("shard"), final)
    table = table.sort_by([("shard", "ascending"), ("signal_offset", "ascending")])
    write_table(out / INDEX_FILE, table.combine_chunks())


def _write_recordings(out: Path, work: WorkFolder, results: Sequence[ItemResult]) -> pa.Table:
    paths = [work.item(result.number, "recordings.parquet") for result in results]
    table = pa.concat_tables([read_table(path, schema=RECORDINGS_SCHEMA) for path in paths])
    table = table.sort_by("recording").combine_chunks()
    write_table(out / RECORDINGS_FILE, table)
    return table


def _write_statistics(out: Path, recordings: pa.Table, *, bands: Sequence[str]) -> list[str]:
    """Write a file for each band from the training subjects; return their names."""
    (out / STATISTICS_FOLDER).mkdir(exist_ok=True)
    columns = ["recording", "subject", "split", "duration_s", "sampling_rate_hz"]
    rows = recordings.select([*columns, "channels", "statistics"]).to_pylist()
    training = [row for row in rows if row["split"] == "train"]
    names = []
    for band in bands:
        name = f"{STATISTICS_FOLDER}/{band}.json"
        content = corpus_statistics(training, band=band)
        text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False)
        publish_bytes(out / name, f"{text}\n".encode())
        names.append(name)
    return names


def _split_facts(recordings: pa.Table) -> dict[str, SplitFacts]:
    columns = ("split", "subject", "num_segments", "duration_s")
    rows: list[dict[str, Any]] = recordings.select(columns).to_pylist()
    facts = {}
    for split in SPLITS:
        found = [row for row in rows if row["split"] == split]
        facts[split] = SplitFacts(
            subjects=len({row["subject"] for row in found}),
            recordings=len(found),
            segments=sum(row["num_segments"] for row in found),
            hours=sum(row["duration_s"] for row in found) / 3600,
        )
    return facts
