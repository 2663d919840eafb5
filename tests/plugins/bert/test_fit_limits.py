import pytest
import torch
from router_sdk_bert.finetuning.devices import (
    Room,
    autocast,
    choose_device,
    choose_precision,
    is_out_of_memory,
    limit_gpu,
    limited_threads,
    resident_mb,
    seeded,
)

from router_sdk.plugin import FitError


def work(room, most, seen):
    """Some work for which there is room up to a size on a device."""

    def attempt():
        seen.append((room.device, room.size))
        if room.size > most.get(room.device, 0):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return room.size

    return attempt


def test_batches_are_halved_until_they_fit():
    seen, room = [], Room("cpu", 8)
    assert room.attempt(work(room, {"cpu": 2}, seen)) == 2
    assert seen == [("cpu", 8), ("cpu", 4), ("cpu", 2)]
    assert room.size == 2, "the next step does not try in vain"


def test_after_the_gpu_comes_the_cpu():
    moved, seen = [], []
    room = Room("cuda:9", 2, moved.append)
    assert room.attempt(work(room, {"cpu": 2}, seen)) == 2
    assert seen == [("cuda:9", 2), ("cuda:9", 1), ("cpu", 2)]
    assert moved == ["cpu"]


def test_after_the_cpu_comes_a_clean_failure():
    room = Room("cuda", 2)
    with pytest.raises(FitError, match="out of memory"):
        room.attempt(work(room, {}, []))


def test_other_errors_are_nobodys_lack_of_memory():
    def fail():
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Room("cpu", 8).attempt(fail)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("something else"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_in_many_ways(error, expected):
    assert is_out_of_memory(error) == expected


def test_the_process_may_be_kept_small():
    assert 10 < resident_mb() < 1_000_000
    with pytest.raises(FitError, match="are resident, 1 are allowed"):
        Room("cpu", 4, host_limit_mb=1).attempt(lambda: None)
    assert Room("cpu", 4, host_limit_mb=1_000_000).attempt(lambda: 3) == 3


def test_a_device_that_is_not_there_is_an_error():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(FitError, match="cannot be used"):
        choose_device("cuda:99")


def test_a_limit_on_the_gpu_needs_one():
    limit_gpu("cpu", 0.5)


def test_a_cpu_computes_in_single_precision_unless_told_otherwise():
    assert choose_precision("auto", "cpu") is None
    assert choose_precision("bf16", "cpu") == torch.bfloat16
    with autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with autocast("cpu", None):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_threads_and_generators_are_put_back():
    before = torch.get_num_threads(), torch.random.get_rng_state()
    with limited_threads(1), seeded(1, 2):
        first = torch.rand(3)
    with seeded(1, 2):
        assert torch.equal(first, torch.rand(3))
    with seeded(1, 3):
        assert not torch.equal(first, torch.rand(3))
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
