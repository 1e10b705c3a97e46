from contextlib import contextmanager

import pytest
import torch

from kdsearch.distill.devices import is_out_of_memory, on_device


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
