"""Wordle: its rules with repeated letters, the mask, the split of secrets, and scripted players of known strength."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.wordle import Wordle, codes_of, feedback, feedback_table, play_games, split_secrets, word_list
from seqel.tasks.wordle.marks import Knowledge

SOME = ["crane", "slate", "abbey", "babes", "kebab", "eerie", "geese", "three"]


def marks(guess: str, secret: str) -> str:
    return "".join(map(str, feedback(codes_of([guess])[0], codes_of([secret])[0])))


@pytest.mark.parametrize(
    ("guess", "secret", "expected"),
    [
        ("crane", "crane", "22222"), ("slate", "crane", "00202"), ("babes", "abbey", "11220"), ("kebab", "abbey", "01211"),
        ("abbey", "kebab", "11210"), ("eerie", "three", "10202"), ("geese", "three", "01002"), ("eerie", "geese", "12002"),
        ("speed", "abide", "00101"), ("speed", "erase", "10110"), ("speed", "steal", "20200"), ("speed", "crepe", "01210"),
        ("allow", "llama", "12100"), ("array", "afara", "21010"),
    ],
)  # fmt: skip
def test_marks_of_repeated_letters(guess: str, secret: str, expected: str) -> None:
    assert marks(guess, secret) == expected


def by_definition(guess: tuple[int, ...], secret: tuple[int, ...]) -> list[int]:
    """The rule as it is usually told: places first, then each other letter takes one that is left, from the left."""
    left = [letter for letter, other in zip(secret, guess, strict=True) if letter != other]
    found = []
    for letter, other in zip(guess, secret, strict=True):
        if letter == other:
            found.append(2)
        elif letter in left:
            left.remove(letter)
            found.append(1)
        else:
            found.append(0)
    return found


def test_marks_of_all_words_of_three_letters() -> None:
    words = list(product(range(3), repeat=4))
    codes = np.array(words)
    found = feedback(codes[:, None], codes[None])
    for row, guess in enumerate(words):
        for column, secret in enumerate(words):
            assert found[row, column].tolist() == by_definition(guess, secret), (guess, secret)
    assert (feedback_table(codes, codes) == (found * 3 ** np.arange(4)).sum(axis=-1)).all()


def play(env: Wordle, words: list[str], secret: str) -> list[Any]:
    env.reset(options={"secret": secret})
    return [env.step(ord(letter) - ord("a")) for word in words for letter in word]


def test_a_game() -> None:
    env = Wordle(answers=SOME, secrets="all")
    found = play(env, ["slate", "crane"], "crane")
    assert [reward for _, reward, *_ in found] == [0, 0, 0, 0, -1, 0, 0, 0, 0, 0]
    assert [over for _, _, over, *_ in found] == [False] * 9 + [True]
    # s, l, a, t, e with the marks absent, absent, here, absent, here
    assert found[4][0]["letters"].tolist() == [74, 46, 4, 78, 20] and found[4][0]["guess"] == 1
    writing = found[6][0]
    assert writing["letters"].tolist() == [9, 69, 0, 0, 0] and writing["place"] == 2  # c and r, without marks
    assert found[-1][4]["is_success"] and found[-1][4]["secret"] == "crane"
    with pytest.raises(EnvironmentFault, match="expected a reset"):
        env.step(0)


def test_a_lost_game_costs_every_guess() -> None:
    found = play(Wordle(answers=SOME, secrets="all", guesses=2), ["slate", "abbey"], "crane")
    assert sum(reward for _, reward, *_ in found) == -2.0 and found[-1][2] and not found[-1][4]["is_success"]


def test_a_penalty_is_for_lost_games_only() -> None:
    env = Wordle(answers=SOME, secrets="all", guesses=2, penalty=4.0)
    assert [reward for _, reward, *_ in play(env, ["slate", "abbey"], "crane")][4::5] == [-1.0, -5.0]
    assert [reward for _, reward, *_ in play(env, ["slate", "crane"], "crane")][4::5] == [-1.0, 0.0]


def test_the_mask_leads_to_words_only() -> None:
    env = Wordle(answers=SOME, secrets="all")
    rng = np.random.default_rng(0)
    for seed in range(20):
        _, info = env.reset(seed=seed)
        over, written = False, ""
        while not over:
            letter = int(rng.choice(np.flatnonzero(info["action_mask"])))
            written += chr(ord("a") + letter)
            _, _, over, _, info = env.step(letter)
        assert all(written[start : start + 5] in SOME for start in range(0, len(written), 5))
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="a letter that the mask allows, got 'z'"):
        env.step(25)
    with pytest.raises(SpaceError, match="expected a letter"):
        env.step(26)


def test_without_a_mask_what_is_no_word_has_no_marks() -> None:
    env = Wordle(answers=SOME, secrets="all", mask="none")
    found = play(env, ["zzzzz", "slate"], "crane")
    assert found[4][1] == -1.0 and found[4][0]["letters"].tolist() == [101] * 5
    assert found[9][0]["letters"].tolist() == [74, 46, 4, 78, 20]
    assert "action_mask" not in found[0][4]


def test_the_consistent_mask_leads_to_words_that_agree_with_all_marks() -> None:
    answers = list(word_list("answers"))[::5]
    env = Wordle(answers=answers, secrets="all", mask="consistent")
    codes, rng = codes_of(answers), np.random.default_rng(0)
    for seed in range(30):
        _, info = env.reset(seed=seed)
        over, written, left = False, "", codes
        while not over:
            prefix = codes_of([written])[0] if written else np.zeros(0, np.int64)
            agree = left[(left[:, : len(prefix)] == prefix).all(axis=1)]
            assert set(np.flatnonzero(info["action_mask"])) == set(agree[:, len(prefix)])
            letter = int(rng.choice(np.flatnonzero(info["action_mask"])))
            written += chr(ord("a") + letter)
            seen, _, over, _, info = env.step(letter)
            if len(written) == 5 and not over:
                guess, written = codes_of([written])[0], ""
                shown = seen["letters"] - 2 - 4 * guess
                left = np.array([word for word in left if by_definition(tuple(guess), tuple(word)) == shown.tolist()])
    with pytest.raises(ConfigError, match="mask: expected one of none, words, consistent"):
        Wordle(answers=SOME, mask="some")  # type: ignore[arg-type]


def test_a_fifth_of_the_answers_is_held_out() -> None:
    answers = word_list("answers")
    train, held = split_secrets(answers, "train"), split_secrets(answers, "held-out")
    assert sorted(train + held) == sorted(answers) == sorted(split_secrets(answers, "all")) and len(answers) == 2_315
    assert 0.18 < len(held) / len(answers) < 0.22
    assert len(word_list("guesses")) == 9_330 and set(answers) <= set(word_list("guesses"))
    secrets = {tuple(word) for word in Wordle(secrets="held-out").secrets.tolist()}
    assert secrets == {tuple(word) for word in codes_of(held).tolist()}


@pytest.mark.parametrize("bad", [["abc", "abcd"], [], ["ab1de"], ["éclat"]])
def test_bad_lists_are_refused(bad: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected words of one length"):
        codes_of(bad)
    with pytest.raises(ConfigError, match="expected"):
        Wordle(guesses=0)
    with pytest.raises(ConfigError, match="penalty: expected a finite number of at least 0"):
        Wordle(penalty=float("nan"))
    with pytest.raises(ConfigError, match="secrets: expected"):
        Wordle(secrets="some")  # type: ignore[arg-type]


@pytest.mark.parametrize(("consistent", "won", "mean"), [(1.0, 0.978, 4.11), (0.25, 0.42, 4.8), (0.5, 0.72, 4.5)])
def test_players_are_as_strong_as_published(consistent: float, won: float, mean: float) -> None:
    answers, rng = word_list("answers"), np.random.default_rng(0)
    secrets = [answers[number] for number in rng.integers(len(answers), size=800)]
    games = play_games(answers, secrets, rng, consistent=consistent)
    wins = [game[-1] == secret for game, secret in zip(games, secrets, strict=True)]
    assert np.mean(wins) == pytest.approx(won, abs=0.05)
    lengths = [len(game) for game, win in zip(games, wins, strict=True) if win]
    assert np.mean(lengths) == pytest.approx(mean, abs=0.3)


def test_an_informative_player_needs_fewer_guesses() -> None:
    words = list(word_list("answers"))[::12]
    rng = np.random.default_rng(0)
    lengths = [
        np.mean([len(game) for game in play_games(words, words, rng, entropy=entropy)]) for entropy in (True, False)
    ]
    assert lengths[0] < lengths[1] - 0.15


def test_knowledge_agrees_with_the_words_that_are_left() -> None:
    """No letter of a word that agrees with all marks is ruled out, and nearly all other words break a rule."""
    answers = word_list("answers")
    codes, rng = codes_of(answers), np.random.default_rng(0)
    fits = agree = 0
    for _ in range(200):
        secret, known, left = codes[rng.integers(len(codes))], Knowledge(5), np.ones(len(codes), np.bool_)
        for guess in codes[rng.integers(len(codes), size=3)]:
            given = feedback(guess, secret)
            known.add(guess, given)
            left &= (feedback(guess, codes) == given).all(axis=1)
        for place in range(5):
            for word in codes[left][:5]:
                seen = known.describe(word[:place]).reshape(7, 26)
                assert seen[np.arange(5 - place), word[place:]].all() and not seen[5 - place : 5].any()
                rest = np.bincount(word[place:], minlength=26)
                assert (rest >= seen[5].astype(int) + seen[6]).all()
        may = known.describe(np.zeros(0, np.int64)).reshape(7, 26)[:5].astype(bool)
        counts = (codes[:, :, None] == np.arange(26)).sum(axis=1)
        rule = may[np.arange(5), codes].all(axis=1)
        rule &= ((counts >= known.least) & (counts <= known.most)).all(axis=1)
        assert rule[left].all()
        fits, agree = fits + int(rule.sum()), agree + int(left.sum())
    assert agree <= fits < 1.02 * agree


def test_knowledge_of_repeated_letters() -> None:
    """e of "geese" in "three": one in its place, one elsewhere, the third absent: so two, the last place and not 2 or 3."""
    env = Wordle(answers=SOME, secrets="all", mask="none", observe="knowledge")
    seen = play(env, ["geese"], "three")[-1][0]["knowledge"].reshape(7, 26)
    e, t = ord("e") - ord("a"), ord("t") - ord("a")
    assert seen[:5, e].tolist() == [1, 0, 0, 1, 1] and seen[4].sum() == 1
    assert seen[:5, t].tolist() == [1, 1, 1, 1, 0] and seen[:, ord("g") - ord("a")].sum() == 0
    assert np.flatnonzero(seen[5]).tolist() == [e] == np.flatnonzero(seen[6]).tolist()
    env.step(t)
    after = env.step(e)[0]["knowledge"].reshape(7, 26)
    assert after[:3, e].tolist() == [0, 1, 1] and not after[3:5].any() and after[5, e] == 1 and after[6, e] == 0
    with pytest.raises(ConfigError, match="observe: expected one of guess, knowledge, got 'all'"):
        Wordle(observe="all")  # type: ignore[arg-type]
