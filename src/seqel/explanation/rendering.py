"""Records the rendered frames of an episode, and the texts of its observations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from seqel.environments.resolve import EnvMaker, registered, resolve
from seqel.errors import SeqelError
from seqel.explanation.trace import LONGEST, EpisodeTrace, record_episode

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = ["FrameRecorder", "RenderedEpisode", "render_episode"]

MODES = ("rgb_array", "ansi")  # in the order of preference
Shown = NDArray[np.uint8] | str | None  # a picture (height, width, 3), or lines of text


@dataclass(frozen=True, slots=True)
class RenderedEpisode:
    """An episode with its frames and texts."""

    trace: EpisodeTrace
    frames: list[Shown]  # one for each observation
    texts: dict[str, dict[int, str]]  # by leaf and step
    action_names: tuple[str, ...] | None  # if the environment says them


class FrameRecorder(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that keeps its frames and texts, one for each observation since the last reset."""

    def __init__(self, env: gym.Env[Any, Any], agent: Agent) -> None:
        super().__init__(env)
        self.leaves = agent.observation_spec.texts
        self.frames: list[Shown] = []
        self.texts: dict[str, dict[int, str]] = {}

    def reset(self, **options: Any) -> Any:
        """Reset, and forget what was kept."""
        observation, info = self.env.reset(**options)
        self.frames, self.texts = [], {leaf.path: {} for leaf in self.leaves}
        self._keep(observation)
        return observation, info

    def step(self, action: Any) -> Any:
        """Take a step, and keep what it shows."""
        found = self.env.step(action)
        self._keep(found[0])
        return found

    def _keep(self, observation: Any) -> None:
        for leaf in self.leaves:
            text = leaf.pick(observation)
            if isinstance(text, str):
                self.texts[leaf.path][len(self.frames)] = text
        self.frames.append(_frame(self.env.render()) if self.env.render_mode in MODES else None)


def render_episode(agent: Agent, env: str | EnvMaker, seed: int = 0, limit: int = LONGEST) -> RenderedEpisode:
    """Play one greedy episode as `record_episode` does, and keep frames and texts.

    Frames are those of the render mode "rgb_array" if the environment has it, else of "ansi", else None.

    Raises as `record_episode` does.
    """
    make = _rendering(resolve(env))
    recorders: list[FrameRecorder] = []

    def make_recorded() -> gym.Env[Any, Any]:
        recorders.append(FrameRecorder(make(), agent))
        return recorders[-1]

    trace = record_episode(agent, make_recorded, seed, limit)
    recorder = recorders[-1]
    return RenderedEpisode(trace, recorder.frames, recorder.texts, _action_names(recorder))


def _action_names(env: gym.Env[Any, Any]) -> tuple[str, ...] | None:
    """Return the names of the actions: `metadata["action_names"]`, an Atari game's meanings, or MiniGrid's enumeration."""
    count = getattr(env.action_space, "n", None)
    own: Any = env.unwrapped
    names: Any = (env.metadata or {}).get("action_names")
    if names is None and callable(getattr(own, "get_action_meanings", None)):
        names = own.get_action_meanings()
    if names is None:
        actions = getattr(own, "actions", None)
        if isinstance(actions, type) and issubclass(actions, Enum):
            names = [one.name for one in actions]
    if count is None or not isinstance(names, list | tuple) or len(names) < count:
        return None
    return tuple(str(name).lower() for name in names[: int(count)])


def _rendering(make: EnvMaker) -> EnvMaker:
    """Return a maker of the same environment with a render mode, if it has one of `MODES`."""
    try:
        env = make()
    except Exception:  # noqa: BLE001  (the caller makes it again, and reports the error)
        return make
    modes = (env.metadata or {}).get("render_modes") or ()
    env.close()
    for mode in MODES:
        if mode not in modes:
            continue
        name, arguments = registered(make)
        other = (
            resolve(name, **{**arguments, "render_mode": mode})
            if name
            else partial(cast("Any", make), render_mode=mode)
        )
        try:
            env = other()
            env.reset(seed=0)
            works = _frame(env.render()) is not None
            env.close()
        except (SeqelError, TypeError, ValueError, ImportError, OSError, RuntimeError, gym.error.Error):
            continue  # it cannot draw here: some need a display, or a library that is not installed
        if works:
            return other
    return make


def _frame(shown: Any) -> Shown:
    if isinstance(shown, str):
        return shown
    picture = np.asarray(shown)
    if picture.ndim == 3 and picture.shape[2] in (3, 4) and picture.dtype == np.uint8:
        return np.ascontiguousarray(picture[..., :3])
    return None
