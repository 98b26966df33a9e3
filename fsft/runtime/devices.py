"""Which device computes, in which precision, and that it computes the same bits every time."""

import os

import torch

PRECISIONS = ("auto", "bf16", "fp32")


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device of that name, None taking the GPU if there is one; ValueError where there is none such here."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device is None:
        return torch.device("cuda" if gpus else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"expected a device such as cpu, cuda or cuda:1, found {str(device)!r}") from None
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"expected cpu or cuda, which this package is tested on, found {str(device)!r}: try cpu")
    if found.type == "cuda" and (found.index or 0) >= gpus:
        raise ValueError(f"expected one of the {gpus} GPUs that PyTorch sees here, found {str(device)!r}: try cpu")
    return found


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` becomes ``bf16`` where the device computes in it natively, else ``fp32``."""
    if precision not in PRECISIONS:
        raise ValueError(f"expected precision to be one of {PRECISIONS}, found {precision!r}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Asked in this order: where PyTorch was built without MKLDNN, as it may be on a Mac, there is no such operator.
    fast = (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return "bf16" if fast else "fp32"


def make_deterministic(device: torch.device) -> None:
    """Choose kernels that give the same bits every time; the CPU's do so anyway for a fixed number of threads.

    And let ``fp32`` mean it: by default PyTorch computes float32 convolutions in TF32 where the GPU has it.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False


def memory_full(error: Exception) -> MemoryError | None:
    """What to say of an error by which Python, NumPy or PyTorch tell that memory is full; None if it is another."""
    if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "you tried to allocate" in str(error)):
        return None
    why = (str(error).splitlines() or ["no more to be had"])[0]
    return MemoryError(
        f"expected memory for this, found too little ({why}): close other programs, or choose fewer or smaller images, "
        "a smaller network, or less at a time"
    )
