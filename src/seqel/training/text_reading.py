"""Chooses the text reader of a run on an environment."""

from __future__ import annotations

import dataclasses

from seqel.agents.agent import Agent
from seqel.environments.probe import Probe
from seqel.errors import ConfigError
from seqel.spaces.text_readers import TextReader
from seqel.texts.classes import ClassReader, fit_classes
from seqel.texts.make import make_reader
from seqel.training.config import RunConfig
from seqel.training.sources import Source

__all__ = ["with_text_reader"]


def with_text_reader(
    probed: Probe, config: RunConfig, reader: TextReader | None, initial_agent: Agent | None, source: Source | None
) -> Probe:
    """Return the probe's result with texts read by `reader`, else as the agent to start from or the recorded data read them,
    else as `config.text` says. With `text.classes`, a classifier is fitted on what a new reader makes of the texts.

    Raises ConfigError or MissingExtraError as `make_reader`, and ConfigError if nothing is known of the classes of texts.
    """
    if not probed.observation.texts:
        return probed
    if reader is None and initial_agent is not None:
        reader = initial_agent.observation_spec.text_reader
        if reader is None and config.text.encoder != "hashed":
            raise ConfigError(
                f"text.encoder = {config.text.encoder!r}: the agent to start from reads texts as hashed trigrams, and a "
                "further run reads them as it does; leave out text.encoder, or train without `init_from`"
            )
    elif reader is None and source is not None:
        reader = source.observation.text_reader
    elif reader is None:
        reader = make_reader(config.text, () if probed.texts is None else probed.texts.texts())
    if reader is None:
        return probed
    if config.text.classes and not isinstance(reader, ClassReader):
        if initial_agent is not None:
            raise ConfigError(
                f"text.classes: the agent to start from reads {reader.reads}, and a further run reads texts as it does; "
                "leave out text.classes, or train without `init_from`"
            )
        if probed.labelled is None:
            raise ConfigError(
                "text.classes: expected an environment that knows the classes of some texts (a method labelled_texts(), "
                "which returns seqel.texts.LabelledTexts), got one without it"
            )
        reader = fit_classes(reader, probed.labelled())
    return dataclasses.replace(probed, observation=probed.observation.with_text_reader(reader))
