"""A wrapper that checks Gymnasium's contract at every call, so that later code can rely on what it gets.

`CheckedEnv` wraps every environment that is used for training, validation or probing. A violation of the contract raises an
EnvironmentFault that says what was expected and what was got. The wrapper passes on only the parts of `info` that Seqel uses:
the action mask (from `info` or from a Dict observation), `is_success` and `cost`.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.action_masks import MASK, mask_space, read_action_mask
from seqel.environments.resolve import EnvMaker
from seqel.errors import EnvironmentFault, SeqelError, SpaceError
from seqel.spaces import ActionSpec

__all__ = ["COST", "SUCCESS", "CheckedEnv", "SharedInstance", "make_checked"]

SUCCESS = "is_success"
COST = "cost"  # what a constraint limits, as in Safety Gymnasium
RESET = "(observation, info)"
STEP = "(observation, reward, terminated, truncated, info)"

_open: dict[int, weakref.ref[CheckedEnv]] = {}  # id of the innermost environment -> the wrapper that uses it


class SharedInstance(EnvironmentFault):
    """The function that makes the environment returned an instance that is already in use."""


def make_checked(make: EnvMaker, row: int | None = None) -> CheckedEnv:
    """Make a new, checked environment; `row` is its number among parallel environments.

    Raises:
        EnvironmentFault: it cannot be created, or is not a `gymnasium.Env` with spaces.
        SpaceError: its observation has an "action_mask" that is not a valid mask.
        SharedInstance: the instance is already in use.
    """
    try:
        env = make()
    except SeqelError:
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFault(f"the environment cannot be created: {_said(error)}") from error
    return CheckedEnv(env, row)


class CheckedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose calls are checked (see the module's docstring).

    A mask under "action_mask" is removed from the observation space.
    """

    def __init__(self, env: Any, row: int | None = None) -> None:
        if not isinstance(env, gym.Env):
            got = f"{type(env).__module__}.{type(env).__name__}"
            raise EnvironmentFault(f"expected a gymnasium.Env, got {got}: the function must return an environment")
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, gym.Space):
                raise EnvironmentFault(
                    f"expected an {name} (a gymnasium.Space) of {type(env).__name__}, got {space!r:.80}"
                )
        super().__init__(env)
        self.close_error = ""  # the error of a failed `close`
        self._name = "the environment" if row is None else f"environment {row}"
        self._steps = 0
        space, action = env.observation_space, env.action_space
        self._action = _spec(action)
        self.mask_in_observation = self._action is not None and mask_space(space, self._action)
        if self.mask_in_observation:
            assert isinstance(space, spaces.Dict)
            self.observation_space = spaces.Dict({name: part for name, part in space.items() if name != MASK})
        self._integers = list(_integers(self.observation_space, ()))
        self._dtype = None if self._action is None else action.dtype
        self._scalar = self._action is not None and self._action.dims == 1
        self._claim()

    # -- one instance, one user ------------------------------------------------------------------------------------

    def _claim(self) -> None:
        key = id(self.env.unwrapped)
        user = _open[key]() if key in _open else None
        if user is not None and user.env.unwrapped is self.env.unwrapped:
            raise SharedInstance(
                "the function that makes the environment returned an instance that is already in use: it must return a new "
                "one every time. Write `lambda: MyEnv()`, not `lambda: env`. If there can be only one (a machine, a robot), "
                "set environments = 1"
            )
        _open[key] = weakref.ref(self)

    def close(self) -> None:
        """Close the environment. A failure is only a warning, so that the training result is not lost."""
        if self.shut():
            warnings.warn(f"{self._name} failed in close: {self.close_error}", RuntimeWarning, stacklevel=2)

    def shut(self) -> str:
        """Close the environment.  -> the error message if that failed, or ""."""
        key = id(self.env.unwrapped)
        if key in _open and _open[key]() is self:
            del _open[key]
        try:
            self.env.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001  (any error is reported)
            self.close_error = _said(error)
        return self.close_error

    # -- reset and step --------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as Gymnasium defines it. Raises EnvironmentFault if the call fails or breaks the contract."""
        self._steps = 0
        observation, info = self._call("reset", RESET, self.env.reset, seed=seed, options=options or None)
        return self._observed(observation), self._reported(
            observation, self._info("reset", info), over=False, stepped=False
        )

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step as Gymnasium defines it. Raises EnvironmentFault if the call fails or breaks the contract."""
        if self._dtype is not None:  # the type that `action_space.sample()` returns, whatever the caller passed
            # an array of its own: the environment may keep or change it
            action = self._dtype.type(action) if self._scalar else np.array(action, self._dtype)
        returned = self._call("step", STEP, self.env.step, action)
        observation, reward, terminated, truncated, info = returned
        self._steps += 1
        # Nearly all environments return these types, so the checks that any other type needs are left out.
        if type(reward) is not float or not math.isfinite(reward):
            reward = self._reward(reward, action)
        if type(terminated) is not bool:
            terminated = self._flag("terminated", terminated)
        if type(truncated) is not bool:
            truncated = self._flag("truncated", truncated)
        reported = self._reported(observation, self._info("step", info), over=terminated or truncated, stepped=True)
        return self._observed(observation) if self._integers else observation, reward, terminated, truncated, reported

    def _call(self, name: str, parts: str, call: Callable[..., Any], *given: Any, **named: Any) -> tuple[Any, ...]:
        try:
            returned = call(*given, **named)
        except SeqelError:
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentFault(f"{self._name} failed in {name}: {_said(error)}") from error
        if not isinstance(returned, tuple) or len(returned) != parts.count(",") + 1:
            got = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
            raise EnvironmentFault(f"{name} returned {got}: expected {parts}, as Gymnasium defines it")
        return returned

    def _reward(self, reward: Any, action: Any) -> float:
        try:
            if isinstance(reward, str | bytes) or np.ndim(reward) != 0:
                raise TypeError
            number = float(reward)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            got = reward if isinstance(reward, float | np.floating) else repr(reward)[:80]
            raise EnvironmentFault(
                f"{self._name} returned the reward {got} for action {action} at step {self._steps}: expected a finite number"
            )
        return number

    def _flag(self, name: str, value: Any) -> bool:
        if isinstance(value, bool | np.bool_):
            return bool(value)
        if isinstance(value, int | np.integer) and value in (0, 1):
            return bool(value)
        if isinstance(value, np.ndarray) and value.shape == () and value.dtype == np.bool_:
            return bool(value)
        raise EnvironmentFault(f"{self._name} returned {name} = {value!r:.80} at step {self._steps}: expected a bool")

    def _info(self, name: str, info: Any) -> Mapping[str, Any]:
        if type(info) is not dict and not isinstance(info, Mapping):
            raise EnvironmentFault(f"{self._name} returned the info {info!r:.80} from {name}: expected a dict")
        return info

    # -- what is passed on -----------------------------------------------------------------------------------------

    def _reported(self, observation: Any, info: Mapping[str, Any], *, over: bool, stepped: bool) -> dict[str, Any]:
        reported: dict[str, Any] = {}
        if MASK in info or self.mask_in_observation:
            mask = self._mask(observation, info, over)
            if mask is not None:
                reported[MASK] = mask
        if stepped and SUCCESS in info:
            reported[SUCCESS] = self._success(info[SUCCESS])
        if stepped and COST in info:
            reported[COST] = _cost(info[COST])
        return reported

    def _mask(self, observation: Any, info: Mapping[str, Any], over: bool) -> NDArray[np.bool_] | None:
        """Return the mask (A,) or (M, A), or None if all actions are allowed. At an episode's end, a dimension that allows
        nothing counts as one that allows everything, because the maximum over no actions is not defined."""
        if self._action is None:
            return None
        found = []
        for place, value in (("info", info.get(MASK)), ("observation", self._in_observation(observation))):
            if value is not None:
                try:
                    found.append(read_action_mask(value, self._action))
                except SpaceError as error:
                    raise EnvironmentFault(f"{self._name}, {place} after step {self._steps}: {error}") from error
        if not found:
            return None
        mask = found[0]
        if len(found) == 2 and not np.array_equal(mask, found[1]):
            raise EnvironmentFault(
                f"{self._name}: info[{MASK!r}] and observation[{MASK!r}] differ after step {self._steps}: {mask.tolist()} "
                f"and {found[1].tolist()}"
            )
        some = mask.any(axis=-1, keepdims=True)
        if not some.all():
            if not over:
                where = f" in dimension {int(np.flatnonzero(~some)[0])}" if self._action.dims > 1 else ""
                raise EnvironmentFault(
                    f"{self._name}: {MASK} allows no action{where} before step {self._steps + 1}, but the episode has not "
                    "ended: end it (terminated = True), or allow an action that does nothing"
                )
            return np.where(some, mask, self._action.unmasked)
        return mask

    def _in_observation(self, observation: Any) -> Any:
        if not self.mask_in_observation:
            return None
        if not isinstance(observation, Mapping) or MASK not in observation:
            raise EnvironmentFault(f"{self._name}: the observation lacks {MASK!r}, which its space has")
        return observation[MASK]

    def _success(self, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, str | bytes) or np.ndim(value) != 0 else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0.0 <= number <= 1.0:
            raise EnvironmentFault(
                f"{self._name} returned info[{SUCCESS!r}] = {value!r:.80} at step {self._steps}: expected True or False (or "
                "a number from 0 to 1)"
            )
        return number

    def _observed(self, observation: Any) -> Any:
        """Return the observation with integers cast to the dtype of their space. NumPy would reject or wrap them."""
        for keys, dtype in self._integers:
            value = observation
            try:
                for key in keys:
                    value = value[key]
                array = np.asarray(value)
                if array.dtype == dtype or array.dtype.kind not in "biuf":
                    continue
                with np.errstate(invalid="ignore"):
                    cast = array.astype(dtype)
            except (LookupError, TypeError, ValueError):
                continue  # missing or ragged: reported where it is read
            if not np.array_equal(cast, array):
                path = "/".join(map(str, keys)) or "observation"
                raise EnvironmentFault(
                    f"{self._name}, observation {path!r} after step {self._steps}: expected {dtype} as its space says, got "
                    f"{array.dtype} from {array.min()} to {array.max()}"
                )
            observation = _replaced(observation, keys, cast)
        return observation


def _spec(space: gym.Space[Any]) -> ActionSpec | None:
    """The actions; None where they are not supported, which whoever needs them says."""
    try:
        return ActionSpec.from_space(space)
    except SpaceError:
        return None


def _replaced(observation: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy of the observation with another value under these keys; the original does not change."""
    if not keys:
        return value
    part = _replaced(observation[keys[0]], keys[1:], value)
    if isinstance(observation, Mapping):
        return {**observation, keys[0]: part}
    return tuple(part if number == keys[0] else old for number, old in enumerate(observation))


def _integers(space: gym.Space[Any], keys: tuple[str | int, ...]) -> Any:
    """Yield the keys of every integer array, and its dtype."""
    if isinstance(space, spaces.Dict):
        for name, part in space.items():
            yield from _integers(part, (*keys, name))
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from _integers(part, (*keys, number))
    elif isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) and space.dtype.kind in "biu":
        yield keys, space.dtype


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    return f"{type(error).__name__}: {error}"


def _cost(value: Any) -> float:
    """Return a cost; nan if it is not a finite number of at least 0: only a run with a constraint needs to refuse that."""
    try:
        number = math.nan if isinstance(value, str | bytes) or np.ndim(value) != 0 else float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if 0.0 <= number < math.inf else math.nan
