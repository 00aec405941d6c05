"""Chooses the text reader of a run on an environment."""

from __future__ import annotations

import dataclasses

from seqel.agents.agent import Agent
from seqel.environments.probe import Probe
from seqel.errors import ConfigError
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
    if reader is None and start is not None:
        reader = start.observation_spec.text_reader
        if reader is None and config.text.encoder != "hashed":
            raise ConfigError(
                f"text.encoder = {config.text.encoder!r}: the agent to start from reads texts as hashed trigrams, and a "
                "further run reads them as it does; leave out text.encoder, or train without `start`"
            )
    elif reader is None and source is not None:
        reader = source.observation.text_reader
    elif reader is None:
        reader = make_reader(config.text, () if found.texts is None else found.texts.texts())
    if reader is None:
        return found
    return dataclasses.replace(found, observation=found.observation.with_text_reader(reader))
