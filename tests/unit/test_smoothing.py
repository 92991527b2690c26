"""Smoothing: the same at any frame rate, of each face alone, and in its bounds whatever the times do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from streamfer.smoothing import METHODS, MaybeSmoothing, Smoother, smoothing

Floats = NDArray[np.float64]
Answers = list[tuple[Floats, int]]

LABELS = 3
every_method = pytest.mark.parametrize("method", METHODS)


def smoother(method: str, labels: int = LABELS, **options: float) -> Smoother:
    chosen = smoothing({"method": method, **options})
    assert chosen is not None
    return Smoother(chosen, labels)


def follow(
    one: Smoother, frames: Iterable[tuple[float, Sequence[float] | Floats]], track: int = 1
) -> Answers:
    """What becomes of the answers for one face."""
    found = []
    for seconds, row in frames:
        probabilities, best = one.update(seconds, [track], np.array([row], np.float64))
        found.append((probabilities[0], int(best[0])))
    return found


def labels(answers: Answers) -> list[int]:
    return [best for _, best in answers]


def row(label: int, share: float = 0.9) -> Floats:
    """An answer: `share` for the label, the rest evenly."""
    return np.where(np.arange(LABELS) == label, share, (1 - share) / (LABELS - 1))


def probabilities(zeros: bool = True) -> st.SearchStrategy[Floats]:
    least = 0.0 if zeros else 0.01
    shares = arrays.arrays(np.float64, LABELS, elements=st.floats(least, 1).map(lambda one: round(one, 4)))
    return shares.map(lambda one: one / one.sum() if one.sum() else one)


methods = st.sampled_from(METHODS)
faces = st.lists(probabilities(), min_size=0, max_size=4)


# ---- whatever comes ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)  # a slow machine is no failure
@given(methods, st.lists(st.tuples(st.sampled_from([-2.0, 0.0, 1e-9, 0.04, 0.9, 1e6]), faces), max_size=12))
def test_answers_are_probabilities_whatever_the_times_do(
    method: str, frames: list[tuple[float, list[Floats]]]
) -> None:
    one, seconds = smoother(method), 0.0
    for step, rows in frames:
        seconds += step
        found, best = one.update(seconds, range(len(rows)), np.reshape(rows, (len(rows), LABELS)))
        assert found.shape == (len(rows), LABELS) and best.shape == (len(rows),)
        assert np.all(found >= 0) and np.allclose(found.sum(axis=1), 1, atol=1e-6)
        assert np.all((best >= 0) & (best < LABELS))


@settings(deadline=None, max_examples=50)
@given(methods, probabilities())
def test_a_first_answer_stays_as_it_is(method: str, answer: Floats) -> None:
    found, best = follow(smoother(method), [(0, answer)])[0]
    assert np.allclose(found, answer if answer.any() else 1 / LABELS)
    assert best == answer.argmax()


@settings(deadline=None, max_examples=50)
@given(methods, probabilities(), st.floats(0.01, 0.9))
def test_a_face_that_does_not_change_keeps_its_label(method: str, answer: Floats, step: float) -> None:
    answers = follow(smoother(method), [(step * place, answer) for place in range(20)])
    assert set(labels(answers)) == {answer.argmax()}
    if method != "hmm":  # its evidence adds up
        assert np.allclose([found for found, _ in answers], answer if answer.any() else 1 / LABELS)


@settings(deadline=None, max_examples=50)
@given(methods, st.lists(st.tuples(probabilities(), probabilities(), st.booleans()), max_size=12))
def test_faces_are_smoothed_each_alone(method: str, frames: list[tuple[Floats, Floats, bool]]) -> None:
    together, alone = smoother(method), [smoother(method), smoother(method)]
    for place, (left, right, both) in enumerate(frames):
        seconds = place * 0.04
        tracks, rows = ([7, 4], [right, left]) if both else ([4], [left])
        found, best = together.update(seconds, tracks, np.array(rows))
        for track, one, answer, label in zip(tracks, rows, found, best, strict=True):
            expected, own = alone[track == 7].update(seconds, [track], one[None])
            assert np.allclose(answer, expected[0], atol=1e-12) and label == own[0]


@every_method
def test_nothing_is_kept_of_what_the_caller_has(method: str) -> None:
    rows = np.array([row(0), row(1)])
    one, other = smoother(method), smoother(method)
    for place in range(3):
        given_, wanted = rows.copy(), other.update(place / 10, [1, 2], rows.copy())
        found, best = one.update(place / 10, [1, 2], given_)
        assert np.array_equal(given_, rows) and np.array_equal(found, wanted[0])
        found[:], best[:], given_[:] = 9, 2, 9


@every_method
def test_all_labels_may_be_one(method: str) -> None:
    answers = follow(smoother(method, labels=1), [(0, [1.0]), (0.1, [1.0])])
    assert all(np.array_equal(found, [1]) and best == 0 for found, best in answers)


# ---- frame rate --------------------------------------------------------------------------------------------


def scene(seconds: float) -> Floats:
    """What a face shows: 1.5 s of each expression, which the classifier sees with a little doubt that
    wanders."""
    wander = 0.15 * np.sin(7 * seconds + np.arange(LABELS))
    shown = np.clip(row(int(seconds / 1.5) % LABELS, 0.7) + wander, 0.02, None)
    return np.asarray(shown / shown.sum())


def changes(method: str, fps: int) -> list[tuple[int, float]]:
    times = [place / fps for place in range(9 * fps)]
    found = labels(follow(smoother(method), [(seconds, scene(seconds)) for seconds in times]))
    return [
        (after, seconds)
        for (before, after), seconds in zip(itertools.pairwise(found), times[1:], strict=True)
        if before != after
    ]


@every_method
def test_ten_and_thirty_frames_a_second_give_nearly_the_same(method: str) -> None:
    few, many = changes(method, 10), changes(method, 30)
    assert [label for label, _ in few] == [label for label, _ in many] == [1, 2, 0, 1, 2]
    assert all(abs(one - other) <= 0.11 for (_, one), (_, other) in zip(few, many, strict=True))


@settings(deadline=None, max_examples=50)
@given(st.lists(probabilities(), min_size=2, max_size=6))
def test_an_average_is_the_same_at_any_rate_while_answers_hold(rows: list[Floats]) -> None:
    coarse = [(place * 0.3, one) for place, one in enumerate(rows)]
    fine = [coarse[0]] + [
        (seconds + part, one)
        for (seconds, _), (_, one) in itertools.pairwise(coarse)
        for part in (0.1, 0.2, 0.3)
    ]
    few, many = follow(smoother("ema"), coarse), follow(smoother("ema"), fine)
    assert np.allclose([found for found, _ in few], [found for found, _ in many[::3]])


def test_more_frames_of_the_same_are_no_more_evidence() -> None:
    after_a_second = [
        follow(smoother("hmm"), [(place / fps, row(1, 0.5)) for place in range(fps + 1)])[-1][0][1]
        for fps in (10, 30, 300)
    ]
    assert max(after_a_second) - min(after_a_second) < 0.03
    assert 0.9 < after_a_second[0] < 0.95


def test_one_answer_is_never_more_than_one_piece_of_evidence() -> None:
    found = follow(smoother("hmm", dwell=100, rate=100), [(0, row(0, 1 / LABELS)), (1, row(1, 0.6))])
    assert found[-1][0][1] == pytest.approx(0.6)


# ---- the methods -------------------------------------------------------------------------------------------


def test_an_average_forgets_by_time() -> None:
    (_, (found, _)) = follow(smoother("ema", time_constant=0.5), [(0, [1, 0, 0]), (0.5, [0, 1, 0])])
    assert np.allclose(found, [np.exp(-1), 1 - np.exp(-1), 0])


def test_hysteresis_holds_through_what_is_short_and_small() -> None:
    one = smoother("hysteresis", margin=0.2, hold=0.3)
    shown = [0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1]
    answers = follow(one, [(place / 10, row(label)) for place, label in enumerate(shown)])
    assert labels(answers) == [0] * 9 + [1] * 2  # ahead from 0.6 s on
    assert np.allclose([found for found, _ in answers], [row(label) for label in shown])
    narrow = [0.41, 0.59, 0]
    found = follow(smoother("hysteresis", margin=0.2), [(0, row(0)), (1, narrow), (2, narrow)])
    assert labels(found) == [0, 0, 0]


def test_two_labels_that_take_turns_do_not_keep_a_third_alive() -> None:
    turns = [(0.0, [1.0, 0, 0])] + [
        (place / 10, [0.1, 0.4, 0.5] if place % 2 else [0.1, 0.5, 0.4]) for place in range(1, 8)
    ]
    assert labels(follow(smoother("hysteresis", hold=0.3), turns)) == [0] * 4 + [1] * 4


def test_who_is_ahead_for_long_enough_comes_before_who_is_ahead_by_more() -> None:
    first, second = [0.25, 0.5, 0.25], [0.1, 0.3, 0.6]
    frames = [[1.0, 0, 0], first, first, first, second, second, second, second]
    one = smoother("hysteresis", hold=0.3)
    found = labels(follow(one, [(place / 10, row) for place, row in enumerate(frames)]))
    assert found == [0] * 4 + [1] * 3 + [2]  # the third's time counts from when the second takes over


@settings(deadline=None, max_examples=50)
@given(st.lists(probabilities(), min_size=1, max_size=12))
def test_hysteresis_of_nothing_changes_nothing(rows: list[Floats]) -> None:
    free = smoother("hysteresis", margin=0, hold=0)
    found = follow(free, [(place * 0.1, one) for place, one in enumerate(rows)])
    for (_, best), one in zip(found, rows, strict=True):
        assert one[best] == one.max()


@settings(deadline=None, max_examples=30)
@given(st.lists(probabilities(zeros=False), min_size=1, max_size=4), st.floats(0.01, 0.2))
def test_the_filter_agrees_with_the_sum_over_all_histories(rows: list[Floats], step: float) -> None:
    dwell, rate = 0.5, 4.0
    generator = (np.ones((LABELS, LABELS)) / (LABELS - 1) - np.eye(LABELS) * LABELS / (LABELS - 1)) / dwell
    values, vectors = np.linalg.eigh(generator)
    transition = vectors @ np.diag(np.exp(values * step)) @ vectors.T
    expected = np.zeros(LABELS)
    for history in itertools.product(range(LABELS), repeat=len(rows)):
        weight = rows[0][history[0]]
        for before, (now, answer) in zip(history, zip(history[1:], rows[1:], strict=True), strict=False):
            weight *= transition[before, now] * answer[now] ** (rate * step)
        expected[history[-1]] += weight
    frames = [(place * step, one) for place, one in enumerate(rows)]
    found, _ = follow(smoother("hmm", dwell=dwell, rate=rate), frames)[-1]
    assert np.allclose(found, expected / expected.sum())


def test_an_answer_of_zero_rules_no_label_out() -> None:
    found, best = follow(smoother("hmm"), [(0, [1, 0, 0]), (0.01, [0, 1, 0])])[-1]
    assert best == 0 and 0 < found[1] < 0.1


@every_method
def test_a_label_that_flickers_is_steadied_and_a_change_is_not_missed(method: str) -> None:
    flickering = [0, 0, 1, 0, 0, 2, 0, 1, 0, 0] * 3
    frames = [(place / 30, row(label, 0.6)) for place, label in enumerate(flickering)]
    frames += [(1 + place / 30, row(1)) for place in range(30)]
    found = labels(follow(smoother(method), frames))
    assert found[:30] == [0] * 30
    assert found[-20:] == [1] * 20


# ---- times and tracks --------------------------------------------------------------------------------------

BEFORE = [(0.0, row(0)), (0.1, row(0)), (0.2, row(0))]


def anew(method: str, again: Callable[[Smoother], Answers]) -> bool:
    """Whether a face that has shown one expression begins anew, so that its next answer stays as it is."""
    one = smoother(method)
    follow(one, BEFORE)
    found, best = again(one)[0]
    return best == 1 and np.allclose(found, row(1))


@every_method
def test_who_was_away_for_long_begins_anew(method: str) -> None:
    assert anew(method, lambda one: follow(one, [(1.21, row(1))]))
    assert anew(method, lambda one: follow(one, [(1e9, row(1))]))
    assert anew(method, lambda one: follow(one, [(0.25, row(1))], track=2))


def test_who_was_away_for_a_moment_goes_on() -> None:
    held = smoother("hysteresis")
    assert labels(follow(held, [*BEFORE, (1.2004, row(1))]))[-1] == 0  # PTS are rounded
    average = follow(smoother("ema", time_constant=5), [*BEFORE, (1.1, row(1))])
    assert average[-1][1] == 0


@every_method
def test_time_that_runs_backwards_begins_everything_anew(method: str) -> None:
    assert anew(method, lambda one: follow(one, [(0.19, row(1))]))
    one = smoother(method)
    one.update(5.0, [1, 2], np.array([row(0), row(0)]))
    follow(one, [(1.0, row(0))])
    assert len(one) == 1


@every_method
def test_a_reset_begins_everything_anew(method: str) -> None:
    def again(one: Smoother) -> Answers:
        one.reset()
        assert len(one) == 0
        return follow(one, [(0.3, row(1))])

    assert anew(method, again)


@every_method
def test_a_time_that_repeats_changes_no_label(method: str) -> None:
    one = smoother(method)
    follow(one, BEFORE)
    before, _ = one.update(0.3, [1], row(0)[None])
    for found, best in follow(one, [(0.3, row(1))] * 50):
        assert best == 0
        assert np.allclose(found, row(1) if method == "hysteresis" else before[0])


@every_method
def test_a_frame_a_second_is_enough_to_go_on(method: str) -> None:
    found = labels(
        follow(smoother(method, max_gap=2), [(float(place), row(place >= 4)) for place in range(8)])
    )
    assert found[:4] == [0] * 4 and found[-2:] == [1] * 2


@every_method
def test_tracks_that_are_gone_are_forgotten(method: str) -> None:
    one = smoother(method, max_gap=0.5)
    for frame in range(300):
        passing = range(frame * 5 + 1, frame * 5 + 6)
        one.update(frame / 10, [0, *passing], np.tile(row(0), (6, 1)))
        assert len(one) <= 1 + 6 * 5
    one.update(40, [], np.empty((0, LABELS)))
    assert len(one) == 0


@every_method
def test_tracks_are_bounded_also_where_time_stands_still(method: str) -> None:
    one = smoother(method)
    for frame in range(50):
        one.update(1.0, range(frame * 50, frame * 50 + 50), np.tile(row(0), (50, 1)))
    assert len(one) <= 1024
    assert anew(method, lambda fresh: follow(one, [(1.0, row(1))], track=1))  # the oldest are forgotten


# ---- how it is written -------------------------------------------------------------------------------------

WRITTEN: list[Any] = [None, "none", *METHODS, {"method": "hmm", "dwell": 3}, {"method": "ema", "max_gap": 2}]
WRONG: list[Any] = [
    "average",
    False,
    3,
    ["ema"],
    {},
    {"time_constant": 1},
    {"method": "median"},
    {"method": "ema", "hold": 1},
    {"method": "ema", "time_constant": 0},
    {"method": "hysteresis", "margin": 1},
]


@pytest.mark.parametrize("value", WRITTEN)
def test_smoothing_is_a_word_or_a_mapping(value: Any) -> None:
    found = smoothing(value)
    if found is None:
        assert value in (None, "none")
        return
    assert found.method == (value if isinstance(value, str) else value["method"])
    assert smoothing(json.loads(json.dumps(found.model_dump()))) == found
    assert smoothing(found) is found


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_smoothing_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        smoothing(value)


def test_an_unknown_method_is_told_what_there_is() -> None:
    with pytest.raises(ValidationError, match="expected none, ema, hysteresis, hmm, or a mapping with one"):
        smoothing("kalman")


def test_the_schema_says_the_same() -> None:
    schema = TypeAdapter[Any](MaybeSmoothing).json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    assert [value for value in WRITTEN if not validator.is_valid(value)] == []
    assert [value for value in WRONG if validator.is_valid(value)] == []
