"""Chooses the text reader of a run on an environment."""

from __future__ import annotations

import dataclasses

from seqel.agents.agent import Agent
from seqel.environments.probe import Probe
from seqel.spaces.text_readers import TextReader
from seqel.texts.make import make_reader
from seqel.training.config import RunConfig
from seqel.training.sources import Source

__all__ = ["with_text_reader"]


def with_text_reader(
    found: Probe, config: RunConfig, reader: TextReader | None, start: Agent | None, source: Source | None
) -> Probe:
    """Return the probe's result with texts read by `reader`, else as the agent to start from or the recorded data read them,
    else as `config.text` says.

    Raises ConfigError or MissingExtraError as `make_reader`.
    """
    if not found.observation.texts:
        return found
    if reader is None and (start is not None or source is not None):
        spec = start.observation_spec if start is not None else source.observation if source is not None else None
        reader = None if spec is None else spec.text_reader
    elif reader is None:
        reader = make_reader(config.text, () if found.texts is None else found.texts.texts())
    if reader is None:
        return found
    return dataclasses.replace(found, observation=found.observation.with_text_reader(reader))
