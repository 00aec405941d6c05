"""What scripted players and random play get in the tasks that come with Seqel: the figures in the tasks' docstrings.

    python benchmarks/scripted_players.py [--episodes 2000] [--task NAME]

One line per task and player: mean return with its 95 % interval (1.96 standard errors), share of successes. For each task the
environment steps per second of CPU time. The players get what an agent gets, except the two bounds, `knows the maze` and
`knows the arms`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

from seqel.tasks import bandit, key_to_door, memory, recall_colour, registry, sequences
from seqel.tasks.map_player import MapPlayer, first_move
from seqel.tasks.maze_search import MOVES, RADIUS

Player = Callable[[list[Any], list[int], list[float]], int]  # observations, actions, rewards of the episode so far
MakePlayer = Callable[[Any, np.random.Generator], Player]  # one per episode, of the environment

SEEN = [(row, column) for row in range(-RADIUS, RADIUS + 1) for column in range(-RADIUS, RADIUS + 1)]


def of_observations(policy: Callable[[list[Any]], Any]) -> MakePlayer:
    return lambda env, rng: lambda seen, actions, rewards: int(policy(seen))


def at_random(env: Any, rng: np.random.Generator) -> Player:
    count = int(env.action_space.n)
    return lambda seen, actions, rewards: int(rng.integers(count))


def on_a_map(env: Any, rng: np.random.Generator) -> Player:
    player = MapPlayer()
    return lambda seen, actions, rewards: player.act(seen[-1])


def knows_the_maze(env: Any, rng: np.random.Generator) -> Player:
    cells = range(-RADIUS, env.size + RADIUS)
    known = {(row, column): int(env._maze[row + RADIUS, column + RADIUS]) for row in cells for column in cells}

    def act(seen: list[Any], actions: list[int], rewards: list[float]) -> int:
        move = first_move(known, (env._row, env._column), lambda cell: known[cell] == seen[-1]["target"] + 2)
        assert move is not None
        return move

    return act


def forgets_the_maze(env: Any, rng: np.random.Generator) -> Player:
    def act(seen: list[Any], actions: list[int], rewards: list[float]) -> int:
        known = dict(zip(SEEN, seen[-1]["view"].reshape(-1).tolist(), strict=True))
        move = first_move(known, (0, 0), lambda cell: known[cell] == seen[-1]["target"] + 2)
        if move is None:
            free = [action for action, cell in enumerate(MOVES) if known[cell]]
            move = free[rng.integers(len(free))]
        return move

    return act


def knows_the_arms(env: Any, rng: np.random.Generator) -> Player:
    return lambda seen, actions, rewards: int(env._best)


def stays_after_a_one(env: Any, rng: np.random.Generator) -> Player:
    return lambda seen, actions, rewards: (actions[-1] + (rewards[-1] == 0)) % env.arms if actions else 0


def gittins(env: Any, rng: np.random.Generator) -> Player:
    return lambda seen, actions, rewards: bandit.gittins_action(actions, rewards, env.arms, env.pulls)


def without_the_key(env: Any, rng: np.random.Generator) -> Player:
    def act(seen: list[Any], actions: list[int], rewards: list[float]) -> int:
        best = key_to_door.optimal_action(seen)
        room = seen[-1].reshape(-1)
        if (room != key_to_door.KEY).all():
            return best
        player = int(np.flatnonzero(room == key_to_door.PLAYER)[0])
        return next(move for move, cell in enumerate(key_to_door.NEXT_CELL[player]) if room[cell] != key_to_door.KEY)

    return act


CASES: dict[str, tuple[dict[str, Any], dict[str, MakePlayer]]] = {
    "ActiveTMaze": ({}, {
        "optimal": of_observations(memory.optimal_action),
        "never fetches the cue": of_observations(lambda seen: memory.UP if seen[-1][0] else memory.RIGHT),
    }),
    "RecallColour": ({}, {
        "optimal": of_observations(lambda seen: recall_colour.optimal_action(seen, 3)),
        "reads the current picture": of_observations(lambda seen: recall_colour.name_colour(seen[-1], 3)),
    }),
    "RecallColour30": ({}, {"optimal": of_observations(lambda seen: recall_colour.optimal_action(seen, 30))}),
    "KeyToDoor": ({}, {"optimal": of_observations(key_to_door.optimal_action), "without the key": without_the_key}),
    "KeyToDoor, no variance": ({"apple_rewards": (1.0, 1.0)}, {
        "optimal": of_observations(key_to_door.optimal_action), "without the key": without_the_key,
    }),
    "BanditTrials": ({}, {
        "knows the arms": knows_the_arms, "Gittins index": gittins, "stays after a 1": stays_after_a_one,
    }),
    "Copy": ({}, {"optimal": of_observations(lambda seen: sequences.copied_symbol(seen, 8))}),
    "AssociativeRecall": ({}, {"optimal": of_observations(lambda seen: sequences.recalled_value(seen, 8))}),
    "MazeSearch": ({}, {
        "knows the maze": knows_the_maze, "draws a map": on_a_map, "goes to what is in view": forgets_the_maze,
    }),
}  # fmt: skip


def play(name: str, arguments: dict[str, Any], make: MakePlayer, episodes: int) -> tuple[np.ndarray, float]:
    """Return the returns (episodes,) and the share of successes."""
    env = gymnasium.make(f"seqel/{name}-v0", disable_env_checker=True, **arguments)
    rng, totals, successes = np.random.default_rng(1), [], 0
    for episode in range(episodes):
        seen, over = [env.reset(seed=episode)[0]], False
        actions: list[Any] = []
        rewards: list[float] = []
        act = make(env.unwrapped, rng)
        info: dict[str, Any] = {}
        while not over:
            actions.append(act(seen, actions, rewards))
            observation, reward, terminated, truncated, info = env.step(actions[-1])
            seen.append(observation)
            rewards.append(float(reward))
            over = terminated or truncated
        totals.append(sum(rewards))
        successes += info["is_success"]
    return np.array(totals), successes / episodes


def steps_per_second(name: str, arguments: dict[str, Any], steps: int = 20_000) -> float:
    """Return the steps per second of CPU time of the bare environment, with its resets."""
    env = gymnasium.make(f"seqel/{name}-v0", disable_env_checker=True, **arguments)
    limit = env.spec.max_episode_steps or steps  # type: ignore[union-attr]
    env = env.unwrapped
    actions = np.random.default_rng(0).integers(int(env.action_space.n), size=steps)  # type: ignore[attr-defined]
    env.reset(seed=0)
    began, since = time.process_time(), 0
    for action in actions:
        since += 1
        if env.step(action)[2] or since == limit:
            env.reset()
            since = 0
    return steps / (time.process_time() - began)


def lines(chosen: str | None, episodes: int) -> Iterator[str]:
    for title, (arguments, players) in CASES.items():
        if chosen not in (None, title):
            continue
        name = title.split(",")[0]
        yield f"{title}: {steps_per_second(name, arguments):,.0f} steps/s"
        for player, make in {**players, "random": at_random}.items():
            totals, success = play(name, arguments, make, episodes)
            half = 1.96 * totals.std() / np.sqrt(episodes)
            yield f"  {player:25} {totals.mean():8.3f} +- {half:.3f}   sd {totals.std():.2f}   success {success:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=2_000)
    parser.add_argument("--task", choices=list(CASES))
    arguments = parser.parse_args()
    registry.register()
    for line in lines(arguments.task, arguments.episodes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
