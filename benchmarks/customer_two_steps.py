"""Customer service: what looking two questions ahead earns more than looking one ahead, which bounds what is left to learn.

    SEQEL_DATA=/folder/of/data python benchmarks/customer_two_steps.py [--data banking77] [--without impatient]

Both lookaheads know the probabilities of the setting and have the same belief, with the inverse temperature with which
the one-step lookahead earns most. Shifts with validation sentences, the same for both; standard errors. Nothing is written.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customer_agents import TUNED, problem_of
from customer_service import PARTS, READ
from seqel.tasks.customers.players import Lookahead, play

DRAWS = 24  # sentences after each of two questions


class TwoSteps(Lookahead):
    """Values a question by that of the best decision after it, which may be another question."""

    def expected(self, seen: dict[str, Any]) -> NDArray[np.float64]:
        over = self.handing_over(seen)
        asking = self._questions(self.belief[None], int(seen["asked"]), over, 2)[:, 0]
        return np.concatenate([self.answers(self.belief), asking, [over]])

    def _questions(self, belief: NDArray[np.float64], asked: int, over: float, steps: int) -> NDArray[np.float64]:
        """Return the values of an open question and of a pair for beliefs (R, N + 1), (2, R)."""
        costs, setting = self.env.costs, self.env.setting
        leaves = {1: setting.impatient, 4: 1.0}.get(asked, 0.0)
        if leaves == 1.0:
            return np.full((2, len(belief)), costs.left)
        changes = setting.changes * belief[:, :-1].sum(axis=1, keepdims=True)
        left = belief * np.append(np.full(belief.shape[1] - 1, 1.0 - setting.changes), 1.0)
        opened = self._said(left + changes * self.scoped, asked, over, steps)
        pair = np.argpartition(-belief[:, :-1], 2, axis=1)[:, :2]
        known = np.take_along_axis(left, pair, 1).sum(axis=1)
        np.put_along_axis(left, pair, 0.0, 1)
        rest = left.sum(axis=1)
        after = self._best_of(left / rest.clip(1e-12)[:, None], asked + 1, over, steps - 1)
        paired = known * costs.right + np.where(rest > 1e-12, rest * after, 0.0)
        paired += changes[:, 0] * self._said(self.scoped[None], asked, over, steps)
        return leaves * costs.left + (1.0 - leaves) * (np.stack([opened, paired]) + costs.clarification)

    def _said(self, belief: NDArray[np.float64], asked: int, over: float, steps: int) -> NDArray[np.float64]:
        """Return the values after one more sentence, (R,)."""
        heard, start, counts = self._heard
        spoken = np.cumsum(belief @ self.speaks, axis=1)
        drawn = (np.arange(DRAWS) + self.rng.random((len(belief), 1))) / DRAWS * spoken[:, -1:]
        kinds = (spoken[:, None, :] < drawn[:, :, None]).sum(axis=-1).clip(max=belief.shape[1] - 1)
        rows = start[kinds] + self.rng.integers(counts[kinds])
        after = self._after(belief[:, None], heard[rows]).reshape(-1, belief.shape[1])
        return self._best_of(after, asked + 1, over, steps - 1).reshape(-1, DRAWS).mean(axis=1)

    def _best_of(self, belief: NDArray[np.float64], asked: int, over: float, steps: int) -> NDArray[np.float64]:
        best = self._best(belief, over)
        return np.maximum(best, self._questions(belief, asked, over, steps).max(axis=0)) if steps else best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=READ, default=["banking77"])
    parser.add_argument("--without", nargs="+", choices=("", *PARTS), default=[""])
    parser.add_argument("--shifts", type=int, default=1_000)
    given = parser.parse_args()
    print("| data | without | one step | two steps | difference (standard error) |\n|---|---|---|---|---|", flush=True)
    for name in given.data:
        for without in given.without:
            problem = problem_of(name, without)
            env = problem.service("validation")
            one, two = (
                np.array(
                    play(
                        env,
                        player(env, problem.classify, inverse_temperature=problem.inverse_temperature),
                        given.shifts,
                        TUNED,
                    ).rewards
                )
                for player in (Lookahead, TwoSteps)
            )
            gain = two - one
            error = gain.std() / len(gain) ** 0.5
            means = f"{one.mean():.3f} | {two.mean():.3f} | {gain.mean():+.3f} ({error:.3f})"
            print(f"| {name} | {without or '-'} | {means} |", flush=True)


if __name__ == "__main__":
    main()
