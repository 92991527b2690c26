"""Every component that is registered keeps the contract of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer.data import sample_clip
from streamfer.inference.answering import answering
from streamfer.inference.described import find
from streamfer.plugins import Registered, Registry, build, option_keys, spec_of
from streamfer.testing import (
    check_classifier,
    check_detector,
    check_network,
    check_sink,
    check_source,
    check_temporal_classifier,
    check_tracker,
)

REGISTRY = Registry.discover()
OURS = [one for one in REGISTRY.all() if one.origin.distribution == "streamfer"]


def of_kind(kind: str) -> pytest.MarkDecorator:
    chosen = [one for one in OURS if one.kind == kind]
    return pytest.mark.parametrize("component", chosen, ids=lambda one: one.name)


def make(component: Registered, **options: Any) -> Any:
    return build(spec_of(component, options))


@pytest.fixture(scope="module")
def portraits() -> list[NDArray[np.uint8]]:
    """Two frames of the sample clip, BGR."""
    with av.open(sample_clip()) as container:
        frames = [
            np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)
        ]
    return [frames[len(frames) // 4], frames[-len(frames) // 4]]


def test_nothing_of_ours_is_broken() -> None:
    assert [str(one) for one in REGISTRY.broken if one.origin.distribution == "streamfer"] == []
    assert {one.kind for one in OURS} == {"source", "detector", "tracker", "classifier", "sink"}


@of_kind("classifier")
def test_classifier(component: Registered) -> None:
    described = find(REGISTRY, component.name)
    check_classifier(lambda: answering(described.spec), described.crops, described.labels)


@pytest.mark.parametrize("component", [one for one in OURS if one.network], ids=lambda one: one.name)
def test_network(component: Registered) -> None:
    check_network(component)


OF_FRAMES = [one for one in OURS if one.component.network and "frames" in one.component.network.modes]


@pytest.mark.parametrize("component", OF_FRAMES, ids=lambda one: one.name)
def test_network_of_frames(component: Registered) -> None:
    """Its other mode is its default, and checked above; the shape is a small one."""
    check_network(component, mode="frames", frames=4, widths=(8, 16), units=8)


@pytest.mark.parametrize("component", OF_FRAMES, ids=lambda one: one.name)
def test_what_is_shipped_for_frames(component: Registered) -> None:
    described = find(REGISTRY, component.name, {"mode": "frames"})
    window = described.spec.window
    assert window is not None
    check_temporal_classifier(lambda: build(described.spec), described.crops[0], described.labels, window)
    check_classifier(lambda: answering(described.spec), described.crops, described.labels)


def test_the_temporal_example() -> None:
    registry = Registry.discover([Path(__file__).parents[2] / "examples" / "changing.py"])
    described = find(registry, "changing")
    window = described.spec.window
    assert window is not None
    check_temporal_classifier(lambda: build(described.spec), described.crops[0], described.labels, window)


@of_kind("detector")
def test_detector(component: Registered, portraits: list[NDArray[np.uint8]]) -> None:
    check_detector(lambda: make(component), portraits)


@of_kind("tracker")
def test_tracker(component: Registered) -> None:
    check_tracker(lambda: make(component))


@of_kind("sink")
def test_sink(component: Registered, tmp_path: Path) -> None:
    registration = component.component
    has_path = "path" in option_keys(registration.options)
    options = {"path": str(tmp_path / "new" / "result.mp4")} if has_path else {}
    check_sink(lambda: make(component, **options), durable=registration.durable, pixels=registration.pixels)


@of_kind("source")
def test_source(component: Registered) -> None:
    if component.component.live:
        pytest.skip("a live source never yields the same frames twice")
    check_source(lambda: make(component, path=str(sample_clip())))
