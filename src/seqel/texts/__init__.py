"""Reads texts in observations: as codes or vectors, by a vocabulary, a pretrained model, a function or classes.

config        the settings
make          a reader from settings, or from what an agent has stored
tokens        a vocabulary of byte pairs, learned from the run's own texts
subwords      the codes of a pretrained model's tokenizer, for a model that is trained
pretrained    the vectors of a frozen pretrained model
embeddings    vectors of any encoder that is not trained
classes       log-probabilities of classes, read from such vectors
logistic_regression  what classifies the vectors
cache         vectors on the disk
remembering   arrays of the latest texts in memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.texts.classes import LabelledTexts

__all__ = ["LabelledTexts"]

__getattr__, __dir__ = lazy.attach(__name__, {"LabelledTexts": "seqel.texts.classes"})
