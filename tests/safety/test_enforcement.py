"""No vetoed action is taken, wherever actions are chosen; and a place that forgets the shield is noticed."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import seqel
from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.parity import compare_export, random_episodes
from seqel.deployment.runtime import ExportedAgent
from seqel.environments.probe import probe
from seqel.environments.shielded import ShieldedStream
from seqel.environments.vector import VectorStream
from seqel.errors import CheckpointError, ConfigError, SpaceError
from seqel.evaluation.rollout import play
from seqel.networks.qnetwork import QNetwork
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.safety.shield import Shield
from seqel.serving.backends.onnx_agent import OnnxBackend
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.errors import Conflict, InvalidRequest
from seqel.serving.loading import _checksum
from seqel.spaces import ActionSpec, FlatObservation
from seqel.training.config import preset
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online import loop
from seqel.training.online.trainer import OnlineTrainer
from seqel.types import Episode
from support import TINY, network
from support_safety import RULES, SPEC, Desk, forbidden, shield, violations
from support_serving import make_service

FOUR = ActionSpec((4,), (0,))


def agent(rules: str = RULES, **settings: Any) -> Agent:
    """An agent whose values prefer what the rules forbid: refunds, then discounts."""
    net = network(FOUR, **settings)
    return Agent(net, {"shield": rules} if rules else {})


class Histories:
    """What R rows saw, did and earned since they began, and how many decisions broke the rules."""

    def __init__(self, rows: int) -> None:
        self.rows: list[tuple[list[np.ndarray], list[int], list[float]]] = [([], [], []) for _ in range(rows)]
        self.broken = self.decisions = 0

    def decide(self, row: int, first: bool, seen: np.ndarray, earned: float, other: int | None, action: int) -> None:
        """other: the action that something else took in place of the last decision."""
        if first:
            self.rows[row] = ([], [], [])
        observed, taken, rewards = self.rows[row]
        if taken:
            rewards.append(earned)
            if other is not None:
                taken[-1] = other
        observed.append(seen)
        self.broken += action in forbidden(np.stack(observed[-4:]), taken, rewards)
        self.decisions += 1
        taken.append(action)


def play_adversary(acting: Any, rows: int, calls: int, seed: int = 0, candidates: bool = True) -> Histories:
    """Random observations and rewards, resets, masks, candidates, partial batches, and actions that something else takes."""
    rng, state, found = np.random.default_rng(seed), acting.initial_state(rows), Histories(rows)
    begun = np.zeros(rows, bool)
    for call in range(calls):
        chosen = np.sort(rng.permutation(rows)[: max(1, rows - call % 3)])
        count = len(chosen)
        seen = rng.standard_normal((count, 3)).astype(np.float32)
        earned = rng.normal(-0.2, 1.0, count).astype(np.float32)
        first = (rng.random(count) < 0.05) | ~begun[chosen]
        given: dict[str, Any] = {"reward": earned, "first": first, "rows": chosen}
        other = rng.integers(0, 4, count) if call % 5 == 2 else None
        if other is not None:
            given["previous_action"] = other
        if call % 4 == 1:
            given["mask"] = np.column_stack([np.ones(count, bool), rng.random((count, 3)) < 0.7])
        elif call % 4 == 3 and candidates:
            order = np.argsort(rng.random((count, 3)), axis=1)[:, :2] + 1
            given["candidates"] = np.column_stack([order, np.zeros(count, int)])[:, rng.permutation(3)]
        decision, state = acting.act(seen, state, **given)
        begun[chosen] = True
        if "mask" in given:
            assert np.take_along_axis(given["mask"], decision.action[:, None], 1).all()
        for at, row in enumerate(chosen):
            found.decide(row, bool(first[at]), seen[at], float(earned[at]), None if other is None else int(other[at]),
                         int(decision.action[at]))  # fmt: skip
    return found


def without(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Plant a fault: the shield is not applied where `Shield.name` would combine it with the rest."""
    replaced: dict[str, Callable[..., Any]] = {
        "combine": lambda self, mask, allowed: np.ones_like(allowed) if mask is None else mask,
        "combine_candidates": lambda self, candidates, real, allowed: real,
    }
    monkeypatch.setattr(Shield, name, replaced[name])


