"""The metrics of all workers from their files: as prometheus_client's own collector has them, and sooner."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from streamfer import metrics
from streamfer.gather import WorkerCollector

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

BOUNDS = ("0.1", "1.0", "2.5", "10.0", "+Inf")
texts = st.sampled_from(["lobby", 'a "b"', "back\\slash", "two\nlines", "Tür", "{le=1}", ""])
amounts = st.integers(0, 1000).map(float)
values = st.one_of(
    st.tuples(st.just("counter"), st.sampled_from(["frames", "faces"]), texts, amounts),
    st.tuples(st.just("gauge_livemax"), st.sampled_from(["memory", "fds"]), texts, amounts),
    st.tuples(
        st.just("histogram"),
        st.sampled_from(["seconds", "age"]),
        texts,
        st.lists(amounts, min_size=5, max_size=5),
    ),
)
worlds = st.dictionaries(st.integers(0, 9), st.lists(values, max_size=8), max_size=5)
"""What each worker has written: kind, metric, the value of its label, the value or the buckets' values."""


def write(
    directory: Path, worker: int, kind: str, metric: str, text: str, value: float | list[float]
) -> None:
    """Set one value, as prometheus_client would in the process of the worker."""
    file = MmapedDict(str(directory / f"{kind}_{worker}.db"))  # type: ignore[no-untyped-call]
    name, names, labels = f"streamfer_{metric}", ["stream"], [text]
    if isinstance(value, list):
        entries = [(f"{name}_sum", names, labels, sum(value))]
        entries += [
            (f"{name}_bucket", [*names, "le"], [*labels, bound], one)
            for bound, one in zip(BOUNDS, value, strict=True)
        ]
    else:
        entries = [(f"{name}_total" if kind == "counter" else name, names, labels, value)]
    for sample, label_names, label_values, one in entries:
        key = mmap_key(name, sample, label_names, label_values, "What it is")
        file.write_value(key, one, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def samples(collector: Collector) -> Samples:
    """Each series once."""
    found: Samples = {}
    for metric in collector.collect():
        for sample in metric.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def theirs(directory: Path) -> Samples:
    return samples(MultiProcessCollector(None, path=str(directory)))  # type: ignore[no-untyped-call]


@given(st.lists(worlds, min_size=1, max_size=3))
def test_it_says_what_prometheus_clients_collector_says(steps: list[dict[int, list[tuple]]]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ours = WorkerCollector(directory)
        for world in steps:  # scraped after each, so that what it remembers is used
            for worker, written in world.items():
                for one in written:
                    write(directory, worker, *one)
            assert samples(ours) == theirs(directory)


@given(worlds)
def test_its_text_is_read_back(world: dict[int, list[tuple]]) -> None:  # type: ignore[type-arg]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for worker, written in world.items():
            for one in written:
                write(directory, worker, *one)
        ours, registry = WorkerCollector(directory), CollectorRegistry()
        registry.register(ours)
        text = generate_latest(registry).decode()
        read = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert read == samples(ours)


def test_buckets_add_up_over_workers(tmp_path: Path) -> None:
    write(tmp_path, 1, "histogram", "seconds", "lobby", [1.0, 2.0, 0.0, 0.0, 3.0])
    write(tmp_path, 2, "histogram", "seconds", "lobby", [10.0, 0.0, 0.0, 0.0, 0.0])
    write(tmp_path, 2, "histogram", "seconds", "door", [0.0, 0.0, 0.0, 0.0, 7.0])
    found = samples(WorkerCollector(tmp_path))
    for stream, expected in (("lobby", [11, 13, 13, 13, 16]), ("door", [0, 0, 0, 0, 7])):
        label = ("stream", stream)
        buckets = [found["streamfer_seconds_bucket", frozenset({label, ("le", le)})] for le in BOUNDS]
        assert buckets == expected
        assert found["streamfer_seconds_count", frozenset({label})] == expected[-1]


def test_the_gauges_of_a_dead_worker_are_gone_and_its_counts_are_not(tmp_path: Path) -> None:
    write(tmp_path, 1, "counter", "frames", "lobby", 3.0)
    write(tmp_path, 1, "gauge_livemax", "memory", "lobby", 5.0)
    ours = WorkerCollector(tmp_path)
    label = frozenset({("stream", "lobby")})
    assert samples(ours) == {("streamfer_frames_total", label): 3.0, ("streamfer_memory", label): 5.0}
    (tmp_path / "gauge_livemax_1.db").unlink()
    assert samples(ours) == {("streamfer_frames_total", label): 3.0}


def test_a_file_that_is_just_being_made_is_an_error_for_now(tmp_path: Path) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"")
    with pytest.raises(struct.error):
        WorkerCollector(tmp_path).collect()


def test_all_gauges_are_of_the_kind_that_it_knows() -> None:
    for metric in vars(metrics).values():
        if isinstance(metric, Gauge):
            assert metric._multiprocess_mode == "livemax"
