"""Customer service: what each action does, what customers say and reply, the drift, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import seqel.tasks.registry as registry
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.service import PLAIN, CustomerService, Setting
from seqel.tasks.customers.utterances import SPLITS
from support_customers import corpus

COSTS = Costs(wrong_of={"card lost": -5.0})
ALONE = {"impatient": 0.0, "unclear": 0.0, "changes": 0.0, "out_of_scope": 0.0, "drift": 0.0}


def environment(setting: Any = "plain", **arguments: Any) -> CustomerService:
    return CustomerService(corpus(), "test", COSTS, setting, **arguments)


def intent_of(env: CustomerService) -> int:
    return env._customer.intent


def test_it_follows_gymnasiums_rules() -> None:
    check_env(environment("full"), skip_render_check=True)


def test_right_and_wrong_answers() -> None:
    env, seen = environment(customers=50), Counter[float]()
    env.reset(seed=0)
    for _ in range(50):
        wanted = intent_of(env)
        right = len(seen) % 2 == 0
        _, reward, over, truncated, info = env.step(wanted if right else (wanted + 1) % 4)
        lost = env.utterances.intents[wanted] == "card lost"
        assert reward == (1.0 if right else -5.0 if lost else -1.0)
        assert info["customer"]["outcome"] == ("right" if right else "wrong") and not truncated
        seen[reward] += 1
    assert over
    with pytest.raises(EnvironmentFault, match="expected a reset"):
        env.step(0)


def test_did_you_mean_a_or_b() -> None:
    env = environment(ALONE)
    env.reset(seed=0)
    wanted = intent_of(env)
    for pair, expected in (((wanted, (wanted + 1) % 4), 1), (((wanted + 1) % 4, wanted), 2)):
        env.step(env.offer)
        seen, reward, _, _, info = env.step(pair[0])
        assert seen["choose"] == 2 and reward == 0.0 and info["action_mask"].tolist()[pair[0]] is False
        assert not info["action_mask"][4:].any()
        seen, reward, _, _, _ = env.step(pair[1])
        assert (seen["reply"], seen["said"], reward, seen["choose"]) == (expected, "", -0.15, 0)
    env.step(env.offer)
    env.step((wanted + 1) % 4)
    seen, *_ = env.step((wanted + 2) % 4)
    assert seen["reply"] == 3 and seen["asked"] == 3


@pytest.mark.parametrize(("impatient", "last"), [(1.0, 2), (0.0, 5)])
def test_customers_leave(impatient: float, last: int) -> None:
    env = environment(ALONE | {"impatient": impatient})
    env.reset(seed=0)
    for number in range(1, last + 1):
        seen, reward, _, _, info = env.step(env.ask)
        assert ("customer" in info) == (number == last) and reward == (-1.0 if number == last else -0.15)
    assert seen["outcome"] == 3 and seen["asked"] == 0 and info["customer"]["outcome"] == "left"


def test_handing_over_costs_more_if_the_queue_is_long() -> None:
    for level in (0.0, 0.4, 1.0):
        env = environment(ALONE)
        seen, _ = env.reset(seed=0, options={"levels": (0.0, level)})
        assert seen["queue"].tolist() == [pytest.approx(level)]
        _, reward, _, _, info = env.step(env.hand_over)
        assert reward == pytest.approx(-0.3 - 0.5 * level) and info["customer"]["outcome"] == "handed over"


def test_out_of_scope_only_handing_over_is_right() -> None:
    env = environment(ALONE | {"out_of_scope": 1.0}, customers=5)
    seen, _ = env.reset(seed=0, options={"levels": (1.0, 0.0)})
    assert seen["said"].startswith("weather test")
    for action in range(4):
        assert env.step(action)[1] == -1.0
    seen, reward, over, _, _ = env.step(env.hand_over)
    assert reward == -0.3 and seen["outcome"] == 5 and over


def test_who_speaks_unclearly_says_what_others_say() -> None:
    env = environment(ALONE | {"unclear": 1.0, "confused": 0.5}, customers=2_000)
    seen, _ = env.reset(seed=0)
    other = 0
    for _ in range(2_000):
        wanted = intent_of(env)
        mine = seen["said"] in env.sentences[wanted]
        assert mine or any(seen["said"] in env.sentences[intent] for intent in env.confused_with[wanted])
        other += not mine
        seen, *_ = env.step(wanted)
    assert other / 2_000 == pytest.approx(0.5, abs=0.05)


def test_who_changes_their_mind_says_so() -> None:
    env = environment(ALONE | {"changes": 1.0}, customers=40)
    env.reset(seed=0)
    changed = 0
    for _ in range(40):
        before = intent_of(env)
        env.step(env.offer)
        env.step(0)
        seen, *_ = env.step(1)
        assert seen["reply"] == 0 and seen["said"] in env.sentences[intent_of(env)]
        changed += intent_of(env) != before
        env.step(intent_of(env))
    assert changed > 15


def test_the_share_and_the_queue_drift_slowly_between_their_limits() -> None:
    env = environment("full", customers=3_000)
    seen, _ = env.reset(seed=0)
    queue = []
    for _ in range(3_000):
        queue.append(float(seen["queue"][0]))
        seen, *_ = env.step(env.hand_over)
    steps = np.abs(np.diff(queue))
    assert 0.0 <= min(queue) < 0.1 and 0.9 < max(queue) <= 1.0 and 0.03 < steps.mean() < 0.1 and steps.max() < 0.4


def test_the_same_seed_gives_the_same_shift() -> None:
    def shift(seed: int) -> list[Any]:
        env, found = environment("full"), []
        seen, _ = env.reset(seed=seed)
        over = False
        while not over:
            found.append((seen["said"], int(seen["reply"]), float(seen["queue"][0])))
            seen, _, over, _, _ = env.step(env.ask)
        return found

    assert shift(1) == shift(1) != shift(2)


def test_bad_arguments_and_actions_are_refused() -> None:
    with pytest.raises(ConfigError, match="setting: unclear: expected a number from 0 to 1"):
        Setting(unclear=1.5)
    with pytest.raises(ConfigError, match="setting: expected 'full', 'plain' or a Setting"):
        environment("hard")
    with pytest.raises(ConfigError, match="customers: expected an integer"):
        environment(customers=0)
    env = environment()
    env.reset(seed=0)
    env.step(env.offer)
    with pytest.raises(SpaceError, match="an action that the mask allows"):
        env.step(env.hand_over)
    with pytest.raises(SpaceError, match="an action that the mask allows"):
        env.step(99)
    assert Setting(**dict.fromkeys(ALONE, 0.0) | {"confused": 0.0, "queue": 0.0}) == PLAIN


def test_it_is_made_from_files(tmp_path: Path) -> None:
    """By its id, as on the command line; without sentences out of scope the full setting has no such customers."""
    lines = ["text,category,split"]
    for split in SPLITS:
        for name, some in zip(corpus().intents, corpus().by_intent[split], strict=True):
            lines += [f"{text},{name},{split}" for text in some]
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "costs.toml").write_text('left = -2.0\n[wrong_of]\n"card lost" = -5.0\n')
    registry.register()
    files: dict[str, Any] = {"utterances": str(tmp_path / "own.csv"), "costs": str(tmp_path / "costs.toml")}
    env = gymnasium.make("seqel/CustomerService-v0", **files).unwrapped
    assert isinstance(env, CustomerService) and env.setting == Setting(out_of_scope=0.0)
    assert env.costs.left == -2.0 and env.wrong[env.utterances.intents.index("card lost")] == -5.0
    with pytest.raises(ConfigError, match="--env-arg utterances=FILE"):
        gymnasium.make("seqel/CustomerService-v0")
    with pytest.raises(ConfigError, match="split: expected one of train, validation, test, got 'dev'"):
        CustomerService(corpus(), "dev")  # type: ignore[arg-type]


def test_the_same_customers_come_whatever_is_done() -> None:
    env, met = environment("full"), []
    for asks in (False, True):
        env.reset(seed=7)
        found = []
        for _ in range(8):
            found.append((env._customer.intent, env._customer.clear, env._customer.patience, env._levels.tolist()))
            if asks:
                env.step(env.ask)
            env.step(env.hand_over)
        met.append(found)
    assert met[0] == met[1] and len({str(one) for one in met[0]}) > 4
