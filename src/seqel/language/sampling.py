"""Texts that an agent writes to learn values from, with their rewards, kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError
from seqel.integrity import read_sealed, sealed_line
from seqel.language.decoding import Written, write
from seqel.language.episodes import Reward, Sample, reward_of
from seqel.language.tokenizer import Tokenizer
from seqel.storage import atomic_write

__all__ = ["DIALS", "Sampling", "by_token", "compared", "returns_of", "stored_samples"]

Tell = Callable[[float, str], None]  # takes the share that is done, and a note
DIALS = (0.5, 1.0, 2.0, 4.0)  # with which the agent begins texts, a quarter of them each


@dataclass(frozen=True, slots=True)
class Sampling:
    """What texts are written for, and how they are judged."""

    prompts: list[str]
    tokenizer: Tokenizer
    reward: Reward
    pairs: bool  # whether the reward is a function of prompt and text, not of both together
    length: int  # most tokens that are written
    count: int  # texts per round
    group: int  # of them, for the same prompt, one after the other
    seed: int
    partial: bool = False  # the reward of an unfinished text means something: it is computed after every token
    temperature: float = 1.0  # of the base policy, whose values these are

    def texts(self, agent: Agent, number: int, tell: Tell | None = None) -> list[Sample]:
        """Write the texts of a round: by the base policy; after the first round, it completes texts that the agent started.

        tell: takes the share that is done, and a note. Raises DataError if the reward function fails.
        """
        rng = np.random.default_rng((self.seed, number))
        begins = number > 1
        total = self.count * (1 + begins + self.partial)  # rewards by token take about as long as writing

        def at(before: int, note: str) -> Callable[[int], None]:
            return lambda texts: None if tell is None else tell((before + texts) / total, note)

        places = rng.integers(len(self.prompts), size=self.count // self.group).repeat(self.group)
        prompts = [self.prompts[place] for place in places]
        starts = [self.tokenizer.encode(prompt) for prompt in prompts]
        begun: list[list[int]] = [[] for _ in starts]
        if begins:
            before = 0
            for place, dial in enumerate(DIALS):
                some = starts[place :: len(DIALS)]
                drawn = [self._drawn(one) for one in self._write(agent, some, dial, rng, at(before, "beginning"))]
                before += len(some)
                # at least one token is left for the base policy
                begun[place :: len(DIALS)] = [tokens[: int(rng.integers(len(tokens)))] for tokens in drawn]
        whole = [start + more for start, more in zip(starts, begun, strict=True)]
        ended = self._write(agent, whole, 0.0, rng, at(self.count * begins, "writing"))
        found, judging = [], at(self.count * (1 + begins), "computing rewards")
        for prompt, more, one in zip(prompts, begun, ended, strict=True):
            tokens = [*more, *self._drawn(one)][: self.length]
            found.append(self.judged(Sample(prompt, self.tokenizer.decode(tokens), tokens=tokens, given=len(more))))
            if self.partial:
                judging(len(found))
        return found

    def judged(self, sample: Sample) -> Sample:
        """Return a text with its reward, by token where that means something. Raises DataError if the function fails."""
        sample = replace(sample, reward=reward_of(self.reward, sample.prompt, sample.text, self.pairs))
        if not self.partial:
            return sample
        if sample.tokens is None:
            tokens = [*self.tokenizer.encode(sample.text), self.tokenizer.end][: self.length]
            sample = replace(sample, tokens=tokens)
        return by_token(sample, self)

    def _write(
        self, agent: Agent, starts: list[list[int]], dial: float, rng: np.random.Generator, tell: Callable[[int], None]
    ) -> list[Written]:
        return write(
            agent, starts, self.tokenizer, limit=self.length, rng=rng, dial=dial, temperature=self.temperature,
            progress=tell,
        )  # fmt: skip

    def _drawn(self, one: Written) -> list[int]:
        return [*one.tokens, self.tokenizer.end] if one.ended else one.tokens


def compared(samples: Sequence[Sample], group: int) -> list[Sample]:
    """Return samples with the mean reward of their group subtracted; a group is `group` neighbours. With 1, rewards stay.

    What does not depend on the text alters no choice (as in REINFORCE's leave-one-out baseline, arXiv:2402.14740), and the
    variance between prompts is gone. Of rewards by token, the last one is changed.
    """
    if group == 1:
        return list(samples)
    rewards = np.array([one.reward for one in samples]).reshape(-1, group)
    found = []
    for one, mean in zip(samples, rewards.mean(axis=1).repeat(group).tolist(), strict=True):
        gains = one.gains and [*one.gains[:-1], one.gains[-1] - mean]
        found.append(replace(one, reward=one.reward - mean, gains=gains))
    return found


def by_token(sample: Sample, sampling: Sampling) -> Sample:
    """Return a sample with its reward by token: by how much each changed the reward of the text so far.

    The sum is the reward, so the optimal policy stays the same (potential-based shaping, Ng, Harada & Russell 1999), and
    values are of what is still to come.
    """
    assert sample.tokens is not None
    parts = sampling.tokenizer.decode_prefixes(sample.tokens[:-1])
    worth = [reward_of(sampling.reward, sample.prompt, part, sampling.pairs) for part in parts]
    return replace(sample, gains=np.diff([0.0, *worth, sample.reward]).tolist())


def returns_of(sample: Sample) -> NDArray[np.float64]:
    """Return the sum of the rewards from each token to the end."""
    gains = np.array([sample.reward] if sample.gains is None else sample.gains)
    found: NDArray[np.float64] = gains[::-1].cumsum()[::-1]
    return found


def stored_samples(path: Path, agent: Agent, sampling: Sampling, number: int, show: bool = False) -> list[Sample]:
    """Return the texts of a round from their file, which is written if it is not there.

    show: show the progress of writing on standard error. Raises CheckpointError, DataError.
    """
    if path.exists():
        lines, damaged, _ = read_sealed(path.read_bytes())
        if damaged or len(lines) != sampling.count:
            raise CheckpointError(f"{path} is damaged: remove it to have these texts written again")
        return [Sample(**line) for line in lines]
    with _progress(f"{sampling.count:,} texts to learn values from") if show else nullcontext() as tell:
        found = sampling.texts(agent, number, tell)
    atomic_write(path, "".join(sealed_line(asdict(one)) + "\n" for one in found))
    return found


def _progress(what: str) -> AbstractContextManager[Tell]:
    from rich.console import Console

    from seqel.runs.progress_bar import sharing

    return sharing(Console(stderr=True, highlight=False), what)
