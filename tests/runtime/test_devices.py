"""Which precision a device computes in."""

from types import SimpleNamespace

import pytest
import torch

from fsft.runtime.devices import resolve_precision


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16")], ids=["T4", "A100"])
def test_bf16_is_taken_only_where_the_gpu_has_it(monkeypatch, capability, expected):
    """PyTorch calls bf16 supported on a T4, where it emulates it."""
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert torch.cuda.is_bf16_supported()
    assert resolve_precision("auto", torch.device("cuda")) == expected


def test_fp16_is_not_offered():
    with pytest.raises(ValueError, match=r"expected precision to be one of .*, found 'fp16'"):
        resolve_precision("fp16", torch.device("cuda"))
