"""From a table to a policy with a known true value: check support sessions, train, estimate, and then play.

    python recipes/customers.py [--out runs/customers] [--sessions 3000] [--updates 3000]

A customer says once what the problem is (money or a defect). A request can only be solved after asking for the account
number, and by then the first message is no longer visible: a policy without memory has to guess. The recorded staff acted at
random. At the end the learned policy serves 2,000 new customers, and the estimate is compared with its true return.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

HELD_OUT = ("--set", "offline.held_out=0.3")  # held-out sessions, for the estimate
ACTIONS = ("ask", "refund", "repair")
CHANCES = (0.4, 0.3, 0.3)  # of the recorded staff
COLUMNS = ["session", "step", "channel", "waited", "message", "action", "probability", "reward"]
MATTERS = {
    "refund": [
        "I was charged twice this month 😠",
        "The invoice shows a fee that I never agreed to",
        "you took money for a plan i cancelled",
        "我被重复扣款了",
    ],
    "repair": [
        "The router is dead since the storm",
        "no signal at all, the red light blinks",
        "It restarts every ten minutes!!",
        "设备打不开",
    ],
}
SCHEMA = """\
session = "session"
order = "step"
action = "action"
reward = "reward"
behaviour_probability = "probability"

[observation]
channel = "category"
waited = "number"
message = "text"
"""


@dataclass
class Customer:
    """One session: the observation, and the reward of an action."""

    chance: random.Random
    matter: str = ""
    patience: int = 0
    known: bool = False  # the account number
    view: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.matter = self.chance.choice(list(MATTERS))
        self.patience = self.chance.randint(3, 5)
        message = self.chance.choice(MATTERS[self.matter])
        self.view = {"channel": self.chance.choice(["chat", "mail"]), "waited": 0.0, "message": message}

    def answer(self, action: str) -> tuple[float, bool]:
        """Return the reward, and whether the session is over."""
        self.patience -= 1
        self.view["waited"] = round(float(str(self.view["waited"])) + self.chance.uniform(0.5, 3.0), 1)
        if action == "ask":
            reward, over = -0.05, False
            self.known = True
            self.view["message"] = f"My number is {self.chance.randint(100, 999)}"
        elif self.known and action == self.matter:
            reward, over = 1.0, True
        else:
            reward, over = -0.2, False
            self.view["message"] = "That does not help me"
        return reward, over or self.patience == 0


def write_sessions(path: Path, count: int, seed: int = 0) -> None:
    """Write the sessions, one row per step."""
    chance = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for number in range(count):
            customer, step, over = Customer(chance), 0, False
            while not over:
                row = {"session": f"c{number:05}", "step": step, **customer.view}
                (action,) = chance.choices(ACTIONS, CHANCES)
                reward, over = customer.answer(action)
                probability = CHANCES[ACTIONS.index(action)]
                table.writerow(row | {"action": action, "probability": probability, "reward": reward})
                step += 1


def play(run: Path, count: int = 2_000, seed: int = 1) -> tuple[float, float]:
    """Serve new customers in parallel.  -> their mean discounted return, and its standard error."""
    from seqel import Agent
    from seqel.datasets.encoding import Encoding

    agent = Agent.load(run)
    encoding, discount = Encoding.from_json(agent.info["encoding"]), agent.info["discount"]
    chance = random.Random(seed)
    customers, state = [Customer(chance) for _ in range(count)], agent.initial_state(count)
    earned, last, gamma = [0.0] * count, [0.0] * count, 1.0
    waiting = list(range(count))
    while waiting:
        seen = encoding.rows(customers[n].view for n in waiting)
        decision, state = agent.act(seen, state, reward=[last[n] for n in waiting], rows=waiting)
        still = []
        for n, action in zip(waiting, decision.action.tolist(), strict=True):
            last[n], over = customers[n].answer(encoding.actions[action])
            earned[n] += gamma * last[n]
            if not over:
                still.append(n)
        waiting, gamma = still, gamma * discount
    return fmean(earned), stdev(earned) / count**0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, default=Path("runs/customers"))
    parser.add_argument("--sessions", type=int, default=3_000)
    parser.add_argument("--updates", default="3000")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sessions, schema, run = (str(options.out / name) for name in ("sessions.csv", "schema.toml", "run"))
    write_sessions(Path(sessions), options.sessions)
    Path(schema).write_text(SCHEMA, encoding="utf-8")
    for command in (
        ["data", "check", sessions, "--schema", schema],
        ["train", "--data", sessions, "--schema", schema, "--updates", options.updates, *HELD_OUT, "--out", run],
        ["evaluate", run, "--data", sessions, "--held-out"],
    ):
        print(f"\n$ seqel {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", "seqel", *command], check=True)
    mean, error = play(Path(run))
    print(f"\ntrue discounted return over 2,000 new customers: {mean:.3f} (standard error {error:.4f})")


if __name__ == "__main__":
    main()
