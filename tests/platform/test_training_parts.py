"""The parts of training that need no run: optimizers, learning rate, metrics, layouts."""

import dataclasses

import pytest
import torch
from torch import nn

from physioscale.config import OptimizerConfig, RunConfig, ScheduleConfig, TrainerConfig
from physioscale.errors import InputError
from physioscale.optim import StableAdamW
from physioscale.training.layout import resolve_layout
from physioscale.training.metrics import StepRecorder
from physioscale.training.optimizers import OPTIMIZERS, build_optimizer, learning_rate
from physioscale.training.strategies import ZeroStrategy, make_strategy


def make_config(**trainer: object) -> RunConfig:
    return RunConfig(
        recipe="r",
        variant="v",
        stage="s",
        model=None,
        objective=None,
        trainer=TrainerConfig(accelerator="cpu", **trainer),  # type: ignore[arg-type]  # any field
    )


def set_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look like task 3 of 4 on 2 nodes."""
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_JOB_NAME": "train",
    }.items():
        monkeypatch.setenv(name, value)


class TestOptimizers:
    def test_the_name_chooses_and_the_settings_arrive(self) -> None:
        config = OptimizerConfig(
            name="stable_adamw", lr=0.3, betas=[0.92, 0.999], eps=1e-9, weight_decay=0.5
        )
        optimizer = build_optimizer(nn.Linear(2, 2).parameters(), config)
        assert isinstance(optimizer, StableAdamW)
        group = optimizer.param_groups[0]
        settings = {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")}
        expected = {"lr": 0.3, "betas": (0.92, 0.999), "eps": 1e-9, "weight_decay": 0.5}
        assert settings == expected
        other = build_optimizer(
            nn.Linear(2, 2).parameters(), dataclasses.replace(config, name="adamw")
        )
        assert isinstance(other, torch.optim.AdamW)
        assert {key: other.param_groups[0][key] for key in expected} == expected

    def test_every_name_of_the_configuration_is_known(self) -> None:
        from physioscale.config.check import CHOICES

        assert set(CHOICES["optimizer.name"]) == set(OPTIMIZERS)

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(InputError, match="unknown optimizer 'adam'; did you mean 'adamw'"):
            build_optimizer(nn.Linear(2, 2).parameters(), OptimizerConfig(name="adam"))

    def test_the_learning_rate_is_a_function_of_the_step(self) -> None:
        schedule = ScheduleConfig(
            name="trapezoid", warmup_share=0.5, cooldown_share=0.2, start_lr=0.0, final_lr=0.0
        )
        rates = [
            learning_rate(step, peak_lr=1.0, schedule=schedule, total_steps=10)
            for step in range(10)
        ]
        assert rates == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 0.5])
        constant = ScheduleConfig(name="constant")
        assert learning_rate(0, peak_lr=0.7, schedule=constant, total_steps=10) == 0.7


class TestStepRecorder:
    def test_a_step_is_the_mean_of_its_micro_batches(self) -> None:
        recorder = StepRecorder()
        for values in ((1.0, 10.0), (3.0, 30.0)):
            loss, other = (torch.tensor(value, requires_grad=True) for value in values)
            recorder.add({"loss": loss, "other": other})
        recorder.close_step()
        recorder.add({"loss": torch.tensor(5.0), "other": torch.tensor(50.0)})
        recorder.close_step()
        rows = recorder.take(lambda values: values)
        assert rows == [{"loss": 2.0, "other": 20.0}, {"loss": 5.0, "other": 50.0}]
        assert recorder.take(lambda values: values) == []

    def test_all_steps_are_reduced_at_once(self) -> None:
        recorder, calls = StepRecorder(), []

        def reduce(values: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(values.shape))
            return values / 2

        for value in (2.0, 4.0, 6.0):
            recorder.add({"loss": torch.tensor(value)})
            recorder.close_step()
        assert [row["loss"] for row in recorder.take(reduce)] == [1.0, 2.0, 3.0]
        assert calls == [(3, 1)]

    @pytest.mark.parametrize(
        ("metrics", "message"),
        [
            ({"masked": torch.tensor(1.0)}, "expected a metric named 'loss'"),
            ({"loss": torch.ones(2)}, r"metric 'loss': a tensor of shape \(2,\)"),
        ],
    )
    def test_what_is_no_set_of_metrics_is_refused(
        self, metrics: dict[str, torch.Tensor], message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            StepRecorder().add(metrics)

    def test_names_may_not_change(self) -> None:
        recorder = StepRecorder()
        recorder.add({"loss": torch.tensor(1.0)})
        with pytest.raises(InputError, match="expected loss"):
            recorder.add({"loss": torch.tensor(1.0), "other": torch.tensor(1.0)})


class TestLayout:
    def test_auto_is_one_device_or_ddp(self) -> None:
        assert resolve_layout(make_config()).strategy == "single"
        layout = resolve_layout(make_config(devices=2))
        assert (layout.strategy, layout.world_size, layout.rank) == ("ddp", 2, 0)
        assert not layout.processes_exist

    def test_the_rank_comes_from_the_launcher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert resolve_layout(make_config(devices=2)).rank == 1
        monkeypatch.setenv("NODE_RANK", "3")
        monkeypatch.setenv("MASTER_ADDR", "somewhere")
        layout = resolve_layout(make_config(devices=2, nodes=4))
        assert (layout.rank, layout.world_size) == (7, 8)

    def test_slurm_starts_the_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_slurm(monkeypatch)
        layout = resolve_layout(make_config(devices=2, nodes=2))
        assert (layout.rank, layout.processes_exist) == (3, True)
        assert not layout.environment.auto_requeue  # type: ignore[attr-defined]  # SLURM's own

    def test_slurm_must_have_started_a_task_per_rank(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_slurm(monkeypatch)
        with pytest.raises(InputError, match="2 ranks, but srun started 4 processes"):
            resolve_layout(make_config(devices=2))
        with pytest.raises(InputError, match="4, in a job with --ntasks-per-node=2"):
            resolve_layout(make_config(devices=4))
        monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
        with pytest.raises(InputError, match=r"--ntasks-per-node=\(not given\)"):
            resolve_layout(make_config(devices=2, nodes=2))

    def test_one_task_of_slurm_may_start_its_own_ranks(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_slurm(monkeypatch)
        for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
            monkeypatch.setenv(name, "1")
        layout = resolve_layout(make_config(devices=2))
        assert (layout.rank, layout.processes_exist) == (0, False)

    def test_torchrun_must_have_started_a_process_per_rank(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in {
            "TORCHELASTIC_RUN_ID": "1",
            "WORLD_SIZE": "4",
            "RANK": "2",
            "GROUP_RANK": "1",
            "LOCAL_RANK": "0",
        }.items():
            monkeypatch.setenv(name, value)
        assert resolve_layout(make_config(devices=2, nodes=2)).rank == 2
        with pytest.raises(InputError, match="1 ranks, but torchrun started 4 processes"):
            resolve_layout(make_config())

    @pytest.mark.parametrize(
        ("trainer", "message"),
        [
            ({"strategy": "single", "devices": 2}, "'single' with 2 ranks"),
            ({"nodes": 2}, "2 nodes, but no launcher started this process"),
            ({"accelerator": "cuda", "devices": 999}, "999 CUDA devices per node asked for"),
        ],
    )
    def test_an_impossible_layout_is_refused(
        self, trainer: dict[str, object], message: str
    ) -> None:
        config = make_config()
        config.trainer = dataclasses.replace(config.trainer, **trainer)  # type: ignore[arg-type]  # any field
        with pytest.raises(InputError, match=message):
            resolve_layout(config)

    def test_zero_refuses_an_optimizer_it_was_not_tested_with(self) -> None:
        layout = resolve_layout(make_config(strategy="zero2"))
        assert layout.zero_stage == 2
        strategy = make_strategy(layout)
        assert isinstance(strategy, ZeroStrategy)
        model = torch.nn.Linear(2, 2)
        with pytest.raises(InputError, match="ZeRO with the optimizer Adafactor; expected one of"):
            strategy._setup_model_and_optimizer(model, torch.optim.Adafactor(model.parameters()))
