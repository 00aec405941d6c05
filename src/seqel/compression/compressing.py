"""`compress`: a smaller agent that decides as a trained one does, and the figures of both."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save as save_tensors

from seqel.agents.agent import Agent
from seqel.agents.calibration import without_calibration
from seqel.agents.matching import require_equal_spaces
from seqel.compression.distilling import DistillationConfig, Tell, distil
from seqel.compression.experience import Experience, Played, Recorded
from seqel.compression.importance import measure_importance
from seqel.compression.judging import Judge, OnData, OnEpisodes
from seqel.compression.loss import gap_temperature
from seqel.compression.measuring import latencies
from seqel.compression.pruning import prune, require_prunable
from seqel.compression.quantising import quantise
from seqel.compression.report import Compression, Variant
from seqel.compression.shape import choose, horizon_of, parameters_of
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.environments.resolve import EnvMaker, resolve
from seqel.errors import ConfigError
from seqel.extras import require
from seqel.losses.config import ObjectiveConfig
from seqel.storage import atomic_directory, atomic_write
from seqel.training.sources import Source

__all__ = ["compress"]

CALIBRATION = 8  # batches on which importance is measured
MOST_VALUES, FEWEST_TOKENS = 1 << 24, 16  # values per tensor of a batch, and steps
HELD_OUT = 0.1  # share of recorded episodes, if the agent does not say which were held out
EXTRA = ("onnx", "onnxscript", "onnxruntime")
# shares of the whole work after each part, for the display
PLAYED, DISTILLED = 0.05, 0.75


def compress(
    agent: Agent,
    env: str | EnvMaker | None = None,
    *,
    data: Source | None = None,
    target_size: float = 0.25,
    max_drop: float = 0.02,
    strict: bool = False,
    int8: bool | None = None,
    episodes: int = 200,
    decisions: int = 5_000,
    seed: int = 0,
    out: str | Path | None = None,
    distillation: DistillationConfig | None = None,
    objective: ObjectiveConfig | None = None,
    progress: Tell | None = None,
) -> Compression:
    """Prune a Transformer agent, distil the full agent into the smaller network, quantise both, and measure every version.

    Args:
        agent: the trained agent. It is not changed; everything is computed on its device.
        env: the environment it was trained on, as for `seqel.train`: it plays there, and drops are measured in return.
        data: recorded episodes with the agent's spaces, instead of an environment. Drops are then measured as the share of
            decisions on held-out episodes that differ from the full agent's, because no return can be measured.
        target_size: the largest share of the parameters that may remain. 1: only quantise.
        max_drop: the largest drop at which a version is saved, relative to the full agent.
        strict: whether the whole 95 % interval of the drop must be within `max_drop`, and not only its estimate.
        int8: whether to quantise. None: if the extra `serve` is installed.
        episodes: number of greedy episodes of each version, the same seeds for all.
        decisions: about how many decisions of each version are compared with the full agent's.
        seed: seed of the first of these episodes, of distillation and of its episodes.
        out: a new folder for the versions that are saved, not created if no version qualifies. None: nothing is written.
        distillation: how long the pruned agent is trained.
        objective: the objective of the agent's run: with data, the held-out score is then reported too.
        progress: called with the share of the work that is done, and a note.

    Raises:
        ConfigError: an argument is out of range, neither or both of `env` and `data` are given, the trunk is not a
            Transformer, the agent has a cost limit, pruning cannot reach the size, or `out` exists.
        MissingExtraError: `int8` is True and the extra `serve` is not installed.
        SpaceError: environment or data have other spaces than the agent.
    """
    given = _Given(target_size, max_drop, strict, episodes, decisions, seed, distillation or DistillationConfig())
    if (env is None) == (data is None):
        raise ConfigError("compress: expected an environment or recorded data, got neither" if env is None else
                          "compress: expected an environment or recorded data, got both")  # fmt: skip
    if agent.cost_multiplier is not None:
        raise ConfigError(
            "compress: expected an agent without objective.cost_limit: a smaller agent would not be trained to keep the limit"
        )
    require_prunable(agent.network)
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists():
        raise ConfigError(f"{folder} exists already: choose another folder for the compressed agent")
    if int8:
        for module in EXTRA:
            require(module, "serve", "int8")
    exports = all(find_spec(module) is not None for module in EXTRA)
    tell = progress or (lambda share, note: None)
    agent = Agent(copy.deepcopy(agent.network), without_calibration(agent.info))
    held: dict[str, Any] = dict(agent.info.get("held_out") or {"share": HELD_OUT, "seed": seed})
    with tempfile.TemporaryDirectory() as scratch:
        work = _Work(agent, given, Path(scratch), exports, exports if int8 is None else int8, tell)
        if env is not None:
            make = resolve(env)
            played = Played(make, agent, given.distillation.steps, seed)
            try:
                made = work.shrink(played)
            finally:
                played.close()
            judge: Judge = OnEpisodes(agent, make, episodes, seed, decisions)
        else:
            assert data is not None
            spaces, wanted = (data.observation, data.action), "the spaces that the agent was trained on"
            require_equal_spaces("the recorded data", spaces, wanted, (agent.observation_spec, agent.action_spec))
            training, held_out = data.split(held["share"], held["seed"])
            made = work.shrink(Recorded(data.buffer.subset(training), agent.network.config.context))
            judge = OnData(agent, data.buffer.subset(held_out), objective, decisions)
        result = work.measure(made, judge)
        if folder is not None and result.any_kept:
            work.save(result, folder)
    tell(1.0, "done")
    return result


@dataclass(frozen=True, slots=True)
class _Given:
    """The checked arguments of `compress`."""

    target_size: float
    max_drop: float
    strict: bool
    episodes: int
    decisions: int
    seed: int
    distillation: DistillationConfig

    def __post_init__(self) -> None:
        if not 0.0 < self.target_size <= 1.0:
            raise ConfigError(f"target_size: expected a share above 0 and at most 1, got {self.target_size:g}")
        if not (self.max_drop >= 0.0 and math.isfinite(self.max_drop)):
            raise ConfigError(f"max_drop: expected a share of at least 0, got {self.max_drop:g}")
        if self.episodes < 2:
            raise ConfigError(f"episodes: expected at least 2, for an interval, got {self.episodes}")
        if self.decisions < 1:
            raise ConfigError(f"decisions: expected at least 1, got {self.decisions}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected at least 0, got {self.seed}")


@dataclass(frozen=True, slots=True)
class _Made:
    """The smaller agents, before anything is measured."""

    agents: dict[str, Agent]  # "full", and with pruning "pruned" and "distilled"
    shape: dict[str, int]
    temperature: float | None = None
    loss: float | None = None


class _Work:
    """The parts of one compression. `scratch`: a folder for exported files until they are saved."""

    def __init__(self, agent: Agent, given: _Given, scratch: Path, exports: bool, int8: bool, tell: Tell) -> None:
        self.agent, self.given, self.scratch, self.tell = agent, given, scratch, tell
        self.exports, self.int8 = exports, int8
        self.notes: list[str] = []

    def shrink(self, experience: Experience) -> _Made:
        """Prune and distil."""
        full, given = self.agent, self.given
        shape = _shape_of(full)
        if given.target_size >= 1.0:
            return _Made({"full": full}, shape)
        network, device = full.network, full.device
        values = network.action_spec.actions * network.action_spec.dims  # per step: many where the catalogue is large
        tokens = int(np.clip(MOST_VALUES // values, FEWEST_TOKENS, given.distillation.tokens))
        config = dataclasses.replace(given.distillation, tokens=tokens)
        self.tell(0.0, "the full agent plays")
        experience.play(full, -(-config.steps // 2))
        rng = np.random.default_rng((given.seed, 1))
        batches = [experience.sample(config.tokens, rng).to(device) for _ in range(CALIBRATION)]
        temperature = gap_temperature(network, batches[0])
        importance = measure_importance(network, batches, temperature, given.seed)
        kept = choose(network, importance, given.target_size, batches, temperature)
        pruned = Agent(prune(network, kept, horizon_of(batches)), full.info)
        info = {**full.info, "validation": None, "success": None}  # these figures were the full agent's
        distilled = Agent(copy.deepcopy(pruned.network), info)
        between = DISTILLED - PLAYED
        loss = distil(
            full, distilled, experience, temperature, config, given.seed,
            lambda share, note: self.tell(PLAYED + between * share, note),
        )  # fmt: skip
        return _Made({"full": full, "pruned": pruned, "distilled": distilled}, _shape_of(distilled), temperature, loss)

    def measure(self, made: _Made, judge: Judge) -> Compression:
        """Measure all versions, and decide which may be saved."""
        given = self.given
        rows: dict[str, Variant] = {}
        acting: dict[str, Any] = {}
        sides: dict[str, Agent | ExportedAgent] = {}
        for name, agent in made.agents.items():
            count = parameters_of(agent.network).total
            rows[name] = Variant(name, count, len(save_tensors(agent.network.state_dict())))
            acting[name] = agent
            sides[f"{name} torch"] = agent if agent.device.type == "cpu" else Agent(copy.deepcopy(agent.network).cpu())
            if name == "pruned" or not self.exports:
                continue
            path = self.scratch / f"{name}.onnx"
            try:
                export(agent, path)
                sides[f"{name} onnx"] = ExportedAgent(path)
            except ConfigError as error:  # a pretrained model that is trained, or a function that encodes texts
                self.notes.append(f"{name}: there is no exported version ({error})")
                continue
            if self.int8:
                small = quantise(path, self.scratch / f"{name}-int8.onnx")
                acting[f"{name} int8"] = sides[f"{name} int8 onnx"] = ExportedAgent(small)
                rows[f"{name} int8"] = Variant(f"{name} int8", count, small.stat().st_size)
        self.tell(DISTILLED, "timing decisions")
        for side, ms in latencies(sides, judge.tape, self.agent.network.config.context).items():
            name, _, runtime = side.rpartition(" ")
            if runtime == "onnx":
                rows[name].onnx_ms = ms
            else:
                rows[name].torch_ms = ms
        for number, (name, row) in enumerate(rows.items()):
            self.tell(DISTILLED + (1.0 - DISTILLED) * number / len(rows), f"measuring: {name}")
            judge.fill(row, acting[name])
            row.kept = name != "pruned" and row.drop is not None and row.drop.within(given.max_drop, given.strict)
        return Compression(
            variants=list(rows.values()),
            shape=made.shape,
            parameters=dataclasses.asdict(parameters_of(self.agent.network)),
            target_size=given.target_size,
            max_drop=given.max_drop,
            strict=given.strict,
            metric=judge.metric,
            episodes=judge.episodes,
            seed=given.seed,
            agent=made.agents["distilled"] if "distilled" in rows and rows["distilled"].kept else None,
            notes=self.notes + judge.notes,
            temperature=made.temperature,
            loss=made.loss,
        )

    def save(self, result: Compression, folder: Path) -> None:
        """Write what may be saved into a new folder: the distilled agent, and the smallest int8 file."""
        kept = {one.name for one in result.variants if one.kept}
        files: dict[str, Callable[[Path], object]] = {}
        agent = result.agent
        if agent is not None:
            result.saved["agent"] = "the distilled agent"
            files["agent"] = agent.save
            if (self.scratch / "distilled.onnx").exists():
                result.saved["agent.onnx"] = "the distilled agent, for onnxruntime"
                files["agent.onnx"] = lambda path: _copy(self.scratch / "distilled.onnx", path)
        sources = ("distilled", "full") if agent is None else ("distilled",)
        source = next((name for name in sources if f"{name} int8" in kept), None)
        if source is not None:
            result.saved["agent-int8.onnx"] = f"the {source} agent with weights in 8 bits, for onnxruntime"
            files["agent-int8.onnx"] = lambda path: _copy(self.scratch / f"{source}-int8.onnx", path)
        with atomic_directory(folder) as temporary:
            for name, write in files.items():
                write(temporary / name)
            text = json.dumps(_plain(result.as_json()), indent=1, allow_nan=False)
            atomic_write(temporary / "compression.json", text + "\n")


def _copy(source: Path, target: Path) -> None:
    atomic_write(target, source.read_bytes())


def _shape_of(agent: Agent) -> dict[str, int]:
    config = agent.network.config
    return {
        "layers": config.layers, "heads": config.heads, "head_dim": config.attention_dim, "hidden": config.units,
        "width": config.width,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Return what JSON can hold: None for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
