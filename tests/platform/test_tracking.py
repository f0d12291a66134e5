"""metrics.jsonl keeps every bit and survives kills; its views show the same and harm nothing."""

import importlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from physioscale.config import RunConfig, TrackingConfig
from physioscale.tracking import (
    Launch,
    Row,
    RowWriter,
    TensorBoardView,
    Views,
    WandbView,
    read_rows,
)
from physioscale.tracking.weights_and_biases import stored_id

ROWS: list[Row] = [
    {"step": 1, "epoch": 0, "attempt": 1, "loss": 0.1 + 0.2, "lr": 1e-5},
    {"step": 2, "epoch": 0, "attempt": 1, "loss": 1.0767579078674316, "lr": 1e-3},
]


def make_launch(
    folder: Path, *, wandb: str = "disabled", first_step: int = 0, attempt: int = 1
) -> Launch:
    config = RunConfig(
        recipe="reader",
        variant="debug",
        stage="pretrain",
        model={"dim": 4},
        objective={},
        tracking=TrackingConfig(wandb=wandb, wandb_project="tests"),
    )
    return Launch(config, folder, attempt=attempt, first_step=first_step, last_step=10)


class TestRows:
    def test_floats_come_back_to_the_bit(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 0.30000000000000004]
        values += [struct.unpack("f", struct.pack("f", value))[0] for value in (0.1, 1 / 3)]
        with RowWriter(path) as writer:
            writer.write([{"step": i, "loss": v} for i, v in enumerate(values)])
        found = [row["loss"] for row in read_rows(path)]
        assert [struct.pack("d", v) for v in found] == [struct.pack("d", v) for v in values]

    def test_every_line_is_json_even_when_a_loss_is_not_a_number(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        with RowWriter(path) as writer:
            writer.write([{"step": 1, "loss": math.nan, "high": math.inf, "low": -math.inf}])
        assert "NaN" not in path.read_text()
        assert json.loads(path.read_text()) == {
            "step": 1,
            "loss": "nan",
            "high": "inf",
            "low": "-inf",
        }
        (row,) = read_rows(path)
        assert math.isnan(row["loss"])
        assert (row["high"], row["low"]) == (math.inf, -math.inf)

    def test_the_newest_attempt_of_a_step_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        with RowWriter(path) as writer:
            writer.write(ROWS)
        with RowWriter(path) as writer:
            writer.write([{**ROWS[1], "attempt": 2}, {**ROWS[1], "step": 3, "attempt": 2}])
        assert [(row["step"], row["attempt"]) for row in read_rows(path)] == [
            (1, 1),
            (2, 2),
            (3, 2),
        ]
        assert len(path.read_text().splitlines()) == 4

    @pytest.mark.parametrize("kept", [1, 20])
    def test_a_line_torn_by_a_kill_is_left_out_and_cut(
        self, tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "metrics.jsonl"
        with RowWriter(path) as writer:
            writer.write(ROWS)
            writer.sync()
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0] + lines[1][:kept])
        assert read_rows(path) == ROWS[:1]
        with RowWriter(path) as writer:
            writer.write(ROWS[1:])
        assert read_rows(path) == ROWS
        assert f"cut {kept} bytes of a line torn by a kill" in caplog.text

    def test_rows_are_there_before_the_file_is_closed(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        with RowWriter(path) as writer:
            writer.write(ROWS)
            assert read_rows(path) == ROWS


class TestViews:
    def test_a_view_that_cannot_start_is_counted_and_left_out(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(launch: Launch) -> TensorBoardView:
            raise ConnectionError("no such host")

        views = Views([refuse], make_launch(tmp_path))
        views.write(ROWS)
        views.close()
        assert views.failures == 1
        assert "tracking: refuse failed (ConnectionError: no such host)" in caplog.text

    def test_an_interrupt_is_not_swallowed(self, tmp_path: Path) -> None:
        def interrupt(launch: Launch) -> TensorBoardView:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Views([interrupt], make_launch(tmp_path))


class TestTensorBoard:
    def test_scalars_are_those_of_the_rows(self, tmp_path: Path) -> None:
        view = TensorBoardView(make_launch(tmp_path))
        view.write(ROWS)
        view.close()
        events = scalars(tmp_path)
        assert set(events) == {"loss", "lr", "epoch"}
        assert events["loss"] == pytest.approx({1: 0.3, 2: 1.0767579})

    def test_steps_taken_again_replace_their_events(self, tmp_path: Path) -> None:
        view = TensorBoardView(make_launch(tmp_path))
        view.write([{"step": step, "loss": 9.0} for step in (1, 2, 3)])
        view.close()
        again = TensorBoardView(make_launch(tmp_path, first_step=1))
        again.write([{"step": 2, "loss": 5.0}])
        again.close()
        assert scalars(tmp_path)["loss"] == {1: 9.0, 2: 5.0}


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Return what TensorBoard shows of a run: name -> step -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


class TestWandb:
    def test_the_id_stays_with_the_run(self, tmp_path: Path) -> None:
        first = stored_id(tmp_path)
        assert stored_id(tmp_path) == first
        (tmp_path / "other").mkdir()
        assert stored_id(tmp_path / "other") != first

    def test_offline_runs_hold_the_rows_and_share_the_id(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))
        monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "home"))
        monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "home"))
        # W&B names a folder by the second: two launches within one must not share it.
        for attempt, row in enumerate(ROWS, start=1):
            view = WandbView(make_launch(tmp_path, wandb="offline", attempt=attempt))
            view.write([row])
            view.close()
        identifier = stored_id(tmp_path)
        place = f"wandb/attempt-*/wandb/offline-run-*-{identifier}/run-{identifier}.wandb"
        stored = sorted(tmp_path.glob(place))
        rows = [row for file in stored for row in wandb_history(file)]
        assert [(row["step"], row["loss"]) for row in rows] == [
            (r["step"], r["loss"]) for r in ROWS
        ]


def wandb_history(file: Path) -> list[Row]:
    """Return the rows in W&B's own file of an offline run (LevelDB's log format, one block)."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data = file.read_bytes()
    assert data.startswith(b":W&B")
    assert len(data) < 32768, "more than one block: the framing below would be wrong"
    at, rows = 7, []
    while at + 7 <= len(data):
        _, size, kind = struct.unpack_from("<IHB", data, at)
        assert kind == 1, "a record in one piece"
        record = messages.Record.FromString(data[at + 7 : at + 7 + size])
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append(
                {(i.key or ".".join(i.nested_key)): json.loads(i.value_json) for i in items}
            )
        at += 7 + size
    return rows
