"""A run on disk: its config, records, checkpoints, best agent, and learning curve.

config.toml            every setting, written once, after the open ones were resolved
metrics.jsonl          one JSON object per record          events.out.tfevents.*   the same, with --tensorboard
checkpoints/           everything an exact resume needs    agent/                  the best weights by validation
learning-curve.png                                         agent-last/             the weights at the end
summary.json           the final figures
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

from seqel.agents import artifact
from seqel.agents.agent import Agent
from seqel.agents.info import ValidationInfo
from seqel.errors import CheckpointError, ConfigError
from seqel.evaluation.statistics import first_reached
from seqel.integrity import require_own_tree, sealed_line
from seqel.runs.checkpoints import CheckpointStore
from seqel.runs.plots import draw_curve
from seqel.runs.records import METRICS, read_records
from seqel.runs.run_config import AGENT, CONFIG, LAST_AGENT, read_run_config
from seqel.storage import Claim, atomic_create, atomic_write, writing
from seqel.training.config import RunConfig
from seqel.training.config_file import config_text
from seqel.training.record import Record, count
from seqel.training.trainer import Trainer

__all__ = ["RunFolder"]

SUMMARY, PICTURE = "summary.json", "learning-curve.png"


class RunFolder:
    """Reads and writes a run's folder, and holds a lock on it until it is closed.

    Raises:
        StorageError: another process has locked it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim = Claim(path)
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.later: ValidationInfo | None = None  # figures of an agent that is later than the checkpoint of a resume
        self.damaged: list[int] = []  # lines of metrics.jsonl, from 1, that `records` found in its last call

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunFolder:
        """Create a folder with its config.

        Raises:
            ConfigError: the folder already holds a run or other files. StorageError: it cannot be written, or is in use.
        """
        taken = f"{path} already holds a run: continue it with --resume {path}, or choose another folder"
        with writing(path / CONFIG):
            if (path / CONFIG).exists():
                raise ConfigError(taken)
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ConfigError(f"{path} is not empty and holds no run: choose another folder")
            path.mkdir(parents=True, exist_ok=True)
        try:
            atomic_create(path / CONFIG, config_text(config))  # if several runs start at once, one gets the folder
        except FileExistsError as error:
            raise ConfigError(taken) from error
        return cls(path)

    @classmethod
    def open(cls, path: Path, trust: bool = False) -> tuple[RunFolder, RunConfig]:
        """Open an existing run. `trust`: accept an edited config.

        Raises:
            CheckpointError: there is no run, its config was altered, or a link leads out of its folder. ConfigError: its
                    config is invalid. StorageError: it is in use.
        """
        config = read_run_config(path, trust)
        require_own_tree(path)
        folder = cls(path)
        folder._mend()
        return folder, config

    def _mend(self) -> None:
        """Complete a rename that a kill interrupted: the previous agent gets its name back."""
        for aside in sorted(self.path.glob(".agent.old-*")):
            if not self.agent.exists():
                with writing(self.agent):
                    aside.rename(self.agent)
        for left in [*self.path.glob(".agent*.old-*"), *self.path.glob(".agent*.tmp-*")]:
            shutil.rmtree(left, ignore_errors=True)

    @property
    def agent(self) -> Path:
        """The folder of the best agent."""
        return self.path / AGENT

    # -- during the run ------------------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """Write one record to metrics.jsonl."""
        line = sealed_line(as_json(record))
        with writing(self.path / METRICS), (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def save(self, trainer: Trainer) -> Path:
        """Write a checkpoint and redraw the learning curve. Returns the checkpoint's path."""
        with writing(self.path / METRICS):
            self._flush()
        path = self.checkpoints.save(trainer.count, trainer.state_dict())
        self._draw(trainer.config, self.records())
        return path

    def _flush(self) -> None:
        """Put the records on the disk before a checkpoint that counts them as written."""
        if (self.path / METRICS).exists():
            with (self.path / METRICS).open("rb") as file:
                os.fsync(file.fileno())

    def _draw(self, config: RunConfig, lines: list[dict[str, Any]]) -> None:
        if lines:
            draw_curve(
                lines,
                self.path / PICTURE,
                f"{config.env or 'recorded data'}, seed {config.seed}",
                config.validation.threshold,
            )

    def truncate(self, done: int) -> list[str]:
        """Remove the records after `done` (in the run's unit), because a resumed run writes them again.

        Returns a note about damaged lines.
        """
        path = self.path / METRICS
        if not path.exists():
            return []
        kept = [line for line in self.records() if count(line["steps"], line["updates"]) <= done]
        lines, damaged = (", ".join(map(str, self.damaged[:20])), len(self.damaged))
        atomic_write(path, "".join(sealed_line(line) + "\n" for line in kept))
        if not damaged:
            return []
        more = ", ..." if damaged > 20 else ""
        return [
            f"{METRICS}: {damaged} damaged lines were ignored (line {lines}{more}); all {len(kept)} other records are kept"
        ]

    def records(self) -> list[dict[str, Any]]:
        """Return every intact record so far. Damaged lines are ignored and their numbers are in `damaged`; a last line that a
        crash cut off is ignored silently."""
        found, self.damaged = read_records(self.path)
        return found

    def save_agent(self, agent: Agent, record: Record) -> None:
        """Save these weights as the best, with the figures that selected them.

        An agent that is later than the checkpoint of a resume is only replaced by a better one, or by its own repetition.
        """
        validation = record.validation
        assert validation is not None
        if record.best is not None:
            figures, success = record.best.as_json(), record.best.evaluation.success
        else:
            figures = {
                "steps": record.steps,
                "updates": record.updates,
                "mean": validation.mean,
                **validation.evidence(),
            }
            success = validation.success
        later = self.later
        if later is not None and figures["steps"] != later["steps"] and figures["mean"] < later.get("mean", -math.inf):
            return
        self.later = None
        self.keep(agent, figures, success)

    def keep(self, agent: Agent, figures: dict[str, Any], success: float | None = None) -> None:
        """Write `agent/`, with the figures that selected its weights."""
        Agent(agent.network, agent.info | {"validation": figures, "success": success}).save(self.agent)

    def best(self) -> ValidationInfo | None:
        """Return the figures by which the saved agent was selected; None if there is no agent, or it is damaged."""
        try:
            chosen = Agent.load(self.agent).info.get("validation")
        except CheckpointError:
            return None
        return chosen or None

    def _best_line(self, validations: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the validation of the kept weights: not always the largest one, because acceptance may depend on more."""
        if not validations:
            return None
        info = artifact.info(self.agent)
        chosen = info.get("validation") or {}
        steps = chosen.get("steps", 0)
        updates = chosen.get("updates", steps)  # runs of earlier versions counted updates as steps on recorded data
        # a resumed run may have lost the line or have written it again, and further episodes may have been played
        own = {"steps": steps, "updates": updates, "validation": {"success": info.get("success"), **chosen}}
        same = (
            line for line in reversed(validations) if count(line["steps"], line["updates"]) == count(steps, updates)
        )
        found = ("mean", "episodes")
        return next((line for line in same if _only(found, line["validation"]) == _only(found, chosen)), own)

    def finish(self, trainer: Trainer) -> dict[str, Any]:
        """Write summary.json and `agent-last/`. Returns the summary."""
        config, lines = trainer.config, self.records()
        validations = [line for line in lines if "validation" in line]
        threshold = config.validation.threshold
        best, final = self._best_line(validations), validations[-1] if validations else None
        self._save_last(trainer, final)
        summary: dict[str, Any] = {
            "env": config.env,
            "data": list(config.offline.files),
            "seed": config.seed,
            "steps": trainer.steps,
            "updates": trainer.updates,
            "seconds": trainer.elapsed,
            "best": best,
            "final": final,
            "final_is_below_best": None if best is None or final is None else below(final, best),
            "threshold": threshold if math.isfinite(threshold) else None,  # JSON has no infinity
            "solved": bool(lines and lines[-1].get("solved")),
        }
        if math.isfinite(threshold) and validations:
            means = [line["validation"]["mean"] for line in validations]
            for name in ("steps", "seconds"):
                summary[f"{name}_to_threshold"] = first_reached([line[name] for line in validations], means, threshold)
        atomic_write(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    def _save_last(self, trainer: Trainer, final: dict[str, Any] | None) -> None:
        """Write `agent-last/`, with the last validation if it was one of these weights."""
        agent = trainer.last_agent
        info: Any = {"steps": trainer.steps, "updates": trainer.updates}
        success = None
        if final is not None and (final["steps"], final["updates"]) == (trainer.steps, trainer.updates):
            figures = final["validation"]
            info |= {name: value for name, value in figures.items() if value is not None}
            success = figures.get("success")
        Agent(agent.network, agent.info | {"validation": info, "success": success}).save(self.path / LAST_AGENT)

    def close(self) -> None:
        """Release the lock."""
        self._claim.release()


def below(final: dict[str, Any], best: dict[str, Any]) -> bool | None:
    """Return whether the interval of the last validation lies entirely below that of the best weights.

    False for two validations of the same weights; None without intervals.
    """
    if (final["steps"], final["updates"]) == (best["steps"], best["updates"]):
        return False
    intervals = [line["validation"].get("interval") or (None, None) for line in (final, best)]
    (_, high), (low, _) = intervals
    return None if high is None or low is None else bool(high < low)


def _only(names: tuple[str, ...], figures: Any) -> list[Any]:
    return [figures.get(name) for name in names]


def as_json(record: Record) -> dict[str, Any]:
    """Return a record as metrics.jsonl holds it: flat, without NaN."""
    line: dict[str, Any] = {"steps": record.steps, "seconds": round(record.seconds, 3), "updates": record.updates}
    line["steps_per_second"] = round(record.steps_per_second, 1)
    line |= {name: value for name, value in record.metrics.items() if math.isfinite(value)}
    if record.validation is not None:
        figures = record.validation.as_json()
        line["validation"] = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in figures.items()
        }
    if record.best is not None:
        line["best"] = record.best.as_json()
    if record.solved:
        line["solved"] = True
    if record.notes:
        line["notes"] = list(record.notes)
    return line
