"""Training on environments: assembles collector, replay and learner from a config; they are saved and restored together.

The order of work is in `online/loop.py`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.agents.exploration import Explorer
from seqel.agents.sketch import ObservationSketch
from seqel.environments.parallelism import choose_mode
from seqel.environments.probe import Probe, probe
from seqel.environments.resolve import EnvMaker
from seqel.environments.shielded import ShieldedStream
from seqel.environments.vector import VectorStream, make_vector
from seqel.errors import ConfigError
from seqel.evaluation.rollout import Evaluation
from seqel.networks.qnetwork import QNetwork
from seqel.replay.buffer import Replay
from seqel.spaces.text_readers import TextReader
from seqel.training.config import RunConfig
from seqel.training.hardware.memory import capped, require_memory, segment_length
from seqel.training.learner import Learner
from seqel.training.online.acting import INHERITED, RunAgents
from seqel.training.online.actors import Actors
from seqel.training.online.batches import Batches
from seqel.training.online.collector import Collector, EpisodeEnd
from seqel.training.online.costs import CostLimit
from seqel.training.online.greedy import GreedyEpisodes
from seqel.training.online.perturbed import training_envs
from seqel.training.online.selection import Selection
from seqel.training.record import Record, Validation
from seqel.training.resolve import for_environment, on_this_machine, unused_network_settings, with_network_of
from seqel.training.return_scale import ReturnScale
from seqel.training.shielded_data import shielded, with_shield
from seqel.training.sources import Source, episodes_to_learn, require_same_spaces
from seqel.training.text_reading import with_text_reader
from seqel.training.trainer import Trainer

__all__ = ["OnlineTrainer"]


class OnlineTrainer(Trainer):
    """Environments, agent, replay and learner of one run.

    `agent` acts and `challenger`, with the moving average of the weights, is validated. If `learner.acting_weights` is
    "incumbent", the incumbent acts in most environments, and the challenger in the others. `selection` keeps the best
    weights: the incumbent's, or a copy.
    """

    unit = "steps"

    def __init__(
        self,
        config: RunConfig,
        make: EnvMaker,
        probed: Probe | None = None,
        *,
        initial_agent: Agent | None = None,
        source: Source | None = None,
        reader: TextReader | None = None,
    ) -> None:
        """Args:
            probed: the result of `probe(make)`, if it is already known.
            initial_agent: an agent whose weights and network config the run starts from.
            reader: what reads texts, if it is known already (of a resumed run, or a function); None: that of `initial_agent`
                or of `source`, else a new one according to `config.text`.
            source: recorded episodes with the same spaces; `offline.fraction` of each batch is sampled from them.

        Raises:
            SpaceError: `initial_agent` or `source` has other spaces than the environment.
            ConfigError: `learner.acting_weights` is "incumbent" without `initial_agent`, or `memoryless` is set and that
                agent has a memory.
        """
        if initial_agent is None and config.learner.acting_weights == "incumbent":
            raise ConfigError("learner.acting_weights = 'incumbent' needs an agent to start from: pass `init_from`")
        if initial_agent is not None and config.memoryless and initial_agent.network.config.context != 1:
            raise ConfigError(
                "memoryless: the agent to start from has a memory; train a memoryless agent without `init_from`"
            )
        directory = Path(config.replay.directory).absolute() if config.replay.directory else None
        self.probe = with_text_reader(
            probed or probe(make, read_as=config.observation), config, reader, initial_agent, source
        )
        asked_network = config.network
        if initial_agent is not None:
            config = with_network_of(config, initial_agent.network.config)
        config = on_this_machine(for_environment(config, self.probe))
        spec, action = self.probe.observation, self.probe.action
        self.costs = CostLimit(config.objective, self.probe)
        inherited = (
            {}
            if initial_agent is None
            else {name: value for name, value in initial_agent.info.items() if name in INHERITED}
        )
        config, shield = with_shield(config, spec, action, initial_agent, inherited)
        masked = self.probe.masked or shield is not None
        require_memory(config, spec, action, masked=masked)
        capacity, note = capped(config)
        count, asked = config.environments, config.vectorization
        mode = choose_mode(make, self.probe, count) if asked == "auto" else asked
        super().__init__(dataclasses.replace(config, vectorization=mode))
        config, self.make = self.config, make
        unused = unused_network_settings(asked_network, config.network) if initial_agent is not None else None
        self.notes += [one for one in (note, unused) if one is not None]
        network = QNetwork(config.network, spec, action).to(self.device)
        for what, given in (("the agent to start from", initial_agent), ("the recorded data", source)):
            if given is not None:
                require_same_spaces(what, given, spec, action)
        if initial_agent is not None:
            # a head that only training uses, and that the agent does not have, begins as usual
            network.load_state_dict(network.state_dict() | initial_agent.network.state_dict())
        self.learner = Learner(network, config.objective, config.learner)
        self.agents = RunAgents(config, self.probe, network, inherited)
        self.agent, self.challenger, self.average = self.agents.acting, self.agents.challenger, self.agents.average
        actors = Actors(self.agent, count, self.challenger if self.has_incumbent else None)
        if config.learner.compile == "on":
            actors.compile()
        self.replay = Replay(
            spec.storage,
            capacity,
            actions=action.actions,
            action_dims=action.dims,
            masked=masked,
            costs=self.costs.limit is not None,
            priority_exponent=config.replay.priority_exponent,
            context=config.network.context,
            directory=directory,
        )
        make = training_envs(make, config, network)
        envs = make_vector(make, count, mode)
        self.stream = VectorStream(envs, spec, action) if shield is None else ShieldedStream(envs, spec, action, shield)
        if masked:  # actions are allowed unless a mask says otherwise
            self.stream.mask = self.stream.unmasked()
        explorer = Explorer(config.exploration, count, action, config.seed + 1, actors.challenger_rows)
        explores = network.part("novelty") is not None
        self.scale = ReturnScale(config.objective.discount)
        if initial_agent is not None:
            self.scale.begin(float(network.head.scale))
        self.has_initial_agent = initial_agent is not None
        if source is not None and shield is not None:
            source = shielded(source, shield)
        self.recorded_episodes = None if source is None else episodes_to_learn(source, initial_agent)
        self.collector = Collector(
            self.stream, actors, explorer, self.replay, self.scale,
            seed=config.seed, segment=segment_length(config), context=config.network.context,
            sketch=ObservationSketch(spec, self._normalise) if explores or config.exploration.bonus else None,
        )  # fmt: skip
        self.batches = Batches(
            config, self.replay, self.recorded_episodes, self.collector.visits if explores else None,
            network.trunk.packs_rows, self.note,
        )  # fmt: skip
        self.rng = np.random.default_rng(config.seed + 2)
        self.num_learned = 0  # trained transitions, without padding and burn-in
        self.ready = False  # whether there is enough experience to learn from
        self.recent: deque[EpisodeEnd] = deque(maxlen=100)
        # weights that act for others are only replaced by weights that were tried as thoroughly as a result
        further = config.validation.confirm if self.has_incumbent else config.validation.episodes
        self.greedy = GreedyEpisodes(make, self.probe, count, self.collector, self.recent)
        self.selection = Selection(
            config.validation, self.greedy.play, self.challenger, self.agents.kept, further, self.costs.limit
        )

    @property
    def has_incumbent(self) -> bool:
        """Whether two agents act: the incumbent and the challenger."""
        return self.agents.has_incumbent

    # -- what the loop uses ----------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.collector.steps

    @property
    def total(self) -> int:
        """Environment steps that the config asks for."""
        return self.config.steps

    @property
    def best(self) -> float | None:
        """The mean return of the best weights so far, over all their validation episodes."""
        return None if self.selection.best is None else self.selection.best.evaluation.mean

    @property
    def last_agent(self) -> Agent:
        """The agent with the moving average of the weights, which a validation measures."""
        return self.challenger

    @property
    def best_agent(self) -> Agent:
        """The agent with the best weights so far."""
        return self.selection.kept

    def begin(self) -> None:
        """Reset every environment to its first episode."""
        self.collector.begin()

    def collect(self) -> None:
        """Take one step in every environment."""
        for end in self.collector.step(self.progress):
            self.recent.append(end)
            if self.collector.explorer.calm[end.environment]:
                self.costs.observe(end.cost)
        if not self.ready and self.collector.steps >= self.config.replay.learning_starts and self.replay.episodes:
            if not self.has_initial_agent:
                self._freeze_statistics()
            self.ready = True

    @property
    def update_due(self) -> bool:
        """Whether fewer transitions were trained on than `replay.replay_ratio` asks for."""
        budget = (self.collector.steps - self.config.replay.learning_starts) * self.config.replay.replay_ratio
        return self.ready and self.num_learned < budget

    def update(self) -> dict[str, torch.Tensor]:
        """Sample a batch, train on it, and move the target network. Returns the learner's metrics."""
        config = self.config
        self._follow_return_scale()
        self.costs.follow(self.scale.value, (self.learner.network, self.learner.target, self.average.network))
        live, batch = self.batches.draw(self.rng, self.progress)
        self.num_learned += max(1, live.num_learned)
        metrics = self.learner.update(batch, self.progress)
        self.average.follow(self.learner.updates)
        self.after_update()
        if config.replay.priority_exponent:
            error = self.learner.errors[: len(live.reward), : live.reward.shape[1]]  # of the run's own windows
            self.replay.update_priorities(live, error.cpu().numpy())
        if config.refresh_every and self.learner.updates % config.refresh_every == 0:
            self.collector.refresh()
        return metrics

    def _follow_return_scale(self) -> None:
        if abs(self.scale.value / float(self.agent.network.head.scale) - 1.0) > 0.01:
            self.learner.rescale(self.scale.value)
            self.agents.rescale(self.scale.value)

    def validate(self, episodes: int | None = None) -> Evaluation:
        """Play greedy episodes with fresh memory, on seeds that nothing else in this run and no reported figure uses."""
        return self.selection.validate(episodes)

    def accept(self, validation: Validation) -> bool:
        """Return whether the validated weights are the best so far, after a second look where it is needed; keep them if so.

        Sets `solved` if the threshold is confirmed.
        """
        assert isinstance(validation, Evaluation)
        verdict = self.selection.judge(validation, self.steps, self.updates)
        self.solved = verdict.solved
        comparison = verdict.comparison() if self.has_incumbent else None
        if comparison is not None:
            self.notes.append(comparison)
        if self.has_incumbent and verdict.accepted:
            self.collector.refresh()  # other weights act from here on
        return verdict.accepted

    def record(
        self, speed: float, metrics: dict[str, float], validation: Validation | None = None, accepted: bool = False
    ) -> Record:
        """Return a record of everything since the last one; if there was a validation, with what is known about the best."""
        found = super().record(speed, metrics, validation, accepted)
        if validation is None:
            return found
        return dataclasses.replace(found, best=self.selection.best, reassessed=self.selection.verdict.reassessed)

    def _freeze_statistics(self) -> None:
        """Set the statistics of vector observations from the warm-up's experience, once, in all networks."""
        statistics = {}
        for path, encoder in self.agent.network.tokens.vectors().items():
            values = torch.from_numpy(self.replay.observations(path).astype(np.float64))
            statistics[path] = encoder.statistics(values)
        if statistics:
            self.learner.observe(statistics)
            self.average.restart()  # there was no update yet
            self.collector.refresh()

    def _normalise(self, path: str, values: Any) -> Any:
        return self.agent.network.tokens.vectors()[path].normalise_array(values)

    def close(self) -> None:
        """Close the environments."""
        self.stream.close()

    # -- saved and restored ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs. It refers to the live arrays: write or copy it before continuing."""
        return super().state_dict() | {
            "collector": self.collector.state_dict(),
            "selection": self.selection.state_dict(),
            "replay": self.replay.state_dict(),
            "scale": self.scale.state_dict(),
            "average": self.average.network.state_dict(),
            "num_learned": self.num_learned,
            "ready": self.ready,
            "recent": [dataclasses.asdict(end) for end in self.recent],
            "widened": self.batches.widened,
            "multiplier": self.costs.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> list[int]:
        """Restore what `state_dict` returned. Returns the environments whose open episode could not be replayed."""
        self.selection.load_state_dict(state["selection"])
        self.replay.load_state_dict(state["replay"])
        self.scale.load_state_dict(state["scale"])
        self.average.network.load_state_dict(state["average"])
        self.num_learned, self.ready = int(state["num_learned"]), bool(state["ready"])
        self.recent.clear()
        self.recent.extend(EpisodeEnd(**end) for end in state["recent"])
        self.batches.widened = bool(state["widened"])
        self.costs.load_state_dict(state["multiplier"])
        lost = self.collector.load_state_dict(state["collector"])
        super().load_state_dict(state)
        return lost
