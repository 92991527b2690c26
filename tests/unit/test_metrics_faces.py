"""Flicker and agreement, against the plainest models of them."""

from __future__ import annotations

from itertools import combinations, count, pairwise

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from streamfer import metrics
from streamfer.stages import agreement, flicker
from streamfer.stages.agreement import Agreement
from streamfer.stages.flicker import LONGEST_GAP, Flicker
from streamfer.types import Box, Face

STREAMS = count()

labels = st.sampled_from(["happy", "sad", "neutral", None])
faces = st.dictionaries(st.integers(1, 4), labels, max_size=4)
"""The labels of a frame's faces by track; None: a face too small to have one."""


def stream() -> str:
    """A stream that nobody has counted for."""
    return f"stream {next(STREAMS)}"


def value(name: str, *values: str) -> float:
    """A counter of stream, classifier and, of pairs, the other."""
    found = REGISTRY.get_sample_value(
        name, dict(zip(("stream", "classifier", "other"), values, strict=False))
    )
    assert found is not None, "a counter is there before its first step"
    return found


def made(frame: dict[int, str | None]) -> list[Face]:
    return [
        Face(track, Box(0, 0, 9, 9), 0.9, "ok" if label else "small", label) for track, label in frame.items()
    ]


# ---- flicker -----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(-2, 12), faces, st.booleans(), st.sampled_from([False] * 7 + [True])),
        max_size=40,
    )
)
def test_flicker(steps: list[tuple[int, dict[int, str | None], bool, bool]]) -> None:
    """Each step: eighths of a second since the last, the faces, whether the time is known, whether it is a
    discontinuity."""
    name, now = stream(), 0.0
    flickering = Flicker(metrics.label_changes, metrics.track_seconds, name, "cnn")
    lives: dict[tuple[int, int], list[tuple[float, str]]] = {}  # of each track since the last discontinuity
    turn = 0
    for step, frame, known, broken in steps:
        now += step / 8
        if broken:
            flickering.reset()
            turn += 1
        flickering.update(now if known else None, made(frame))
        for track, label in frame.items() if known else ():
            if label is not None:
                lives.setdefault((turn, track), []).append((now, label))
    followed = [
        (after - before, one != other)
        for life in lives.values()
        for (before, one), (after, other) in pairwise(life)
        if 0 < after - before <= LONGEST_GAP
    ]
    assert value("streamfer_track_seconds_total", name, "cnn") == sum(seconds for seconds, _ in followed)
    assert value("streamfer_label_changes_total", name, "cnn") == sum(changed for _, changed in followed)


def test_flicker_remembers_the_tracks_of_now_and_no_more() -> None:
    name = stream()
    flickering = Flicker(metrics.label_changes, metrics.track_seconds, name, "cnn")
    for track in range(1000):
        flickering.update(track / 100, made({track: "sad"}))
        assert len(flickering._last) <= flicker.REMEMBERED
    newest: dict[int, str | None] = dict.fromkeys(range(1000 - flicker.REMEMBERED, 1000), "happy")
    flickering.update(10.0, made(newest))
    assert value("streamfer_label_changes_total", name, "cnn") == flicker.REMEMBERED


def test_a_long_absence_is_not_time_that_a_face_was_followed() -> None:
    name = stream()
    flickering = Flicker(metrics.label_changes, metrics.track_seconds, name, "cnn")
    for seconds, label in ((0.0, "sad"), (LONGEST_GAP, "sad"), (2.5 * LONGEST_GAP, "happy")):
        flickering.update(seconds, made({1: label}))
    assert value("streamfer_track_seconds_total", name, "cnn") == LONGEST_GAP
    assert value("streamfer_label_changes_total", name, "cnn") == 0


# ---- agreement ---------------------------------------------------------------------------------------------


@st.composite
def results(draw: st.DrawFn) -> tuple[tuple[str, ...], list[tuple[int, str, dict[int, str | None]]]]:
    """Classifiers, and results in any order: (frame, classifier, faces), some of which do not come."""
    classifiers = ("cnn", "prior", "third")[: draw(st.integers(2, 3))]
    frames = draw(st.integers(0, 8))
    keys = [(seq, one) for seq in range(frames) for one in classifiers]
    order = draw(st.permutations(keys))[: draw(st.integers(0, len(keys)))]
    return classifiers, [(seq, one, draw(faces)) for seq, one in order]


@given(results())
def test_agreement(world: tuple[tuple[str, ...], list[tuple[int, str, dict[int, str | None]]]]) -> None:
    classifiers, told = world
    name = stream()
    compares = Agreement(name, classifiers)
    for seq, classifier, frame in told:
        compares.update(0, seq, classifier, made(frame))
    said = {(seq, one): frame for seq, one, frame in told}
    for first, second in combinations(classifiers, 2):
        both = [
            (frame[track], said[seq, second][track])
            for (seq, one), frame in said.items()
            if one == first and (seq, second) in said
            for track in frame
            if frame[track] and said[seq, second].get(track)
        ]
        assert value("streamfer_compared_faces_total", name, first, second) == len(both)
        assert value("streamfer_agreements_total", name, first, second) == sum(a == b for a, b in both)


def test_agreement_tells_epochs_apart_and_forgets_what_is_long_past() -> None:
    name = stream()
    compares = Agreement(name, ("cnn", "prior"))
    compares.update(0, 7, "cnn", made({1: "sad"}))
    compares.update(1, 7, "prior", made({1: "sad"}))
    assert value("streamfer_compared_faces_total", name, "cnn", "prior") == 0
    for seq in range(1000):  # the other classifier says nothing
        compares.update(1, 100 + seq, "cnn", made({1: "sad"}))
        assert len(compares._frames) <= agreement.REMEMBERED
    compares.update(1, 100 + 1000 - agreement.REMEMBERED, "prior", made({1: "sad"}))
    compares.update(1, 99 + 1000 - agreement.REMEMBERED, "prior", made({1: "sad"}))
    assert value("streamfer_compared_faces_total", name, "cnn", "prior") == 1


def test_pairs_are_counted_once_in_the_order_of_the_configuration() -> None:
    name = stream()
    Agreement(name, ("prior", "cnn"))
    assert value("streamfer_compared_faces_total", name, "prior", "cnn") == 0
    labels = {"stream": name, "classifier": "cnn", "other": "prior"}
    assert REGISTRY.get_sample_value("streamfer_compared_faces_total", labels) is None