def test_an_agent_never_takes_a_vetoed_action() -> None:
    found = play_adversary(agent(), rows=50, calls=80)
    assert found.decisions > 3_500 and found.broken == 0
    assert play_adversary(agent(rules=""), rows=50, calls=80).broken > 500, "it would, without the rules"


@pytest.mark.slow
def test_an_agent_never_takes_a_vetoed_action_in_a_million_steps() -> None:
    found = play_adversary(agent(), rows=2_000, calls=501, seed=1)
    assert found.decisions >= 1_000_000 and found.broken == 0


@pytest.mark.parametrize("name", ["combine", "combine_candidates"])
def test_an_agent_that_forgets_the_shield_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, name)
    assert play_adversary(agent(), rows=20, calls=60).broken > 0


def test_a_saved_agent_keeps_its_rules(tmp_path: Path) -> None:
    agent().save(tmp_path / "one")
    loaded = Agent.load(tmp_path / "one")
    assert loaded.shield is not None and loaded.shield.text == RULES
    assert play_adversary(loaded, rows=10, calls=40).broken == 0
    text = (tmp_path / "one" / "config.json").read_text()
    (tmp_path / "one" / "config.json").write_text(text.replace("two refunds", "six refunds"))
    with pytest.raises(CheckpointError, match="altered"):
        Agent.load(tmp_path / "one")
    bad = Agent(network(FOUR))
    bad.info["shield"] = "fallback = 7\n[[rule]]\nnever = 1"
    bad.save(tmp_path / "two")
    with pytest.raises(CheckpointError, match="rules and thresholds that fit"):
        Agent.load(tmp_path / "two")


def test_rules_can_be_set_and_removed() -> None:
    one = agent(rules="")
    one.set_shield(RULES)
    assert one.info["shield"] == RULES and play_adversary(one, rows=10, calls=40).broken == 0
    with pytest.raises(ConfigError):
        one.set_shield("fallback = 9")
    assert one.info["shield"] == RULES
    one.set_shield("")
    assert one.shield is None and "shield" not in one.info


def test_a_state_without_the_shields_history_is_refused_and_an_error_changes_nothing() -> None:
    one, seen = agent(rules=""), np.zeros((2, 3), np.float32)
    _, state = one.act(seen)
    one.set_shield(RULES)
    with pytest.raises(SpaceError, match="made with its shield"):
        one.act(seen, state)
    _, state = one.act(seen)
    assert state.shield is not None
    before = state.shield.copy()
    with pytest.raises(SpaceError, match="no action that both"):
        one.act(seen, state, mask=np.array([[False, True, False, False]] * 2))
    assert (state.shield == before).all()


def test_what_does_not_apply_rules_refuses_the_agent() -> None:
    with pytest.raises(ConfigError, match="without a shield"):
        agent().rank([1, 2])


# -- export ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(agent(), tmp_path_factory.mktemp("export") / "agent.onnx")


def test_an_exported_agent_applies_the_rules_outside_of_its_graph(exported: Path) -> None:
    one = ExportedAgent(exported)
    assert one.info["shield"] == RULES
    assert play_adversary(one, rows=20, calls=60).broken == 0
    assert compare_export(agent(), one, random_episodes(agent(), 3)).agreement == 1.0


@pytest.mark.slow
def test_an_exported_agent_never_takes_a_vetoed_action_in_a_million_steps(exported: Path) -> None:
    found = play_adversary(ExportedAgent(exported), rows=2_000, calls=501, seed=2)
    assert found.decisions >= 1_000_000 and found.broken == 0


@pytest.mark.parametrize("name", ["combine", "combine_candidates"])
def test_an_export_that_forgets_the_shield_is_noticed(
    name: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "combine")
    if name == "combine_candidates":  # alone it is not: scores of vetoed actions are -inf in the graph as well
        without(monkeypatch, name)
    assert play_adversary(ExportedAgent(exported), rows=20, calls=60).broken > 0


