"""Which device a trial gets, and what of a launcher's variables counts: several processes are a decision, never an accident."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
import torch
from accelerate.state import AcceleratorState
from running import armada, ended, results, start, train

from armada_cli import Environment, UserError
from armada_cli.devices import check_device, pick_device, pick_trial_device
from armada_cli.execution.assemble import make_accelerator
from armada_cli.launch import Launch, describe_ignored, read_launch, settle_environment
from armada_cli.settings import Train
from armada_cli.training.processes import meet

TOGETHER = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}

LEFT_BEHIND = {
    "torchrun": {"LOCAL_RANK": "0"},
    "torchrun, its rank": {"RANK": "1", "LOCAL_RANK": "1"},
    "torchrun, all but the address": {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
    "torchrun, one process": {**TOGETHER, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
    "an address": {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"},
    "words for numbers": {**TOGETHER, "RANK": "first", "WORLD_SIZE": "two"},
    "a rank too high": {**TOGETHER, "RANK": "2"},
    "Intel MPI": {"PMI_SIZE": "2", "PMI_RANK": "1", "MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "1"},
    "Open MPI": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
    "MVAPICH": {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_LOCAL_RANK": "1"},
    "Slurm": {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "7"},
    "DeepSpeed": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "LOCAL_RANK": "0"},
    "FSDP": {"ACCELERATE_USE_FSDP": "true", "FSDP_SHARDING_STRATEGY": "FULL_SHARD", "FSDP_VERSION": "2"},
    "Megatron": {"ACCELERATE_USE_MEGATRON_LM": "true", "MEGATRON_LM_TP_DEGREE": "2"},
    "SageMaker": {"ACCELERATE_USE_SAGEMAKER": "true", "ACCELERATE_SAGEMAKER_DISTRIBUTED_TYPE": "DATA_PARALLEL"},
    "parallelism": {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"},
    "a device": {"ACCELERATE_TORCH_DEVICE": "meta"},
    "precision": {"ACCELERATE_MIXED_PRECISION": "fp8"},
    "accumulation": {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
    "a compiler": {"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"},
    "checks": {"ACCELERATE_DEBUG_MODE": "1", "ACCELERATE_CPU_AFFINITY": "1"},
    "a notebook": {"FORK_LAUNCHED": "1"},
    "the CPU": {"ACCELERATE_USE_CPU": "true"},
}


@pytest.fixture(autouse=True)
def anew():
    """accelerate keeps its state for the process; each test here, and the next of another file, begins without."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def gpus(monkeypatch) -> None:
    """A machine of two GPUs, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


FLOAT32 = Train(precision="float32")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", "auto"])
def test_a_trial_gets_the_gpu_that_was_asked_for_as_a_teacher_does(gpus, device):
    wanted = torch.device("cuda:0" if device in ("cuda", "auto") else device)
    accelerator = make_accelerator(FLOAT32, Environment(device=device))
    assert accelerator.device == wanted == torch.device(pick_device(Environment(device=device)))
    assert (accelerator.num_processes, accelerator.state.mixed_precision) == (1, "no")
    assert "ACCELERATE_TORCH_DEVICE" not in os.environ


def test_a_trial_gets_the_apple_gpu_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert make_accelerator(FLOAT32, Environment(device="mps")).device == torch.device("mps")


def test_two_trials_of_one_process_may_have_two_devices(gpus):
    devices = ["cuda:1", "cpu", "cuda:0"]
    made = [make_accelerator(FLOAT32, Environment(device=device)).device for device in devices]
    assert made == [torch.device(device) for device in devices]


def test_each_of_several_processes_has_a_gpu_of_its_own(gpus):
    assert [pick_trial_device(Environment(device="cuda"), Launch(rank, 4, rank % 2)) for rank in range(4)] == [
        *("cuda:0", "cuda:1"),
        *("cuda:0", "cuda:1"),
    ]
    with pytest.raises(UserError, match="cuda:1 is one GPU, and 2 processes train together"):
        pick_trial_device(Environment(device="cuda:1"), Launch(0, 2, 0))


def test_a_gpu_that_is_not_there_is_counted(gpus):
    check_device("cuda:1")
    with pytest.raises(UserError, match=r"--device cuda:2: there is no such GPU.*the last is cuda:1"):
        check_device("cuda:2")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda", "torch sees no GPU here"),
        ("cuda:1", "torch sees no GPU here"),
        ("gpu", "no device is called so"),
        ("cuda:one", "no device is called so"),
        ("CUDA", "no device is called so"),
        ("cuda:-1", "no device is called so"),
        ("meta", "no device is called so"),
        ("", "no device is called so"),
    ],
)
@pytest.mark.parametrize("verbs", [["run"], ["features", "build"]])
def test_a_device_that_does_not_exist_is_one_line_before_anything_starts(recipe, tmp_path, verbs, device, words):
    done = armada(*verbs, recipe(), "--runs", tmp_path / "runs", "--device", device)
    assert (done.status, done.out) == (2, "")
    assert words in done.complaint
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("left", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_what_a_launcher_left_in_the_shell_changes_nothing(monkeypatch, left):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    assert read_launch() == Launch()
    accelerator = make_accelerator(FLOAT32, Environment(device="cpu"))
    assert accelerator.device == torch.device("cpu")
    assert accelerator.distributed_type == "NO"
    assert (accelerator.num_processes, accelerator.process_index) == (1, 0)
    assert (accelerator.gradient_accumulation_steps, accelerator.state.mixed_precision) == (1, "no")
    assert dict(os.environ) == before


def test_a_run_trains_and_reports_whatever_was_left_and_says_what_it_ignores(recipe, tmp_path, monkeypatch):
    path = recipe(methods="[undistilled]")
    assert train(path, tmp_path / "plain").status == 0
    for left in LEFT_BEHIND.values():
        for name, value in left.items():
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR")
    done = train(path, tmp_path / "left")
    assert done.status == 0, done.err
    assert "run tiny: 1 trial (1 done)" in done.out
    assert results(tmp_path / "left") == results(tmp_path / "plain")
    assert "ACCELERATE_USE_DEEPSPEED in the environment is ignored" in done.err


def test_several_processes_are_those_that_can_meet():
    assert read_launch(TOGETHER) == Launch(1, 2, 1, "127.0.0.1", 29500)
    assert not read_launch(TOGETHER).leads
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        assert read_launch({key: value for key, value in TOGETHER.items() if key != name}) == Launch()
    (line,) = describe_ignored({**TOGETHER, "MASTER_ADDR": ""})
    assert line == "WORLD_SIZE=2 in the environment, but MASTER_ADDR is not set; this run has one process"
    assert list(describe_ignored(TOGETHER)) == []


def test_several_processes_keep_what_they_need_to_meet(monkeypatch):
    for name, value in {**TOGETHER, "PMI_SIZE": "4", "ACCELERATE_USE_FSDP": "true"}.items():
        monkeypatch.setenv(name, value)
    with settle_environment() as launch:
        assert launch.several
        assert {name: os.environ.get(name) for name in TOGETHER} == TOGETHER
        assert not {"PMI_SIZE", "ACCELERATE_USE_FSDP"} & set(os.environ)
    assert os.environ["PMI_SIZE"] == "4"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("rank", "words"), [(0, "1 of 2 processes did not come"), (1, "nobody answers at 127.0.0.1")])
def test_a_process_whose_others_do_not_come_says_so_after_a_while(monkeypatch, rank, words):
    monkeypatch.setenv("ARMADA_MEET_SECONDS", "0.3")
    with pytest.raises(UserError, match=f"WORLD_SIZE=2, and after 0.3 s {words}.*unset WORLD_SIZE"):
        meet(Launch(rank, 2, rank, "127.0.0.1", free_port()), "cpu")


def test_an_address_that_somebody_else_has_is_one_line(monkeypatch):
    monkeypatch.setenv("ARMADA_MEET_SECONDS", "1")
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        with pytest.raises(UserError, match="cannot be used to meet 2 processes"):
            meet(Launch(0, 2, 0, "127.0.0.1", int(other.getsockname()[1])), "cpu")


@pytest.mark.parametrize("rank", [0, 1])
def test_the_wait_for_others_ends_with_sigterm(recipe, tmp_path, rank):
    variables = {**TOGETHER, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(free_port())}
    process = start("run", recipe(methods="[undistilled]"), "--runs", tmp_path / "runs", **variables)
    said = process.stderr.readline()
    assert "waits for 120 s at most" in said, said
    assert "unset WORLD_SIZE" in said
    process.terminate()
    begun = time.monotonic()
    assert ended(process, 20).status == -signal.SIGTERM
    assert time.monotonic() - begun < 10
    assert not list(tmp_path.glob("runs/trials/*"))


def test_two_processes_meet_and_train_together(recipe, tmp_path):
    """Started by hand, as mpirun or a batch script would: the second comes later."""
    path, port = recipe(methods="[undistilled]"), str(free_port())
    pair = [
        start("run", path, "--runs", tmp_path / "runs", **{**TOGETHER, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port})
        for rank in ("1", "0")
    ]
    second, first = (ended(process) for process in pair)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "run tiny: 1 trial (1 done)" in first.out
    assert second.out == ""
    assert len(results(tmp_path / "runs")) == 1
