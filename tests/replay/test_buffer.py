"""The replay against a naive list of episodes; saving and restoring; memory use."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqel.errors import CheckpointError, StorageError
from seqel.replay.buffer import Replay
from seqel.types import Episode, SequenceBatch

ACTIONS, DIMS = 5, 2
LEAVES: dict[str, tuple[tuple[int, ...], Any]] = {
    "pixels": ((2, 3), np.dtype(np.uint8)),
    "place": ((), np.dtype(np.float32)),
}
GAMMA = 0.9


def episode(length: int, rng: np.random.Generator, *, masked: bool = True, start: int = 0, **fields: Any) -> Episode:
    segment: dict[str, Any] = {
        "previous_action": rng.integers(0, ACTIONS, DIMS),
        "previous_reward": float(rng.normal()),
    }
    return Episode(
        observation={
            "pixels": rng.integers(0, 256, (length + 1, 2, 3), dtype=np.uint8),
            "place": rng.normal(size=length + 1).astype(np.float32),
        },
        action=rng.integers(0, ACTIONS, (length, DIMS)),
        reward=rng.normal(size=length).astype(np.float32),
        by_agent=rng.random(length) < 0.8 if rng.random() < 0.5 else None,
        action_mask=rng.random((length + 1, DIMS, ACTIONS)) < 0.7 if masked else None,
        first_visit=rng.integers(-1, 1_000, length).astype(np.int32) if rng.random() < 0.5 else None,
        start_step=start,
        **(segment if start else {}),
        **fields,
    )


def replay(capacity: int = 200, masked: bool = True) -> Replay:
    return Replay(LEAVES, capacity, actions=ACTIONS, action_dims=DIMS, masked=masked)


def draw(memory: Replay, batch: int, window: int, context: int, seed: int = 0, pad_to: int | None = None) -> Any:
    rng = np.random.default_rng(seed)
    return memory.sample(batch, window=window, context=context, discount=GAMMA, rng=rng, pad_to=pad_to)


def naive_window(ep: Episode, offset: int, window: int, context: int, steps: int) -> dict[str, Any]:
    """One window, worked out step by step from the episode itself."""
    length = min(len(ep), window)
    begin = ep.start_step + offset
    out: dict[str, Any] = {name: [] for name in ("action", "reward", "discount", "valid", "loss_mask", "first_visit")}
    for t in range(steps):
        real, i = t < length, offset + t
        out["valid"].append(real)
        out["action"].append(ep.action[i] if real else np.zeros(DIMS, int))
        out["reward"].append(ep.reward[i] if real else 0.0)
        final = ep.terminated and i == len(ep) - 1
        out["discount"].append(np.float32(GAMMA) if real and not final else 0.0)
        out["first_visit"].append(ep.first_visit[i] if real and ep.first_visit is not None else -1)
        own = real and (ep.by_agent is None or bool(ep.by_agent[i]))
        out["loss_mask"].append(own and (begin == 0 or t >= context))
    at = [offset + min(t, length) for t in range(steps + 1)]
    out |= {name: [leaf[i] for i in at] for name, leaf in ep.observation.items()}
    out["action_mask"] = None if ep.action_mask is None else [ep.action_mask[i] for i in at]
    out["is_first"] = [begin == 0] + [False] * steps
    out["start_step"] = begin
    out["previous_action"] = ep.action[offset - 1] if offset else np.zeros(DIMS, int)
    out["previous_reward"] = ep.reward[offset - 1] if offset else 0.0
    if not offset and ep.previous_action is not None:
        out["previous_action"], out["previous_reward"] = ep.previous_action, np.float32(ep.previous_reward)
    return out


def same_batches(one: SequenceBatch, two: SequenceBatch) -> bool:
    for name in SequenceBatch.__dataclass_fields__:
        a, b = getattr(one, name), getattr(two, name)
        if isinstance(a, dict):
            if not all(torch.equal(a[key], b[key]) for key in a):
                return False
        elif isinstance(a, torch.Tensor):
            if a.dtype != b.dtype or not np.array_equal(a.numpy(), b.numpy(), equal_nan=a.is_floating_point()):
                return False
        elif a != b:
            return False
    return True


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_same_content_as_a_list_of_episodes(seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    memory, kept, added = replay(200, masked), {}, 0
    shapes = set()
    for _ in range(120):
        start = int(rng.integers(1, 50)) if rng.random() < 0.3 else 0
        ends = {"terminated": bool(rng.random() < 0.5), "truncated": bool(rng.random() < 0.5)}
        length = int(rng.integers(1, 60)) if rng.random() < 0.95 else 199
        ep = episode(length, rng, masked=masked, start=start, **ends)
        kept[added] = ep
        assert memory.add(ep) == added
        added += 1
        while sum(len(old) + 1 for old in kept.values()) > 200:
            del kept[min(kept)]
        assert len(memory) == sum(map(len, kept.values()))
        assert memory.episodes == len(kept)
        window, context = ((12, 5), (12, 0), (40, 20))[rng.integers(3)]
        if all(old.start_step and len(old) <= context for old in kept.values()):
            continue
        pad_to = None if rng.random() < 0.7 else window + int(rng.integers(0, 6))
        batch = draw(memory, 16, window, context, seed=added, pad_to=pad_to)
        assert batch.episode_index is not None
        assert batch.weight is None
        steps = batch.reward.shape[1]
        assert steps == (pad_to or max(min(window, len(kept[int(i)])) for i in batch.episode_index))
        assert batch.num_learned == int(batch.loss_mask.sum())
        for b in range(16):
            chosen = kept[int(batch.episode_index[b])]
            offset = int(batch.start_step[b]) - chosen.start_step
            assert 0 <= offset <= max(len(chosen) - window, 0)
            shapes.add((offset > 0, chosen.start_step > 0, len(chosen) < steps))
            for name, want in naive_window(chosen, offset, window, context, steps).items():
                got = batch.observation[name] if name in LEAVES else getattr(batch, name)
                if want is None:
                    assert got is None
                else:
                    np.testing.assert_array_equal(got[b].numpy(), np.array(want), err_msg=name)
    # inside or not, segment or not, padded or not: every combination occurred
    assert shapes >= {(i, s, p) for i in (False, True) for s in (False, True) for p in (False, True) if not (i and p)}


def test_dtypes_and_shapes() -> None:
    memory = replay()
    memory.add(episode(30, np.random.default_rng(0)))
    batch = draw(memory, 4, 10, 5)
    assert batch.observation["pixels"].dtype == torch.uint8
    assert batch.observation["pixels"].shape == (4, 11, 2, 3)
    assert batch.observation["place"].dtype == torch.float32
    assert batch.observation["place"].shape == (4, 11)
    assert batch.action.dtype == torch.int64
    assert batch.action.shape == (4, 10, DIMS)
    for name in ("reward", "discount"):
        assert (getattr(batch, name).dtype, getattr(batch, name).shape) == (torch.float32, (4, 10)), name
    assert (batch.first_visit.dtype, batch.first_visit.shape) == (torch.int32, (4, 10))
    for name in ("valid", "loss_mask"):
        assert (getattr(batch, name).dtype, getattr(batch, name).shape) == (torch.bool, (4, 10)), name
    assert batch.is_first.dtype == torch.bool
    assert batch.is_first.shape == (4, 11)
    assert batch.action_mask.dtype == torch.bool
    assert batch.action_mask.shape == (4, 11, DIMS, ACTIONS)
    assert batch.start_step.dtype == batch.episode_index.dtype == batch.previous_action.dtype == torch.int64
    assert batch.previous_reward.dtype == torch.float32
    assert batch.previous_action.shape == (4, DIMS)
    tensors = [*batch.observation.values(), *(getattr(batch, n) for n in ("action", "reward", "loss_mask", "discount"))]
    assert all(t.is_contiguous() for t in tensors)


def test_draws_stay_correct_between_adds_and_changes_of_window() -> None:
    """The incremental running sum equals one computed from scratch, after any sequence of operations."""
    rng = np.random.default_rng(3)
    memory = replay(300)
    for n in range(400):
        memory.add(episode(int(rng.integers(1, 40)), rng, start=int(rng.integers(0, 2))))
        if n % int(rng.integers(1, 5)) == 0:
            window, context = ((10, 4), (20, 10))[int(rng.integers(2))]
            fresh = replay(300)
            fresh.load_state_dict(memory.state_dict())
            assert same_batches(draw(memory, 8, window, context, n), draw(fresh, 8, window, context, n))


def test_save_and_restore_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    memory = replay(150)
    for n in range(30):
        memory.add(episode(int(rng.integers(1, 40)), rng, start=n % 3, terminated=n % 2 == 0))
    state = memory.state_dict()
    assert all(isinstance(value, np.ndarray | int) for value in state.values())
    assert len(state["step/reward"]) == len(memory) + memory.episodes  # type: ignore[arg-type]
    held = {name: np.array(value) for name, value in state.items()}
    twin = replay(150)
    twin.add(episode(20, rng))  # forgotten by the restore
    twin.load_state_dict(state)
    for n in range(60):
        assert (len(twin), twin.episodes) == (len(memory), memory.episodes)
        assert same_batches(draw(memory, 8, 12, 5, n, pad_to=15), draw(twin, 8, 12, 5, n, pad_to=15))
        new = episode(int(rng.integers(1, 60)), rng, start=n % 2)
        assert memory.add(new) == twin.add(new)
    for name, value in held.items():
        np.testing.assert_array_equal(np.array(state[name]), value)  # a copy: later adds leave it alone

    empty, loaded = replay(150), replay(150)
    loaded.load_state_dict(empty.state_dict())
    assert len(loaded) == loaded.episodes == 0


def test_a_replay_of_another_capacity_can_restore_a_state() -> None:
    rng = np.random.default_rng(6)
    memory, larger, smaller = replay(60), replay(200), replay(59)
    for length in (20, 25, 30):  # wraps around the end
        memory.add(episode(length, rng))
    larger.load_state_dict(memory.state_dict())
    assert same_batches(draw(memory, 8, 12, 5), draw(larger, 8, 12, 5))
    for length in (40, 40):
        larger.add(episode(length, rng))
    assert larger.episodes == 4, "what is added goes behind what was there"
    smaller.load_state_dict(memory.state_dict())
    assert same_batches(draw(memory, 8, 12, 5), draw(smaller, 8, 12, 5))
    with pytest.raises(CheckpointError, match="episodes that take 2 to 30 slots"):
        replay(30).load_state_dict(memory.state_dict())


def test_a_wrong_state_is_refused_and_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    memory, other = replay(150), replay(150)
    memory.add(episode(20, rng))
    other.add(episode(9, rng))
    good = other.state_dict()
    before = draw(memory, 4, 12, 5)
    bad: list[dict[str, Any]] = [
        {**good, "capacity": 1},
        {**good, "actions": 4},
        {name: value for name, value in good.items() if name != "step/by_agent"},
        {**good, "extra": 1},
        {**good, "step/reward": good["step/reward"][:-1]},  # type: ignore[index]
        {**good, "step/observation/pixels": good["step/observation/pixels"].astype(np.float32)},  # type: ignore[union-attr]
        {**good, "episodes": good["episodes"][:, :-1]},  # type: ignore[index]
        {**good, "previous_reward": np.zeros(2, np.float32)},
    ]
    for state in bad:
        with pytest.raises(CheckpointError, match="expected"):
            memory.load_state_dict(state)
        assert same_batches(draw(memory, 4, 12, 5), before)


def test_next_observations_are_stored_once() -> None:
    memory = Replay({"observation": ((84, 84), np.dtype(np.uint8))}, 1000, actions=6)
    assert memory.nbytes < 1000 * (84 * 84 + 16) + 10_000  # one frame and a few bytes per slot, not two frames
    memory.add(
        Episode({"observation": np.zeros((500, 84, 84), np.uint8)}, np.zeros((499, 1), int), np.zeros(499, np.float32))
    )
    small, rng = replay(21, masked=False), np.random.default_rng(0)
    small.add(episode(9, rng, masked=False))
    small.add(episode(10, rng, masked=False))  # 10 + 11 slots fill it exactly: both stay
    assert small.episodes == 2
    assert len(small) == 19
    small.add(episode(1, rng, masked=False))  # one slot too few: the oldest goes, whole
    assert small.episodes == 2
    assert len(small) == 11
    assert "11 transitions of 2 episodes" in repr(small)
    state = memory.state_dict()
    assert state["step/observation/observation"].shape == (500, 84, 84)  # type: ignore[union-attr]


def test_a_replay_in_files_behaves_the_same_and_leaves_no_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside = replay(200)
    outside = Replay(LEAVES, 200, actions=ACTIONS, action_dims=DIMS, masked=True, directory=tmp_path / "scratch")
    for _ in range(60):
        ep = episode(int(rng.integers(1, 30)), rng)
        assert inside.add(ep) == outside.add(ep)
    for seed in range(5):
        one, two = (draw(memory, 9, 12, 5, seed) for memory in (inside, outside))
        for name, leaf in one.observation.items():
            assert torch.equal(leaf, two.observation[name])
        assert torch.equal(one.reward, two.reward) and torch.equal(one.loss_mask, two.loss_mask)
    again = replay(200)
    again.load_state_dict(outside.state_dict())
    assert torch.equal(draw(again, 9, 12, 5).reward, draw(outside, 9, 12, 5).reward)
    assert isinstance(outside._slots.columns["reward"], np.memmap)
    assert list((tmp_path / "scratch").iterdir()) == []  # an unlinked file is removed when the process ends


def test_a_full_disk_is_reported_before_anything_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageError, match="No space left"):
        Replay({"x": ((1024,), np.dtype(np.float32))}, 1_000, actions=2, directory=tmp_path)
    assert asked == [1024 * 4 * 1_000]
    assert list(tmp_path.iterdir()) == []