# -- the service -------------------------------------------------------------------------------------------------------------


def serve_adversary(
    backend: Any, sessions: int = 6, steps: int = 25, watch: Callable[..., None] | None = None, **settings: Any
) -> Histories:
    """Let sessions take turns in a service with few slots, so that memories are rebuilt; some requests have masks.

    watch: is given what the service tells its observer of every batch.
    """
    rng, found = np.random.default_rng(3), Histories(sessions)
    service = make_service(backend, **settings)
    if watch is not None:
        service.agent().batcher.observer.decided = watch  # type: ignore[method-assign]

    async def body() -> None:
        for row in range(sessions):
            await service.create(f"s{row}")
        for step in range(steps):
            order, asked = rng.permutation(sessions).tolist(), []
            for _ in order:
                seen, earned = rng.standard_normal(3).astype(np.float32), float(np.float32(rng.normal(-0.2, 1.0)))
                request: dict[str, Any] = {"observation": seen.tolist(), "reward": earned}
                other = int(rng.integers(4)) if step % 5 == 2 else None
                if other is not None:
                    request["previous_action"] = other
                if step % 4 == 1:
                    request["mask"] = [True, *(rng.random(3) < 0.7).tolist()]
                elif step % 4 == 3:
                    request["candidates"] = [0, 1, 3]
                asked.append((request, seen, earned, other))
            calls = [service.act(f"s{row}", one[0]) for row, one in zip(order, asked, strict=True)]
            answers = await asyncio.gather(*calls)
            for row, (_, seen, earned, other), answer in zip(order, asked, answers, strict=True):
                found.decide(row, step == 0, seen, earned, other, orjson.loads(answer)["action"])
        await service.stop()

    asyncio.run(body())
    return found


@pytest.mark.parametrize("kind", ["torch", "onnx"])
@pytest.mark.parametrize("slots", [8, 2])
def test_a_service_applies_the_rules_also_after_memories_are_rebuilt(kind: str, slots: int, exported: Path) -> None:
    backend: Any = TorchBackend(agent(), slots) if kind == "torch" else OnnxBackend(ExportedAgent(exported), slots)
    found = serve_adversary(backend, batch=2)
    assert found.decisions == 150 and found.broken == 0


def test_rebuilt_counts_of_rules_are_bit_equal() -> None:
    """Two slots for six sessions: the state of the rules is rebuilt at almost every step; with eight slots, never."""
    states, decisions = [], []
    for slots in (8, 2):
        backend, kept = TorchBackend(agent(), slots), dict[tuple[str | None, int], bytes]()

        def keep(name: str, rows: Any, records: Any, scores: Any, kept: Any = kept) -> None:
            kept.update({(one.step.session, one.steps): one.shield.tobytes() for one in rows})

        found = serve_adversary(backend, watch=keep, batch=2)
        states.append(kept)
        decisions.append([row[1] for row in found.rows])
    assert len(states[0]) == 150 and states[0] == states[1]
    assert decisions[0] == decisions[1]


@pytest.mark.slow
@pytest.mark.parametrize("slots", [400, 64])
def test_a_service_applies_the_rules_in_a_hundred_thousand_steps(slots: int) -> None:
    """With 64 slots, most steps rebuild what the rules know from up to 249 stored steps."""
    found = serve_adversary(TorchBackend(agent(), slots), sessions=400, steps=250, batch=64, timeout=120.0)
    assert found.decisions == 100_000 and found.broken == 0


def test_a_service_that_forgets_the_shield_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Shield, "read", lambda self, state, observation, *, first, **_: (state, np.ones((len(first), 1, 4), bool))
    )
    assert serve_adversary(TorchBackend(agent(), 8)).broken > 0


