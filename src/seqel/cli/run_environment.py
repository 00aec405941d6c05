"""The environment of a trained agent: the one that is named on the command line, or that its run's config names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from seqel.cli.arguments import values

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.agents.info import AgentInfo
    from seqel.cli.output import Output
    from seqel.environments.resolve import EnvMaker

__all__ = ["run_environment"]


class _Arguments(Protocol):
    @property
    def env(self) -> str | None: ...

    @property
    def env_arg(self) -> tuple[str, ...]: ...

    @property
    def trust(self) -> bool: ...


def run_environment(
    folder: Path, info: AgentInfo, arguments: _Arguments, output: Output, command: str
) -> tuple[str, EnvMaker]:
    """Return the environment to play: the argument, or what the run's config or the agent's description names.

    command: the name of the command, for messages.

    Raises:
        ConfigError: no environment is known. TrustError: only a file names it, and no one has confirmed it on this machine.
        EnvironmentFault: there is no such environment.
    """
    from seqel.environments.named import require_plain, resolve_named
    from seqel.environments.resolve import resolve
    from seqel.errors import CheckpointError, ConfigError, EnvironmentFault
    from seqel.runs.run_config import CONFIG, read_run_config, run_of
    from seqel.runs.trust import Known, known

    env, env_args = str(info.get("env") or ""), dict(info.get("env_args") or {})
    source, sure = str(folder / "config.json"), Known(arguments.trust)
    run = run_of(folder)
    if (run / CONFIG).exists() and (run / "agent").is_dir():  # another program's config.toml is ignored
        try:
            config = read_run_config(run, arguments.trust)
        except (CheckpointError, ConfigError) as error:
            if arguments.env is None:
                raise
            output.note(f"note: {error}; the environment is created without the run's env_args")
            env, env_args = "", {}
        else:
            env, env_args, source = config.env, config.env_args, str(run / CONFIG)
            sure = known(run, config, arguments.trust)
    given = values(arguments.env_arg)
    confirm = (
        f"It was not trained on this machine. Name the environment: seqel {command} {folder} --env ENV (and --env-arg); or, "
        "if you have read the config and trust what it names, add --trust"
    )
    if arguments.env is not None:
        env_args = env_args if arguments.env == env else {}
        if not sure.trusted:
            require_plain({n: v for n, v in env_args.items() if n not in given}, source=source, confirm=confirm)
        return arguments.env, resolve(arguments.env, **env_args | given)
    if not env:
        raise ConfigError(f"{folder} does not say which environment it was trained on: give one with --env ENV")
    try:
        return env, resolve_named(
            env, env_args | given, source=source, confirm=confirm, trusted=sure.trusted, folder=sure.folder, given=given
        )
    except EnvironmentFault as error:
        raise EnvironmentFault(
            f"{error}. The agent was trained on it; if it has another name here, give that with --env ENV"
        ) from error
