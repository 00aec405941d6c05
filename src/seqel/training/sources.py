"""Opens recorded data that a user names: tables with a schema, a Minari dataset's id, or a dataset in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from seqel.agents.matching import require_equal_spaces
from seqel.errors import ConfigError
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.text_readers import TextReader
from seqel.texts.config import TextConfig

if TYPE_CHECKING:
    from seqel.agents.agent import Agent

__all__ = [
    "Data",
    "Source",
    "action_names",
    "described",
    "episodes_to_learn",
    "open_source",
    "reencode_for_agent",
    "require_same_spaces",
    "source_names",
]


class Source(Protocol):
    """Recorded episodes with their spaces."""

    @property
    def buffer(self) -> EpisodeBuffer:
        """Every recorded episode."""
        ...

    @property
    def observation(self) -> ObservationSpec:
        """The observation space."""
        ...

    @property
    def action(self) -> ActionSpec:
        """The action space."""
        ...

    def split(self, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the training episodes and of the held-out episodes, each (N,)."""
        ...


Data = str | Path | Sequence[str | Path] | Source


def source_names(data: Data) -> tuple[str, ...] | None:
    """Return the files (or the id) as a config holds them; None for a dataset in memory."""
    if isinstance(data, str | Path):
        return (str(data),)
    if isinstance(data, Sequence):
        return tuple(str(one) for one in data)
    return None


def open_source(
    data: Data, schema: str | Path | dict[str, Any] | None, text: TextConfig | TextReader | None = None
) -> Source:
    """Read `data`, or return it if it is in memory. `schema`: the TOML file, or the schema that an agent has kept.

    text: how text columns are read: settings, or an agent's reader; None: as hashed trigrams.

    Raises:
        ConfigError: tables without a schema, or a schema for a Minari dataset. DataError: the data are invalid.
        MissingExtraError: the extra `data` is not installed.
    """
    files = source_names(data)
    if files is None:
        return cast(Source, data)
    if isinstance(text, TextConfig) and text.classes:
        raise ConfigError(
            "text.classes: expected an environment, which knows the classes of some texts, and no files of recorded data; "
            "pass recorded episodes in memory (`InMemoryDataset`), or leave out text.classes"
        )
    if not files:
        raise ConfigError("data: expected at least one file, or a Minari dataset's id")
    if len(files) == 1 and not Path(files[0]).exists() and not Path(files[0]).suffix:
        from seqel.datasets.minari import load_minari

        if schema:
            raise ConfigError(f"schema: {files[0]!r} is a Minari dataset, which describes itself; leave out the schema")
        return load_minari(files[0])
    if not schema:
        raise ConfigError(
            f"schema: expected the TOML file that describes the columns; `seqel data check {files[0]} --write "
            "schema.toml` proposes one"
        )
    from seqel.datasets.dataset import load
    from seqel.datasets.schema import Schema

    described = Schema.from_json(schema) if isinstance(schema, dict) else Schema.load(Path(schema))
    return load(list(files), described, text=text)


def described(source: Source) -> dict[str, Any]:
    """Return what an agent keeps about its training data: vocabularies, names of actions. Empty if there are none."""
    encoding = getattr(source, "encoding", None)
    return {} if encoding is None else {"encoding": encoding.to_json()}


def action_names(action: ActionSpec, source: Source | None = None) -> list[str]:
    """Return the names of the actions from a table; without one, their numbers.

    Raises ConfigError: there are several action dimensions, whose actions no single list of features describes.
    """
    if action.dims > 1:
        raise ConfigError(
            f"action features describe the actions of one dimension, and there are {action.dims}: leave "
            "offline.action_features out"
        )
    encoding = getattr(source, "encoding", None)
    if encoding is not None:
        return list(encoding.actions)
    return [str(code) for code in range(action.start[0], action.start[0] + action.sizes[0])]


def reencode_for_agent(source: Source, encoding: dict[str, Any]) -> Source:
    """Re-encode a table in the codes of an agent's `described` encoding. Raises DataError if they do not fit."""
    from seqel.datasets.dataset import Dataset
    from seqel.datasets.encoding import Encoding
    from seqel.datasets.reencode import reencode
    from seqel.errors import DataError

    if not isinstance(source, Dataset):
        raise DataError("expected a table, because the agent was trained on one; got other data")
    return reencode(source, Encoding.from_json(encoding))


def require_same_spaces(
    what: str, given: Any, observation: ObservationSpec, action: ActionSpec, whose: str = "the environment's spaces"
) -> None:
    """Raise SpaceError unless `given` (an agent, or data) has these spaces, the environment's unless `whose` says else."""
    of_agent = hasattr(given, "observation_spec")
    spaces = (given.observation_spec, given.action_spec) if of_agent else (given.observation, given.action)
    require_equal_spaces(what, spaces, whose, (observation, action))


def episodes_to_learn(source: Source, initial_agent: Agent | None) -> EpisodeBuffer:
    """Return the recorded episodes without those that were held out when `initial_agent` was trained on them."""
    held = None if initial_agent is None else initial_agent.info.get("held_out")
    if held is None:
        return source.buffer
    return source.buffer.subset(source.split(held["share"], held["seed"])[0])
