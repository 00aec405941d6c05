"""Everything that a page or a terminal shows of an explained episode, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqel.explanation.attribute import attribute
from seqel.explanation.describe import ActionNames, step_facts
from seqel.explanation.methods.registry import method_names, method_of
from seqel.explanation.question import Question, explained
from seqel.explanation.reading import NUMBERS, Reading, head_outputs
from seqel.explanation.recorded import history_alone
from seqel.explanation.words import WordInfluence, split_words, word_occlusion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.explanation.rendering import Shown
    from seqel.explanation.trace import EpisodeTrace

__all__ = ["ActionScore", "Report", "Step", "explain_episode"]

TOP = 10  # actions that are listed for a decision
PATHS = 12_000  # steps of all decisions together, above which integrated gradients must be asked for
WORDS = 1_500  # words of an episode whose influence is computed


@dataclass(frozen=True, slots=True)
class ActionScore:
    """One action of a decision."""

    name: str
    score: float
    std: float | None  # standard deviation of the return's distribution, if the head has one
    chosen: bool  # the agent's choice
    over: bool  # the action that it is compared with
    recorded: bool  # what was done, in recorded data


@dataclass(frozen=True, slots=True)
class Step:
    """One decision."""

    number: int  # in its episode
    facts: list[tuple[str, str]]  # what was observed
    scores: list[ActionScore]  # the best actions, the best first
    actions: int  # how many there are
    action: str  # what was done; empty if nothing was yet
    reward: float | None  # of that


@dataclass(frozen=True, slots=True)
class Report:
    """An explained episode of S decisions."""

    steps: list[Step]
    unit: str  # of scores
    methods: dict[str, NDArray[np.float32]]  # (S, S) each: decisions and past steps
    interesting: int  # the decision that depends most on a past step, by its row
    words: dict[str, list[WordInfluence]]  # by leaf
    texts: dict[str, dict[int, str]]
    frames: list[Shown]
    notes: list[str]
    question: str  # what is explained, in words
    names: ActionNames


def explain_episode(
    agent: Agent,
    trace: EpisodeTrace,
    *,
    methods: Sequence[str] | None = None,
    question: Question | None = None,
    frames: Sequence[Shown] = (),
    texts: Mapping[str, Mapping[int, str]] | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
    recorded: bool = False,
    action_names: Sequence[str] | None = None,
    reading: Reading | None = None,
) -> Report:
    """Explain every decision of an episode by some of the methods; None: all that the trunk and the time permit.

    frames, texts: as `render_episode` returns them. rows: the rows of a recorded session, if known.
    recorded: actions are those of the data, not the agent's. reading: that of the agent and the trace, with other episodes
    for methods that need them.

    Raises:
        ConfigError: there is no such method or action, or a method needs attention and the trunk has none.
    """
    reading = reading or Reading(agent, trace)
    if not any(frame is not None for frame in frames):
        frames = _observed_images(agent, trace)
    question, names_of = question or Question(), ActionNames(agent, action_names)
    count = len(trace) + (recorded and history_alone(agent))
    decisions = list(range(count))
    notes: list[str] = []
    names = list(methods) if methods else method_names(agent.network.trunk.has_attention, bool(reading.others))
    if not methods and "integrated" in names:
        paths = sum(step + 1 - reading.first_needed(step) for step in decisions)
        if paths > PATHS:
            names.remove("integrated")
            notes.append(
                "Integrated gradients are left out, because they are slow for an episode of this length: add --method "
                "integrated to compute them."
            )
    for name in names:
        method_of(name)  # a wrong name is reported before anything is computed
    found = {name: attribute(agent, trace, name, decisions, question, reading=reading)[:, :count] for name in names}
    guide = found.get("occlusion")
    if guide is None:
        guide = attribute(agent, trace, "occlusion", decisions, question, reading=reading)[:, :count]
    said = {leaf: dict(one) for leaf, one in (texts or {}).items()}
    words = _words(agent, trace, said, decisions, question, reading, notes)
    return Report(
        _steps(
            agent,
            trace,
            reading,
            question,
            names_of,
            rows,
            list(said),
            decisions,
            recorded,
            any(one is not None for one in frames),
        ),
        "nats" if agent.network.config.policy_head == "greedy" else "units of reward",
        found,
        _most_interesting(reading, guide, question),
        words,
        said,
        list(frames)[:count],
        notes,
        _in_words(names_of, question),
        names_of,
    )


@torch.inference_mode()
def _most_interesting(reading: Reading, guide: NDArray[np.float32], question: Question) -> int:
    """Return the decision that depends most on a past step, by the occlusion (S, S).

    It has the largest product of the reduction of the agent's lead over the second-best action if a step is hidden, and the
    share of the lead that this is. This excludes small changes of a clear choice, and changes between equally good actions.
    """
    decisions = list(range(len(guide)))
    past = np.tril(guide, -1)
    if question.over is None:
        return int(np.abs(past).max(axis=1).argmax())
    h = reading.states(reading.tokens[None])[0, decisions]
    lead = explained(reading, decisions, question).values(reading, h).cpu().numpy()
    change = np.maximum(past, 0.0).max(axis=1)
    return int((change**2 / np.maximum(np.maximum(lead, change), 1e-12)).argmax())


def _words(
    agent: Agent, trace: EpisodeTrace, texts: dict[str, dict[int, str]], decisions: list[int], question: Question,
    reading: Reading, notes: list[str],
) -> dict[str, list[WordInfluence]]:  # fmt: skip
    words: dict[str, list[WordInfluence]] = {}
    for leaf, said in texts.items():
        some: dict[int, str] = {}
        total = 0
        for step in sorted((step for step in said if step < len(decisions)), reverse=True):
            total += len(split_words(said[step]))
            if total > WORDS:
                notes.append(f"Words are highlighted in the texts from step {min(some, default=0)} on.")
                break
            some[step] = said[step]
        words[leaf] = word_occlusion(agent, trace, leaf, some, decisions, question, reading=reading) if some else []
    return words


def _observed_images(agent: Agent, trace: EpisodeTrace) -> list[Shown]:
    """Return the first image of each observation, (height, width, 3); empty if there is none. Of stacked ones, the latest."""
    leaf = next((one for one in agent.observation_spec.leaves if one.kind == "image"), None)
    if leaf is None or np.dtype(leaf.dtype) != np.uint8 or len(leaf.shape) not in (2, 3):
        return []
    images = trace.observation[leaf.path]
    if images.ndim == 3:
        images = images[..., None]
    elif not leaf.channels_last:
        images = np.moveaxis(images, 1, -1)
    if images.shape[-1] != 3:
        images = np.repeat(images[..., -1:], 3, axis=-1)
    return list(np.ascontiguousarray(images))


def _in_words(names: ActionNames, question: Question) -> str:
    what = "the agent's choice" if question.action is None else f"action {names(question.action)}"
    if question.over is None:
        return f"the score of {what}"
    other = "the runner-up" if isinstance(question.over, str) else names(question.over)
    return f"the score of {what}, less that of {other}"


@torch.inference_mode()
def _steps(
    agent: Agent, trace: EpisodeTrace, reading: Reading, question: Question, names: ActionNames,
    rows: Sequence[Mapping[str, Any]] | None, texts: list[str], decisions: list[int], recorded: bool,
    drawn: bool,
) -> list[Step]:  # fmt: skip
    spec = agent.action_spec
    wanted = explained(reading, decisions, question)
    h = reading.states(reading.tokens[None])[0]
    shown = {path.removeprefix("text/") for path in texts} | set(texts)
    size = max(1, NUMBERS // (spec.actions * spec.dims * max(1, agent.network.head.outputs)))
    found: list[Step] = []
    for first in range(0, len(decisions), size):
        part = decisions[first : first + size]
        out = head_outputs(agent.network, h[part])
        mask = None if reading.mask is None else reading.mask[part]
        score = agent.network.scores(out, mask).cpu().numpy()  # (n, M, A)
        std = _std(agent, out.logits)
        for row, step in enumerate(part):
            done = tuple(np.atleast_1d(trace.action[step]).tolist()) if step < len(trace) else None
            chosen = tuple(wanted.codes[step].tolist())
            over = None if wanted.others is None else tuple(wanted.others[step].tolist())
            scores = _action_scores(
                names, score[row], None if std is None else std[row], chosen, over, done if recorded else None
            )
            known = rows[step] if rows and step < len(rows) else None
            facts = step_facts(agent, trace, step, known, sorted(shown), large=not drawn)
            reward = float(trace.reward[step]) if step < len(trace) else None
            found.append(
                Step(trace.start + step, facts, scores, spec.actions, "" if done is None else names(done), reward)
            )
    return found


def _action_scores(
    names: ActionNames, score: NDArray[np.float32], std: NDArray[np.float32] | None, chosen: tuple[int, ...],
    over: tuple[int, ...] | None, done: tuple[int, ...] | None,
) -> list[ActionScore]:  # fmt: skip
    """Return the actions of one decision: score and standard deviation (M, A). With M > 1, those that differ from the choice
    in one dimension at most, with their mean score over dimensions."""
    if len(score) == 1:
        best: list[tuple[int, ...]] = [
            (int(code),) for code in np.argsort(-score[0], kind="stable")[:TOP] if np.isfinite(score[0, code])
        ]
    else:
        best = [chosen]
        best += [
            (*chosen[:dim], code, *chosen[dim + 1 :])
            for dim in range(len(score))
            for code in range(score.shape[1])
            if code != chosen[dim] and np.isfinite(score[dim, code])
        ]
        best = sorted(best, key=lambda codes: -_mean(score, codes))[:TOP]
    for codes in (chosen, over, done):
        if codes is not None and codes not in best:
            best.append(codes)
    return [
        ActionScore(
            names(codes),
            _mean(score, codes),
            None if std is None else float(std[0, codes[0]]),
            codes == chosen,
            codes == over and over != chosen,
            codes == done,
        )
        for codes in sorted(best, key=lambda codes: -_mean(score, codes))
    ]


def _mean(score: NDArray[np.float32], codes: tuple[int, ...]) -> float:
    return float(np.mean([score[dim, code] for dim, code in enumerate(codes)]))


def _std(agent: Agent, logits: torch.Tensor | None) -> NDArray[np.float32] | None:
    """Return the standard deviation of the returns that a distributional head expects: (..., M, A, n) -> (..., M, A); None
    for another head, several dimensions, or scores that are not values."""
    head = agent.network.head
    if (
        logits is None
        or logits.shape[-1] < 2
        or agent.action_spec.dims > 1
        or agent.network.config.policy_head == "greedy"
    ):
        return None
    support = head.values.support(logits)
    if support is None:  # quantiles
        return np.asarray((logits.float().std(dim=-1, correction=0) * head.scale).cpu().numpy(), np.float32)
    share = logits.float().softmax(dim=-1)
    mean = (share * support).sum(dim=-1, keepdim=True)
    variance = (share * (support - mean) ** 2).sum(dim=-1)
    return np.asarray((variance.sqrt() * head.scale).cpu().numpy(), np.float32)
