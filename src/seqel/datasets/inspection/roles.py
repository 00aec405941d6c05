"""Guesses the role of a column from its name and description, and as what it is observed."""

from __future__ import annotations

from seqel.datasets.inspection.columns import Column

__all__ = ["REQUIRED", "is_possible", "observed_as", "pick_column"]

WORDS = 2  # with this many blanks in the mean value, many distinct values are sentences, not names
CODES = 12  # integers with at most this many distinct values are read as categories
LIKE = {  # names, the most specific first; compared without case, "_", "-" and blanks
    "session": (
        "sessionid session episodeid episode trajectoryid trajectory conversationid conversation dialogueid dialogue "
        "visitid visit tripid trip userid user customerid customer patientid patient studentid student learnerid learner "
        "playerid player accountid account ticker symbol stock"
    ),
    "order": "step stepid timestep turn t time timestamp datetime date order position seq sequence index",
    "action": (
        "action actionid act a decision choice chosen arm treatment shown recommended recommendation offer systemact "
        "agentact systemaction agentaction response itemid item productid product bought purchased skillid skill label intent"
    ),
    "reward": (
        "reward rewards r payoff score rating stars clicked click bought purchased converted conversion correct iscorrect "
        "revenue profit pnl profitandloss outcome gain"
    ),
    "terminated": "terminated terminal isterminal done end",
    "truncated": "truncated timeout timelimit censored",
    "behaviour_probability": (
        "behaviourprobability behaviorprobability behaviourprob behaviorprob propensity propensityscore actionprob "
        "actionprobability pscore probability prob"
    ),
    "mask": "actionmask mask legalactions availableactions",
}
REQUIRED = ("session", "action", "reward")
OTHERS = {
    "user",
    "customer",
    "client",
    "caller",
    "student",
    "patient",
    "player",
    "next",
}  # their actions are not the agent's


def pick_column(role: str, left: dict[str, Column], unsure: list[str]) -> str | None:
    """Return the column that looks most like this role."""
    telling = LIKE[role].split()
    fits = {name: column for name, column in left.items() if is_possible(role, column)}
    ranked = sorted((telling.index(column.key), name) for name, column in fits.items() if column.key in telling)
    if ranked:
        if left[ranked[0][1]].key in ("probability", "prob"):
            unsure.append(
                f"{role}: {ranked[0][1]} was chosen; if it is not the probability of the recorded action, observe it"
            )
        if len(ranked) > 1:
            unsure.append(f"{role}: {ranked[0][1]} was chosen, but {ranked[1][1]} looks like it too")
        return ranked[0][1]
    if role in ("session", "action", "reward", "order"):
        # a name that ends in a specific word ("system_act"), before one that only contains it ("intention_text")
        alike: list[tuple[int, int, str]] = []
        for name, column in fits.items():
            if role == "action" and OTHERS & set(column.words):
                continue  # what the user wants is observed, what the system does is the action
            for rank, one in enumerate(telling):
                if one in column.words and len(one) > 1:
                    alike.append((0 if column.words[-1] == one else 1, rank, name))
                elif len(one) > 3 and one in column.key:
                    alike.append((2, rank, name))
        if alike:
            _, rank, name = min(alike)
            others = list(dict.fromkeys(one for _, _, one in sorted(alike) if one != name))
            more = f", and so does {', '.join(others[:3])}" if others else ""
            unsure.append(f"{role}: {name} was chosen, but its name only resembles {telling[rank]!r}{more}")
            return name
    return _only_date(left, unsure) if role == "order" else None


def _only_date(left: dict[str, Column], unsure: list[str]) -> str | None:
    """Return the one column of dates, whatever its name."""
    dates = [name for name, column in left.items() if column.kind == "date" and not column.key.startswith("next")]
    if len(dates) != 1:
        return None
    unsure.append(f"order: {dates[0]} was chosen, the only column of dates")
    return dates[0]


def is_possible(role: str, column: Column) -> bool:
    """Return whether the values of the column can have this role."""
    if column.kind == "empty":
        return False
    if role == "session":
        return column.kind in ("text", "number") and column.distinct < max(2, column.rows)
    if role == "order":
        return column.kind in ("number", "date")
    if role == "reward":
        return column.kind in ("number", "flag")
    if role in ("terminated", "truncated"):
        return column.kind == "flag" or (column.kind == "number" and column.whole and column.distinct <= 2)
    if role == "behaviour_probability":
        return column.kind == "number"
    if role == "mask":
        return column.kind == "list"
    return column.kind in ("text", "flag") or (column.kind == "number" and column.whole)


def observed_as(column: Column) -> tuple[str | None, str]:
    """Return the kind as which a column is observed (None: not observed), and what is uncertain about it."""
    if column.key.startswith("next"):
        return None, "left out: going by its name, it is known only after the action"
    if column.kind == "empty":
        return None, "left out: it is empty, or has a type that is not supported"
    if column.kind == "date":
        return None, "left out: a date; derive numbers from it (hour, days since), if it matters"
    if column.kind == "names":
        return (
            None,
            'left out: a list of names; if these are the available actions, set candidates and actions = ["...", ...]',
        )
    if column.kind == "objects":
        why = "left out: a list of objects; if these are turns of conversations, make a table of them: seqel data dialogues"
        return None, why
    if column.kind == "list":
        return "vector", ""
    if column.kind == "lists":
        return "entities", ""
    if column.distinct == 1:
        return None, "left out: it has a single value in the first rows"
    if column.kind == "flag":
        return "category", ""
    if column.kind == "number":
        if column.whole and column.distinct <= CODES:
            return (
                "category",
                f"{column.distinct} different integers: read as categories; make it a number if it is a quantity",
            )
        if column.whole and column.distinct == column.rows > CODES and column.key.endswith("id"):
            return None, "left out: a different number in every row, and the name of an id"
        return "number", ""
    if column.distinct > 0.5 * column.rows and column.longest <= 40 and column.key.endswith("id"):
        return None, "left out: a different value in almost every row, and the name of an id"
    sentences = column.blanks >= WORDS and column.distinct > CODES
    if column.longest > 24 or sentences or column.distinct > 0.5 * column.rows > CODES:
        return "text", "read as text; make it a category if its values are names that occur repeatedly"
    return "category", ""
