"""Checks that a component keeps the contract of its kind, for the tests of plugin authors and our own.

Each takes `build`, a function without arguments that makes a fresh component (`check_network` the network's
registration), and raises AssertionError with one line that says what is wrong. None needs a test framework.
"""

from __future__ import annotations

from streamfer.testing.classifiers import check_classifier
from streamfer.testing.detectors import check_detector
from streamfer.testing.live import check_live_source
from streamfer.testing.networks import check_network
from streamfer.testing.sinks import check_live_sink, check_sink
from streamfer.testing.sources import check_source
from streamfer.testing.temporal import check_temporal_classifier
from streamfer.testing.trackers import check_tracker

__all__ = [
    "check_classifier",
    "check_detector",
    "check_live_sink",
    "check_live_source",
    "check_network",
    "check_sink",
    "check_source",
    "check_temporal_classifier",
    "check_tracker",
]
