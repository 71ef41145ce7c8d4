"""Where and in what number format the model computes."""

from contextlib import AbstractContextManager

import torch

from reid.config import RunConfig, ScalingConfig


def choose_device(scaling: ScalingConfig) -> torch.device:
    """Where this process computes when no cluster has given it a device: a GPU if there is one and it is wanted."""
    return torch.device("cuda" if torch.cuda.is_available() and scaling.accelerator != "cpu" else "cpu")


def resolve_precision(config: RunConfig, device: torch.device) -> torch.dtype:
    """The compute type for `precision`; `auto` is bf16 where the hardware multiplies bf16 natively, else fp32.

    Raises:
        ValueError: bf16 was asked of a device that lacks it; a processor would emulate it hundreds of times slower.
    """
    if config.precision == "fp32":
        return torch.float32
    native = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    )
    if config.precision == "bf16" and not native:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this processor"
        raise ValueError(f"precision: {name} has no bf16; set precision=fp32 or auto")
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
