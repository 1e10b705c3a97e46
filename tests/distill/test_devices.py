from contextlib import contextmanager

import pytest
import torch

from kdsearch.distill.devices import chosen_device, is_out_of_memory, on_device
from kdsearch.errors import RequestError


@pytest.fixture
def current(monkeypatch):
    """Stand for CUDA: note which device is the current one."""
    devices = []

    @contextmanager
    def device(chosen):
        devices.append(chosen)
        yield
        devices.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    return devices


def test_on_a_gpu_it_is_current_and_repeats_itself_until_the_end(current):
    second, found = torch.device("cuda:1"), []

    def fail():
        with on_device(second):
            found.extend([*current, torch.backends.cudnn.deterministic])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [second, True]
    assert not torch.backends.cudnn.deterministic


def test_on_a_cpu_nothing_changes(current):
    with on_device(torch.device("cpu")):
        assert current == []
        assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_unless_a_device_is_named_it_is_a_gpu_where_there_is_one(monkeypatch, has_cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert chosen_device(None) == torch.device(expected)
    assert chosen_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="`device` must be one that this machine has, got 'cuda:1': torch"):
        chosen_device("cuda:1")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("CUDA error: out of memory"), False),
    ],
)
def test_memory_runs_out_in_several_words(error, expected):
    assert is_out_of_memory(error) is expected