def test_a_service_that_counts_only_what_memory_needs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules count from the first step on: records of the receptive field alone must not be enough."""
    backend = TorchBackend(agent(context=2, layers=1), 2)
    service = make_service(backend, batch=2)
    monkeypatch.setattr(service.agent().batcher.computer, "keep", backend.keep)

    async def body() -> None:
        for name in "abc":
            await service.create(name)
        for _ in range(12):
            for name in "abc":
                await service.act(name, {"observation": [0, 0, 0]})

    with pytest.raises(Conflict, match="count from a session's first step"):
        asyncio.run(body())


def test_a_session_that_cannot_be_decided_does_not_hold_up_others() -> None:
    service = make_service(TorchBackend(agent(), 8))

    async def body() -> list[Any]:
        await service.create("a")
        await service.create("b")
        return await service.act_many(
            [
                {"session": "a", "observation": [0, 0, 0], "mask": [False, True, False, False]},
                {"session": "b", "observation": [0, 0, 0]},
            ]
        )

    refused, answered = asyncio.run(body())
    assert isinstance(refused, InvalidRequest) and "fallback [0]" in str(refused)
    assert orjson.loads(answered)["action"] != 1


def test_a_decision_without_a_session_counts_the_history_it_brings() -> None:
    service = make_service(TorchBackend(agent(context=2, layers=1), 8))
    history = [{"observation": [0, 0, 0], "action": action, "reward": 0.0} for action in [2, 1, 1] + [0] * 20]

    async def body() -> Any:
        return orjson.loads(
            await service.act_once({"observation": [0, 0, 0], "history": history, "mask": [1, 1, 0, 0]})
        )

    assert asyncio.run(body())["scores"][1] is None


def test_an_export_in_the_cache_does_not_outlive_other_rules() -> None:
    """The cache of exports, and a version's name, depend on the rules."""
    sums = {_checksum(agent(rules)) for rules in ("", RULES, RULES.replace("at_most = 2", "at_most = 3"))}
    assert len(sums) == 3


# -- training and evaluation -------------------------------------------------------------------------------------------------


class Desks:
    """Makes environments and keeps them, to see what happened in them."""

    def __init__(self, masked: bool = False) -> None:
        self.masked, self.made = masked, list[Desk]()

    def __call__(self) -> Desk:
        self.made.append(Desk(self.masked))
        return self.made[-1]

    @property
    def broken(self) -> tuple[int, int]:
        """How many steps of finished episodes broke the rules, and how many steps there are."""
        every = [one for made in self.made for one in made.finished]
        return sum(violations(*one) for one in every), sum(len(one[1]) for one in every)


def trainer(make: Desks, rules: str = RULES, **settings: Any) -> OnlineTrainer:
    found = probe(make)  # acts at random, before there is an agent
    make.made.clear()
    config = preset(
        "default",
        **{name.replace(".", "__"): value for name, value in (TINY | settings).items()},
        steps=800,
        shield=rules,
    )
    return OnlineTrainer(config, make, found)


def train(one: OnlineTrainer) -> OnlineTrainer:
    one.begin()
    for _ in loop.records(one):
        pass
    return one


@pytest.mark.parametrize("masked", [False, True])
def test_training_explores_and_validates_without_a_vetoed_action(masked: bool) -> None:
    make = Desks(masked)
    one = train(trainer(make))
    broken, steps = make.broken
    assert broken == 0 and steps > 800
    assert play(one.best_agent, make, 8, 0, 4).returns and make.broken[0] == 0
    one.close()


def test_training_without_rules_breaks_them() -> None:
    make = Desks()
    train(trainer(make, rules="")).close()
    assert make.broken[0] > 100


def test_training_that_forgets_the_shield_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Desks()
    one = trainer(make)
    monkeypatch.setattr(ShieldedStream, "reset", VectorStream.reset)
    monkeypatch.setattr(ShieldedStream, "step", VectorStream.step)
    train(one).close()
    assert make.broken[0] > 100


