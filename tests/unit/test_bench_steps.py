"""What `streamfer bench` measures and says of temporal classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamfer.benchmark import heads, lengths, steps
from streamfer.benchmark.report import markdown
from streamfer.inference.described import find
from streamfer.plugins import Registry

SHIPPED = ["cnn_bilstm:frames", "cnn_lstm:frames"]


def test_the_shipped_ones_are_measured_without_other_heads_too(tmp_path: Path) -> None:
    told = steps.main(tmp_path, turns=1)
    assert [(one["name"], one["frames"], one["lengths"]) for one in told] == [
        (name, 16, []) for name in SHIPPED
    ]
    for one in told:
        (turn,) = one["turns"]
        assert turn.keys() == {"cnn", "encoder", "head", "step"}
        assert min(turn.values()) > 0
    assert not list(lengths.ratios(told)), "there is nothing to hold them against"
    report = markdown([], [], lengths.section(told), 1000, None)
    assert "There are no heads but the shipped ones" in report
    assert "| cnn_lstm:frames | 16, as shipped |" in report


@pytest.mark.parametrize("name", SHIPPED)
def test_a_step_reads_a_full_window(name: str) -> None:
    classifier, _, mode = name.partition(":")
    work: Any = steps.step(find(Registry.discover(), classifier, {"mode": mode}))
    filled = [work()[1][0].filled for _ in range(steps.WARM_UP)]
    assert filled == [*range(1, 16), *[16] * (steps.WARM_UP - 15)]


def test_heads_of_other_lengths_are_those_of_the_network(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="needs streamfer[train]")
    registry = Registry.discover()
    cards = dict(heads.temporal(registry))
    assert list(cards) == SHIPPED
    for name in SHIPPED:
        heads.write(name, cards[name], tmp_path / name, (1, 2))
        found = find(registry, name.partition(":")[0], {"model": str(tmp_path / name / "2" / "card.json")})
        assert found.spec.window is not None
        assert (found.spec.window.frames, found.spec.reads) == (2, 2)
    told = steps.main(tmp_path, turns=1)  # each is built, which fails where a head does not fit its card
    assert [one["lengths"] for one in told] == [[1, 2], [1, 2]]
    assert {"head 1", "step 1", "head 2", "step 2"} <= told[0]["turns"][0].keys()
    assert [one.what for one in lengths.ratios(told)] == [
        f"CPU of a step of {name}, window of 16, over that with a window of 1" for name in SHIPPED
    ]
    table = [line for line in lengths.section(told) if line.startswith("| cnn_lstm:frames")]
    assert [line.split(" | ")[1] for line in table] == ["1", "2", "16, as shipped"]


def test_a_ratio_is_the_middle_of_those_of_the_turns() -> None:
    turns = [
        {"cnn": 2.0, "encoder": 0.5, "head": 0.1, "step": step, "head 1": 0.1, "step 1": one}
        for step, one in ((1.0, 1.0), (3.0, 2.0), (14.0, 10.0))
    ]
    told = [{"name": "some", "frames": 8, "lengths": [1], "turns": turns}]
    (line,) = lengths.ratios(told)
    assert (line.value, line.target, line.met) == ("1.40", "at most 1.3", False)
    assert "| some | 8, as shipped | 0.500 | 0.100 | 3.000 | 1.40 |" in lengths.section(told)
    assert lengths.section([]) == []
