"""Chooses the device that a run uses."""

from __future__ import annotations

import torch

from seqel.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """Return the torch device of this name. "auto": a GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: the device is unknown or not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device: expected auto, cpu or an available device, got {name!r} ({error})") from error
    return device