def test_the_replay_holds_the_masks_of_the_rules_so_targets_never_use_a_vetoed_action() -> None:
    make = Desks(masked=True)
    one = train(trainer(make))
    batch = one.replay.sample(40, window=12, context=4, discount=0.9, rng=np.random.default_rng(0))
    assert batch.action_mask is not None
    checked = 0
    for row in range(40):
        if int(batch.start_step[row]):
            continue
        seen = batch.observation["observation"][row].numpy()
        steps = int(batch.valid[row].sum())
        actions, rewards = batch.action[row, :, 0].tolist(), [float(x) for x in batch.reward[row]]
        for t in range(steps + 1):
            expected = forbidden(seen[: t + 1], actions[:t], rewards[:t]) | ({2} if t % 3 == 2 else set())
            assert set(np.flatnonzero(~batch.action_mask[row, t].numpy())) == expected
            checked += 1
    assert checked > 200
    one.close()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_masks_are_those_of_the_rules_however_environments_are_reset(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([Desk] * 3, autoreset_mode=mode)
    stream, rng = ShieldedStream(envs, SPEC, FOUR, shield()), np.random.default_rng(0)
    stream.reset([0, 1, 2])
    found, earned, final = Histories(3), np.zeros(3, np.float32), 0
    for _ in range(60):
        assert stream.mask is not None
        mask, seen, first = stream.mask.copy(), stream.current["observation"].copy(), stream.first.copy()
        action = np.array([rng.choice(np.flatnonzero(row)) for row in mask])
        pending = stream._pending.copy()
        for row in np.flatnonzero(~pending).tolist():
            found.decide(row, bool(first[row]), seen[row], float(earned[row]), None, int(action[row]))
            seen_so_far, taken, rewards = found.rows[row]
            expected = forbidden(np.stack(seen_so_far), taken[:-1], rewards)
            assert set(np.flatnonzero(~mask[row])) == expected
        outcome = stream.step(action)
        earned = outcome.reward.astype(np.float32)
        for row in np.flatnonzero(outcome.ended & ~pending).tolist():  # the mask of the final observation, for targets
            seen_so_far, taken, rewards = found.rows[row]
            reached = np.stack([*seen_so_far, outcome.reached["observation"][row]])
            assert outcome.mask is not None
            assert set(np.flatnonzero(~outcome.mask[row])) == forbidden(reached, taken, [*rewards, float(earned[row])])
            final += 1
        if mode == AutoresetMode.DISABLED and outcome.ended.any():
            stream.reset([7 if over else None for over in outcome.ended.tolist()], outcome.ended)
    assert found.broken == 0 and found.decisions > 150 and final > 6
    stream.close()


def test_recorded_sessions_in_a_training_on_environments_have_the_masks_too() -> None:
    make = Desks()
    found = probe(make)
    settings = {name.replace(".", "__"): value for name, value in (TINY | {"offline.fraction": 0.5}).items()}
    one = OnlineTrainer(
        preset("default", **settings, steps=400, shield=RULES), make, found, source=recorded(longest=12)
    )
    make.made.clear()
    train(one)
    assert make.broken[0] == 0
    assert one.recorded_episodes is not None and one.recorded_episodes.layout.masked
    _, both = one.batches.draw(np.random.default_rng(0), 1.0)
    assert both.action_mask is not None and not bool(both.action_mask[-1, 0, 1]), "no refund before a verification"
    one.close()


def test_a_resumed_training_knows_the_history_of_open_episodes() -> None:
    make = Desks()
    one = trainer(make)
    one.begin()
    for _ in range(61):
        one.collect()
    state = copy.deepcopy(one.state_dict())
    other = trainer(Desks())
    assert other.load_state_dict(state) == []
    for _ in range(40):
        one.collect()
        other.collect()
        assert np.array_equal(np.asarray(one.stream.mask), np.asarray(other.stream.mask))
        assert (one.collector.last_action == other.collector.last_action).all()
    one.close()
    other.close()


def recorded(seed: int = 0, episodes: int = 30, longest: int = 14) -> InMemoryDataset:
    rng, found = np.random.default_rng(seed), []
    for _ in range(episodes):
        steps = int(rng.integers(3, longest + 1))
        found.append(
            Episode(
                FlatObservation({"observation": rng.standard_normal((steps + 1, 3)).astype(np.float32)}),
                rng.integers(0, 4, (steps, 1)), rng.normal(-0.5, 1, steps).astype(np.float32), terminated=True,
            )
        )  # fmt: skip
    return InMemoryDataset.of(found, SPEC, FOUR)


@pytest.mark.parametrize("name", ["offline-cql", "offline-bcq", "behaviour-cloning", "offline-iql"])
def test_training_on_recorded_sessions_uses_the_masks_of_the_rules(name: str) -> None:
    data = recorded()
    config = preset(name, offline__updates=10, network__width=16, network__heads=2, network__layers=1, device="cpu",
                    threads=1, shield=RULES)  # fmt: skip
    one = OfflineTrainer(config, data)
    for batch in one.training_episodes.batches(window=16, context=4, discount=0.9):
        assert batch.action_mask is not None
        for row in range(len(batch.reward)):
            steps = int(batch.valid[row].sum())
            seen = batch.observation["observation"][row].numpy()
            actions, rewards = batch.action[row, :, 0].tolist(), [float(x) for x in batch.reward[row]]
            for t in range(steps + 1):
                expected = forbidden(seen[: t + 1], actions[:t], rewards[:t])
                assert set(np.flatnonzero(~batch.action_mask[row, t].numpy())) == expected
                if t < steps:
                    assert bool(batch.loss_mask[row, t]) == (actions[t] not in expected), "vetoed: not trained on"
    assert data.buffer.slots.columns["by_agent"].sum() == len(data.buffer), "the data themselves are unchanged"
    for _ in range(5):
        assert all(np.isfinite(float(value)) for value in one.update().values())
    assert play_adversary(one.agent, rows=10, calls=30).broken == 0


def test_a_run_keeps_its_rules_when_it_is_continued_from(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    settings = TINY | {"learner.compile": "off"}
    first = seqel.train(
        Desk, steps=300, out=tmp_path / "a", settings=settings, shield=tmp_path / "rules.toml", progress=False
    )
    assert first.info["shield"] == RULES and "two refunds" in (tmp_path / "a" / "config.toml").read_text()
    second = seqel.train(
        Desk, init_from=tmp_path / "a", steps=300, out=tmp_path / "b", settings=settings, progress=False
    )
    assert second.info["shield"] == RULES
    resumed = seqel.resume(tmp_path / "b", env=Desk, steps=400, progress=False)
    assert resumed.info["shield"] == RULES and resumed.shield is not None


def test_the_shield_is_a_function_of_the_history_alone() -> None:
    one, rng = shield(), np.random.default_rng(5)
    seen = rng.standard_normal((9, 1, 3)).astype(np.float32)
    actions, rewards = rng.integers(0, 4, (9, 1, 1)), rng.standard_normal((9, 1)).astype(np.float32)

    def fold(junk: np.ndarray) -> np.ndarray:
        state = junk
        for t in range(9):
            state, _ = one.read(
                state, {"observation": seen[t]}, previous_action=actions[t], reward=rewards[t], first=np.array([t == 0])
            )
        return state

    assert (fold(one.initial(1)) == fold(np.full((1, one.width), 7.0))).all()


def test_it_works_with_a_network_of_several_dimensions() -> None:
    spec = ActionSpec((3, 2), (0, 5))
    rules = "fallback = { 0 = 0, 1 = 5 }\n[[rule]]\nnever = { 0 = [1, 2] }\nwhen = { taken = { 0 = 1 } }\n"
    known = network(spec)
    net = QNetwork(known.config, SPEC, spec)
    net.load_state_dict(known.state_dict())
    one, rng = Agent(net, {"shield": rules}), np.random.default_rng(0)
    state, taken = None, np.zeros(64, bool)
    for step in range(10):
        mask = None if step else np.array([[[False, True, False], [True, True, False]]] * 64)
        decision, state = one.act(rng.standard_normal((64, 3)).astype(np.float32), state, mask=mask)
        assert not (taken & (decision.action[:, 0] != 0)).any()
        taken |= decision.action[:, 0] == 1
    assert taken.any()
