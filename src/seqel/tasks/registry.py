"""The tasks that are part of Seqel, as a table, and their registration with Gymnasium.

Nothing here imports a task's module: Gymnasium does that when an environment is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TASKS", "Task", "register"]


@dataclass(frozen=True, slots=True)
class Task:
    """One task: how it is made, what it requires, and when it counts as solved."""

    id: str  # Gymnasium id
    entry_point: str  # "module:Class", imported when the task is made
    summary: str  # one line
    memory: int  # how many steps back the agent must remember to play well; 0: nothing
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)  # for the constructor
    suggested: Mapping[str, Any] = field(default_factory=dict, hash=False)  # suggested training settings
    threshold: float | None = None  # mean return that counts as solved
    limit: int | None = None  # steps after which an episode is truncated
    reference: str = ""  # its source
    needs: str = ""  # an argument without which it cannot be created, and what it is


def _tmaze(name: str, length: int) -> Task:
    return Task(
        id=f"seqel/{name}-v0",
        entry_point="seqel.tasks.memory:PassiveTMaze",
        summary=f"See a cue, walk {length} steps, turn as the cue said",
        memory=length,
        kwargs={"length": length},
        suggested={"discount": 1.0, "context": length + 1},
        threshold=0.99,
        reference="Ni et al. 2023, arXiv:2307.03864",
    )


def _active_tmaze(name: str, length: int) -> Task:
    return Task(
        id=f"seqel/{name}-v0",
        entry_point="seqel.tasks.memory:ActiveTMaze",
        summary=f"Fetch a cue one step behind the start, walk {length} steps, turn as the cue said",
        memory=length + 1,
        kwargs={"length": length},
        suggested={"discount": 1.0, "context": length + 3},
        threshold=0.99,
        reference="Ni et al. 2023, arXiv:2307.03864",
    )


def _recall_colour(name: str, colours: int) -> Task:
    return Task(
        id=f"seqel/{name}-v0",
        entry_point="seqel.tasks.recall_colour:RecallColour",
        summary=f"Name which of {colours} colours a noisy picture showed 18 steps ago",
        memory=18,
        kwargs={"colours": colours},
        suggested={"context": 20, "observation": {"observation": "pixels"}},
        threshold=0.95,
        reference="this project, after Cherepanov et al. 2025, arXiv:2502.10550",
    )


TASKS: tuple[Task, ...] = (
    _tmaze("TMaze", 50),  # other lengths: gymnasium.make("seqel/TMaze-v0", length=1500)
    *(_tmaze(f"TMaze{length}", length) for length in (10, 20, 50, 100, 250, 500)),
    _active_tmaze("ActiveTMaze", 50),
    *(_active_tmaze(f"ActiveTMaze{length}", length) for length in (10, 20, 100)),
    Task(
        id="seqel/CarFlag-v0",
        entry_point="seqel.tasks.car_flag:CarFlag",
        summary="Read a sign, then drive to the flag that it named",
        memory=100,
        threshold=0.9,
        limit=200,
        reference="Nguyen 2021; Esslinger et al. 2022, arXiv:2206.01078",
    ),
    Task(
        id="seqel/Courier-v0",
        entry_point="seqel.tasks.courier:Courier",
        summary="Hurry where it pays and is not dangerous, within a cost limit (objective.cost_limit)",
        memory=30,
        suggested={"discount": 0.9, "context": 31},
        reference="this project, to test constraints",
    ),
    Task(
        id="seqel/MemoryCards-v0",
        entry_point="seqel.tasks.memory_cards:MemoryCards",
        summary="Find the pairs among ten cards, one of which is shown at a time",
        memory=50,
        threshold=-6.5,  # 95 % of the way from random play (-37.4) to perfect memory (-4.9)
        limit=50,
        reference="Esslinger et al. 2022, arXiv:2206.01078",
    ),
    Task(
        id="seqel/CombinationLock-v0",
        entry_point="seqel.tasks.combination_lock:CombinationLock",
        summary="See a combination, then set three dials to it at once, four steps later",
        memory=4,
        threshold=0.99,
        reference="actions in several dimensions after Seyde et al. 2023, arXiv:2210.12566",
    ),
    Task(
        id="seqel/FlatCombinationLock-v0",
        entry_point="seqel.tasks.combination_lock:FlatCombinationLock",
        summary="The same lock with one action for each of the 125 combinations",
        memory=4,
        threshold=0.99,
        reference="for comparison with CombinationLock",
    ),
    Task(
        id="seqel/ShuffledObjects-v0",
        entry_point="seqel.tasks.shuffled_objects:ShuffledObjects",
        summary="Name the colour of the object that was marked ten steps ago; the order is shuffled at every step",
        memory=10,
        suggested={"discount": 1.0, "context": 11},
        threshold=0.95,
        reference="this project, to test sets of entities",
    ),
    _recall_colour("RecallColour", 3),
    *(_recall_colour(f"RecallColour{colours}", colours) for colours in (8, 30)),
    Task(
        id="seqel/KeyToDoor-v0",
        entry_point="seqel.tasks.key_to_door:KeyToDoor",
        summary="Fetch a key, eat apples for 30 steps, open a door: the reward for the key is late and hidden by noise",
        memory=0,  # to act; its values need to remember the key
        suggested={"discount": 1.0, "context": 50},
        reference="Hung et al. 2019, arXiv:1810.06721",
    ),
    Task(
        id="seqel/BanditTrials-v0",
        entry_point="seqel.tasks.bandit:BanditTrials",
        summary="Find the best arm of a new bandit in every episode: 5 arms, 100 pulls",
        memory=100,
        suggested={"discount": 1.0, "context": 100},
        threshold=77.0,  # 95 % of the way from chance (50) to the Gittins index (78.4)
        reference="Duan et al. 2016, arXiv:1611.02779",
    ),
    Task(
        id="seqel/Copy-v0",
        entry_point="seqel.tasks.sequences:Copy",
        summary="See eight symbols, wait eight steps, then reproduce them in order",
        memory=16,
        suggested={"discount": 0.0, "context": 24},
        threshold=0.95,
        reference="Graves et al. 2014, arXiv:1410.5401",
    ),
    Task(
        id="seqel/AssociativeRecall-v0",
        entry_point="seqel.tasks.sequences:AssociativeRecall",
        summary="See six pairs of a key and a value, then name the value of each key",
        memory=11,
        suggested={"discount": 0.0, "context": 12},
        threshold=0.95,
        reference="Graves et al. 2014, arXiv:1410.5401",
    ),
    Task(
        id="seqel/MazeSearch-v0",
        entry_point="seqel.tasks.maze_search:MazeSearch",
        summary="Go to the object that is asked for, again and again, in a maze that is new in every episode",
        memory=250,
        suggested={"context": 128},
        threshold=21.0,  # nine tenths of what a player with a map gets
        limit=250,
        reference="after Pasukonis et al. 2022, arXiv:2210.13383",
    ),
    Task(
        id="seqel/Wordle-v0",
        entry_point="seqel.tasks.wordle.game:Wordle",
        summary="Find a word of five letters in six guesses, one letter per step; a fifth of the words is held out",
        memory=30,
        suggested={"discount": 1.0, "context": 31},
        threshold=-3.0,  # four guesses on average, as a player that only guesses what agrees with all marks
        reference="Lokshtanov & Subercaseaux 2022, arXiv:2203.16713",
    ),
    Task(
        id="seqel/CustomerService-v0",
        entry_point="seqel.tasks.customers.service:CustomerService",
        summary="Find out what each customer of a shift wants from what they say, and answer, ask or hand over",
        memory=48,
        suggested={"discount": 0.95, "context": 48},
        reference="this project; sentences such as those of Casanueva et al. 2020, arXiv:2003.04807",
        needs="utterances=FILE.csv, sentences with their intents",
    ),
    Task(
        id="seqel/CustomerShortlist-v0",
        entry_point="seqel.tasks.customers.shortlist:make_shortlist",
        summary="The same with a classifier in front: choose among the most probable intents",
        memory=32,
        suggested={"discount": 1.0, "context": 32},
        reference="this project",
        needs="utterances=FILE.csv, sentences with their intents, and model=MODEL, the encoder of the classifier",
    ),
    Task(
        id="seqel/RetrievedCustomers-v0",
        entry_point="seqel.tasks.customers.retrieval:make_retrieved_customers",
        summary="Evaluate an agent of recorded dialogues on customers who say what others said in similar situations",
        memory=20,
        suggested={"discount": 0.98, "context": 24},
        reference="this project, after Ormoneit & Sen 2002",
        needs="dialogues=FILE.jsonl, a table of dialogues, and model=MODEL, the encoder that compares situations",
    ),
    Task(
        id="seqel/OpinionMonitoring-v0",
        entry_point="seqel.tasks.opinion.monitoring:OpinionMonitoring",
        summary="Read messages about companies as they arrive, and raise an alert soon after a crisis begins",
        memory=250,
        suggested={"discount": 0.99, "context": 256},
        reference="this project; its detectors: Page 1954, Roberts 1966",
        needs="opinions=FILE.csv, sentences with their sentiments",
    ),
    Task(
        id="seqel/Recommend-v0",
        entry_point="seqel.tasks.recommend.environment:Recommend",
        summary="Find out what a user likes, and show items that the user takes and that make the user stay",
        memory=40,
        suggested={"discount": 1.0, "context": 40},
        reference="this project; ratings such as those of Harper & Konstan 2015, doi 10.1145/2827872",
        needs="ratings=FILE.csv with the columns user, item and rating",
    ),
)


def register() -> None:
    """Register every task with Gymnasium; calling it again does nothing."""
    import gymnasium

    for task in TASKS:
        if task.id not in gymnasium.registry:
            gymnasium.register(
                task.id,
                task.entry_point,
                reward_threshold=task.threshold,
                max_episode_steps=task.limit,
                kwargs=dict(task.kwargs),
            )
