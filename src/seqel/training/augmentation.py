"""Data augmentation for the learner: random shifts of images, noise on numbers and images."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from seqel.networks.qnetwork import QNetwork
from seqel.robustness.leaves import numeric_units
from seqel.spaces import ObservationSpec
from seqel.types import SequenceBatch

__all__ = ["add_noise", "shift_images"]


def shift_images(batch: SequenceBatch, spec: ObservationSpec, pixels: int) -> SequenceBatch:
    """Shift the images of each window by up to `pixels` in each direction; border pixels are repeated.

    Yarats et al. 2021, arXiv:2004.13649 (DrQ). Differs: all images of a window get the same shift, so that the motion
    between steps is unchanged.
    """
    observation = dict(batch.observation)
    for leaf in spec.leaves:
        if leaf.kind != "image":
            continue
        x = observation[leaf.path]  # (B, T+1, ...)
        frames = x if leaf.channels_last or x.ndim == 4 else x.movedim(2, -1)
        if frames.ndim == 4:
            frames = frames[..., None]
        rows, steps, height, width, channels = frames.shape
        flat = frames.movedim(-1, 2).reshape(rows, steps * channels, height, width).float()
        padded = F.pad(flat, (pixels,) * 4, mode="replicate").to(x.dtype)
        offset = torch.randint(0, 2 * pixels + 1, (2, rows, 1), device=x.device)
        down = offset[0] + torch.arange(height, device=x.device)  # (B, height)
        right = offset[1] + torch.arange(width, device=x.device)
        index = torch.arange(rows, device=x.device)[:, None, None]
        moved = padded[index, :, down[:, :, None], right[:, None, :]]  # (B, height, width, steps * channels)
        moved = moved.reshape(rows, height, width, steps, channels).movedim(3, 1)  # (B, T+1, height, width, channels)
        if x.ndim == 4:
            moved = moved[..., 0]
        elif not leaf.channels_last:
            moved = moved.movedim(-1, 2)
        observation[leaf.path] = moved.contiguous()
    return dataclasses.replace(batch, observation=observation)


def add_noise(batch: SequenceBatch, network: QNetwork, std: float) -> SequenceBatch:
    """Add Gaussian noise with `std` units of the leaf to numbers and images, independent for each step and number.

    Whole numbers stay whole, and images stay between black and full brightness. Both networks read the same noise.
    """
    observation = dict(batch.observation)
    images = {leaf.path for leaf in network.observation_spec.leaves if leaf.kind == "image"}
    for path, unit in numeric_units(network).items():
        x = observation[path]
        moved = x.float() + std * unit * torch.randn(x.shape, device=x.device)
        if not x.is_floating_point():
            ends = (0.0, float(unit)) if path in images else _range(x.dtype)
            moved = moved.round().clamp(*ends)
        observation[path] = moved.to(x.dtype)
    return dataclasses.replace(batch, observation=observation)


def _range(dtype: torch.dtype) -> tuple[float, float]:
    """The smallest and largest number of a dtype of whole numbers."""
    info = torch.iinfo(dtype)
    return float(info.min), float(info.max)
