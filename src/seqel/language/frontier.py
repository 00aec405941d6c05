"""Reward against divergence from the base policy for several dials, compared with best-of-n sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from seqel.agents.agent import Agent
from seqel.evaluation.statistics import bootstrap_interval
from seqel.language.decoding import Written, write
from seqel.language.episodes import Reward, reward_of
from seqel.language.generation import limit_of, tokenizer_of
from seqel.storage import atomic_write

__all__ = ["DIALS", "Point", "draw_frontier", "frontier"]

DIALS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Point:
    """One way to write texts, and its figures; means over the prompts."""

    name: str  # "dial 2" or "best of 8"
    dial: float  # of the policy that draws
    texts: int  # that are written for each one that is kept: the cost of decoding, in units of one text
    reward: float
    interval: tuple[float, float]  # 95 %, of the reward
    kl: float  # divergence from the base policy per text, in nats; for the best of N: log N - (N - 1) / N, an upper bound
    perplexity: float  # per token, under the base policy
    distinct: float  # share of the pairs of tokens, over all texts, that are different: low if texts are alike
    repetition: (
        float  # share of the sequences of four tokens that the same text had before: high if it goes round in circles
    )

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


def frontier(
    agent: Agent,
    prompts: Sequence[str],
    reward: Reward,
    *,
    dials: Sequence[float] = DIALS,
    best_of: Sequence[int] = (2, 4, 8),
    length: int | None = None,
    seed: int = 0,
) -> list[Point]:
    """Write one text per prompt with each dial and by best-of-n sampling from the base policy, and measure them.

    Best-of-n samples n texts from the base policy and keeps the one with the largest reward, so the reward has to be known
    when text is written. Its divergence is at most log n - (n - 1) / n (Beirami et al. 2024, arXiv:2401.01879).

    reward: as for `train_text`: a function of a complete text or, if the agent was trained on pairs, of a prompt and a text.

    Raises ConfigError if the agent was not trained on texts. DataError: the reward function fails.
    """
    tokenizer, limit = tokenizer_of(agent), limit_of(agent, length)
    pairs = bool(agent.info["language"].get("pairs"))
    tokens = [tokenizer.encode(prompt) for prompt in prompts]

    def judged(texts: Sequence[Written], starts: Sequence[str]) -> list[float]:
        return [
            reward_of(reward, start, tokenizer.decode(one.tokens), pairs)
            for start, one in zip(starts, texts, strict=True)
        ]

    points = []
    for place, dial in enumerate(dials):
        texts = write(agent, tokens, tokenizer, limit=limit, dial=dial, rng=np.random.default_rng((seed, place)))
        kl = float(np.mean([one.kl for one in texts]))
        points.append(_point(f"dial {dial:g}", dial, 1, judged(texts, prompts), kl, texts))
    most = max(best_of, default=0)
    if most:
        repeated = [one for one in tokens for _ in range(most)]
        texts = write(agent, repeated, tokenizer, limit=limit, rng=np.random.default_rng((seed, len(dials))))
        rewards = np.array(judged(texts, [prompt for prompt in prompts for _ in range(most)])).reshape(-1, most)
        for count in best_of:
            best = rewards[:, :count].argmax(axis=1)
            kept = [texts[row * most + int(place)] for row, place in enumerate(best)]
            chosen = rewards[np.arange(len(best)), best].tolist()
            kl = math.log(count) - (count - 1) / count
            points.append(_point(f"best of {count}", 0.0, count, chosen, kl, kept))
    return points


def _point(name: str, dial: float, cost: int, rewards: list[float], kl: float, texts: Sequence[Written]) -> Point:
    steps = sum(len(one.tokens) + one.ended for one in texts)
    nats = -sum(one.log_probability for one in texts) / max(1, steps)
    pairs = [pair for one in texts for pair in zip(one.tokens, one.tokens[1:], strict=False)]
    again = total = 0
    for one in texts:
        fours = list(zip(*(one.tokens[start:] for start in range(4)), strict=False))
        again, total = again + len(fours) - len(set(fours)), total + len(fours)
    return Point(
        name, dial, cost, float(np.mean(rewards)), bootstrap_interval(rewards), kl, math.exp(nats),
        len(set(pairs)) / max(1, len(pairs)), again / max(1, total),
    )  # fmt: skip


def draw_frontier(points: Sequence[Point], path: Path) -> None:
    """Draw reward against divergence from the base policy. Raises StorageError."""
    import io

    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, one_of, style, aside in (
        ("dial", 1, "o-", (4, -10)),
        ("best of N, at N times the cost", 2, "s--", (-10, 6)),
    ):
        some = [point for point in points if (point.texts == 1) == (one_of == 1)]
        if not some:
            continue
        errors = np.array([[point.reward - point.interval[0], point.interval[1] - point.reward] for point in some]).T
        axes.errorbar(
            [point.kl for point in some], [point.reward for point in some], errors, fmt=style, capsize=2, label=label
        )
        for point in some:
            name = point.name.removeprefix("dial ").removeprefix("best of ")
            axes.annotate(name, (point.kl, point.reward), xytext=aside, textcoords="offset points", fontsize=8)
    # reward grows about as the root of the divergence (Gao et al. 2022, arXiv:2210.10760), and small ones matter most
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0.0)), np.square))
    axes.set_xlim(left=0.0)
    axes.set(xlabel="divergence from the base policy per text, nats (square-root scale)", ylabel="mean reward")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    atomic_write(path, picture.getvalue())
