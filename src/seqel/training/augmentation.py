"""Data augmentation for the learner: random shifts of images."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from seqel.spaces import ObservationSpec
from seqel.types import SequenceBatch

__all__ = ["shift_images"]


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
