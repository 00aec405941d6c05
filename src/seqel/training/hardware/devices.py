"""The device a run works on."""

from __future__ import annotations

import torch

from seqel.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """ "auto": a GPU when there is one.

    Raises:
        ConfigError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: expected auto, cpu or a device that is there, got {name!r} ({error})") from error
    return device
