"""/metrics of real services: right while processes die and hang, and equal to what the results say."""

from __future__ import annotations

import itertools
import math
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from docs import make_metrics
from tests.live import JSON, config, endpoint, results, stop
from tests.prometheus import Prometheus, missing
from tests.service import ROOT, SAMPLE, Run, frame_count, nothing_left, wait_until

LIVE = {"source": "file", "path": str(SAMPLE), "realtime": True, "loop": True}
TWO = {"plugins": [str(ROOT / "examples" / "prior.py")], "classifiers": ["cnn", "prior"]}
LISTEN = ("--set", "metrics.listen=127.0.0.1:0", *JSON)
COUNTED = ("_total", "_bucket", "_sum", "_count")


class Page:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.values, f"twice: {key}"
                self.values[key] = sample.value

    def all(self, name: str, **labels: str) -> list[float]:
        """The values of all series with these labels, and others perhaps."""
        wanted = labels.items()
        return [
            value
            for (sample, found), value in self.values.items()
            if sample == f"streamfer_{name}" and wanted <= found
        ]

    def one(self, name: str, **labels: str) -> float:
        """The value of the one series with these labels."""
        (value,) = self.all(name, **labels)
        return value

    def counts(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What may only rise."""
        return {key: value for key, value in self.values.items() if key[0].endswith(COUNTED)}


class Scraper:
    """Reads the page of a service over and over. No counter may fall, and none may be gone."""

    def __init__(self, run: Run) -> None:
        self.url = f"{endpoint(run)}/metrics"
        self.last: Page | None = None

    def page(self, timeout: float = 30) -> Page:
        with urllib.request.urlopen(self.url, timeout=timeout) as answer:
            page = Page(answer.read().decode())
        if self.last is not None:
            now = page.counts()
            fell = {key: (value, now.get(key)) for key, value in self.last.counts().items()}
            assert not {key: pair for key, pair in fell.items() if pair[1] is None or pair[1] < pair[0]}
        self.last = page
        return page

    def until(self, condition: Callable[[Page], Any], what: str, timeout: float = 60) -> Page:
        """The first page of which this is true."""
        found: Page = wait_until(lambda: page if condition(page := self.page()) else None, what, timeout)
        return found


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that hangs, for a while."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def metric_files(run: Run) -> set[str]:
    """The files in which the processes of a service keep their metrics."""
    directories = {
        Path(file.path).parent
        for worker in run.workers().values()
        for file in worker.open_files()
        if file.path.endswith(".db") and Path(file.path).parent.name == "metrics"
    }
    (directory,) = directories
    return {path.name for path in directory.iterdir()}


# ---- processes that die and hang ---------------------------------------------------------------------------


def test_counters_go_on_and_gauges_vanish_when_processes_are_killed(tmp_path: Path) -> None:
    path = config(tmp_path, {"cam": LIVE})
    with Run("run", path, *LISTEN) as run:
        scraper = Scraper(run)
        scraper.until(lambda page: page.all("frames_total", stage="sink", stream="cam"), "frames in the sink")
        page = scraper.until(lambda page: len(page.all("worker_open_fds")) == 5, "a look at each process")
        files = metric_files(run)
        assert len(files) <= 3 * 5, "at most counters, gauges and histograms of each"
        for stage, worker in (
            ("capture", "capture cam"),
            ("detect", "detect[0]"),
            ("classify", "classify cnn[0]"),
            ("sink", "sink jsonl"),
        ):
            labels = {"stage": stage, "worker": worker}
            before = scraper.page()
            assert before.one("stage_restarts_total", **labels) == 0
            killed = run.kill_worker(worker)
            with stopped(run.worker(worker, other_than=killed)):
                page = scraper.until(
                    lambda page, labels=labels: not page.all("worker_open_fds", **labels),  # type: ignore[misc]
                    "the gauges of the dead are gone",
                )
                assert not page.all("worker_resident_memory_bytes", **labels)
                assert len(page.all("worker_open_fds")) == 4, "of the others they are not"
                assert page.one("worker_cpu_seconds_total", **labels) > 0
                if stage == "capture":
                    assert not page.all("stream_up") and not page.all("frame_captured_timestamp_seconds")
                    assert sum(page.all("stream_state", stream="cam")) == 1
                if stage == "sink":
                    assert not page.all("disk_free_bytes")
                held = page.one("frames_total", stage=stage)
            page = scraper.until(
                lambda page, labels=labels, stage=stage, held=held: (  # type: ignore[misc]
                    page.all("worker_open_fds", **labels)
                    and page.all("stream_up") == [1]
                    and page.one("frames_total", stage=stage) > held + 20
                ),
                "the successor goes on",
            )
            assert page.one("stage_restarts_total", **labels) == 1
            assert page.one("worker_cpu_seconds_total", **labels) > before.one(
                "worker_cpu_seconds_total", **labels
            )
            assert page.all("frame_captured_timestamp_seconds") and page.all("disk_free_bytes")
            if stage == "classify":  # one classifier and one sink: each frame that is lost is lost once
                restarts = scraper.until(
                    lambda page: (
                        sum(page.all("frames_dropped_total", reason="restart"))
                        == sum(page.all("ledger_dropped_frames", reason="restart"))
                    ),
                    "the frames lost are those of the ledger",
                )
                assert sum(restarts.all("frames_dropped_total", reason="restart")) > 0
        assert metric_files(run) == files, "as many as before"
        stop(run)
        nothing_left(run)


def test_what_hangs_is_seen(tmp_path: Path) -> None:
    def silence(page: Page, worker: str) -> float:
        return time.time() - page.one("stage_progress_timestamp_seconds", worker=worker)

    path = config(tmp_path, {"cam": LIVE})
    with Run("run", path, *LISTEN) as run:
        scraper = Scraper(run)
        scraper.until(lambda page: len(page.all("stage_progress_timestamp_seconds")) == 4, "all have come")
        worker = "classify cnn[0]"
        with stopped(run.worker(worker)):
            page = scraper.until(lambda page: silence(page, worker) > 3, "its silence")
            assert silence(page, "detect[0]") < silence(page, worker)
            scraper.until(lambda page: page.one("stage_restarts_total", worker=worker) == 1, "its end")
        scraper.until(lambda page: silence(page, worker) < 2, "its successor's sign of life")
        with stopped(psutil.Process(run.process.pid)), pytest.raises((TimeoutError, urllib.error.URLError)):
            scraper.page(timeout=1)
        scraper.page()
        stop(run)


# ---- the same as in the results ----------------------------------------------------------------------------


def test_metrics_are_what_the_results_say(tmp_path: Path) -> None:
    """A recording, beside a live stream that keeps the service up when the recording is done."""
    streams: dict[str, dict[str, Any]] = {
        "rec": {"source": "file", "path": str(SAMPLE)},
        "cam": {**LIVE, "fps": 1},
    }
    path = config(tmp_path, streams, **TWO)
    with Run("run", path, *LISTEN) as run:
        scraper = Scraper(run)
        seen = scraper.until(lambda page: page.all("ring_slots", stream="rec"), "the recording is read")
        assert seen.all("stream_up", stream="rec")
        gone = ("stream_up", "frame_captured_timestamp_seconds", "ring_slots")
        page = scraper.until(
            lambda page: (
                not any(page.all(name, stream="rec") for name in gone)
                and not page.all("stage_progress_timestamp_seconds", worker="capture rec")
            ),
            "the recording is done",
        )
        assert not page.all("circuit_open", worker="capture rec")
        assert not page.all("worker_resident_memory_bytes", worker="capture rec")
        assert not page.all("stream_state", stream="rec") and sum(page.all("stream_state", stream="cam")) == 1
        assert page.one("stage_restarts_total", worker="capture rec") == 0
        found = [line for line in results(tmp_path) if line["stream"] == "rec"]
        stop(run)
    by = {name: [line for line in found if line["classifier"] == name] for name in ("cnn", "prior")}
    assert len(by["cnn"]) == len(by["prior"]) == frame_count(SAMPLE)
    for stage, component, frames in (
        ("capture", "file", 1),
        ("detect", "yunet", 1),
        ("classify", "cnn", 1),
        ("classify", "prior", 1),
        ("sink", "jsonl", 2),
    ):
        count = page.one("frames_total", stream="rec", stage=stage, component=component)
        assert count == frames * frame_count(SAMPLE), component
    statuses = Counter(face["status"] for line in by["cnn"] for face in line["faces"])
    assert {status: page.one("faces_total", stream="rec", status=status) for status in statuses} == statuses
    assert sum(page.all("faces_total", stream="rec")) == statuses.total() > 0
    for name, lines in by.items():
        of = {"stream": "rec", "classifier": name}
        faces = [face for line in lines for face in line["faces"] if face["status"] == "ok"]
        labels = Counter(face["label"] for face in faces)
        assert {label: page.one("predictions_total", label=label, **of) for label in labels} == labels
        assert sum(page.all("predictions_total", **of)) == len(faces)
        assert page.one("confidence_count", **of) == len(faces)
        assert page.one("confidence_sum", **of) == pytest.approx(sum(face["confidence"] for face in faces))
        for bound in ("0.5", "0.9"):
            below = sum(face["confidence"] <= float(bound) for face in faces)
            assert page.one("confidence_bucket", le=bound, **of) == below
        changes, seconds = flicker(lines)
        assert page.one("label_changes_total", **of) == changes
        assert page.one("track_seconds_total", **of) == pytest.approx(seconds) and seconds > 0
    first, second = (
        {(line["seq"], face["track"]): face.get("label") for line in lines for face in line["faces"]}
        for lines in by.values()
    )
    both = [key for key in first if first[key] is not None and second.get(key) is not None]
    assert page.one("compared_faces_total", stream="rec") == len(both) > 0
    agreed = sum(first[key] == second[key] for key in both)
    assert page.one("agreements_total", stream="rec", classifier="cnn", other="prior") == agreed
    assert 0 < agreed < len(both), "the clip tells the two apart"


def flicker(lines: list[dict[str, Any]]) -> tuple[int, float]:
    """Label changes, and the seconds for which faces were followed, as the results have them."""
    tracks: dict[int, list[tuple[float, str]]] = defaultdict(list)
    for line in lines:
        assert "discontinuity" not in line
        for face in line["faces"]:
            if face["status"] == "ok":
                tracks[face["track"]].append((line["pts"], face["label"]))
    steps = [
        (later - before, one != other)
        for track in tracks.values()
        for (before, one), (later, other) in itertools.pairwise(track)
        if 0 < later - before <= 1
    ]
    return sum(changed for _, changed in steps), math.fsum(seconds for seconds, _ in steps)


# ---- with a real Prometheus --------------------------------------------------------------------------------


def test_prometheus_reads_it_and_answers_the_queries_of_the_page(tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    path = config(tmp_path, {"cam": LIVE}, **TWO)
    with Run("run", path, *LISTEN) as run:
        scraper = Scraper(run)
        scraper.until(lambda page: page.all("agreements_total"), "frames in the sink")
        target = scraper.url.removeprefix("http://").removesuffix("/metrics")
        document = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "streamfer", "static_configs": [{"targets": [target]}]}],
        }
        file = tmp_path / "prometheus.yml"
        file.write_text(yaml.safe_dump(document))
        with Prometheus(file, tmp_path / "prometheus") as prometheus:
            wait_until(lambda: any(one["health"] == "up" for one in prometheus.targets()), "the first scrape")
            for title, query in make_metrics.QUERIES.items():

                def answered(query: str = query) -> bool:
                    return any(math.isfinite(value) for _, value in prometheus.query(query))

                wait_until(answered, title, timeout=30)
        page = scraper.page()
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=page.text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        most = make_metrics.most_series(make_metrics.numbers(1, sinks=1))
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(page.text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] += len(family.samples)
        assert {name: count for name, count in found.items() if count > most[name]} == {}
        for name, largest in (
            ("stage_seconds", "2.5"),
            ("end_to_end_seconds", "30.0"),
            ("batch_faces", "32.0"),
        ):
            below, count = sum(page.all(f"{name}_bucket", le=largest)), sum(page.all(f"{name}_count"))
            assert below >= 0.95 * count > 0, f"the buckets of {name} end too soon"
        stop(run)
