"""All metrics together: names, labels, how many series there are, and their page."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import many_streams
from docs import make_metrics
from docs.make_metrics import described
from tests.prometheus import missing

METRICS = {one.name: one for one in map(described, make_metrics.objects().values())}


def made_up(streams: int, folder: Path, detect: int) -> str:
    """/metrics of a service with so many streams that has seen everything."""
    files = folder / "metrics"
    files.mkdir()
    config = many_streams.configuration(streams, folder, detector={"workers": detect})
    many_streams.write(config, files)
    return generate_latest(many_streams.registry(many_streams.plan_of(config), files)).decode()


def series(page: str) -> Counter[str]:
    """Series by metric."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] += len(family.samples)
    return found


# ---- the page ----------------------------------------------------------------------------------------------


def test_the_page_is_made_from_the_code() -> None:
    assert make_metrics.PAGE.read_text("utf-8") == make_metrics.page(), "run `make docs`"


def test_the_page_has_every_metric_and_every_label_once() -> None:
    entries = [name for group in make_metrics.ENTRIES.values() for name in group]
    assert sorted(entries) == sorted(make_metrics.objects())
    used = {label for one in METRICS.values() for label in one.labels}
    assert used == set(make_metrics.VALUES)


def test_the_queries_of_the_page_are_promql(tmp_path: Path) -> None:
    if why := missing("promtool"):
        pytest.skip(why)
    rules = [{"record": f"page:{n}", "expr": one} for n, one in enumerate(make_metrics.QUERIES.values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for query in make_metrics.QUERIES.values():
        for name in re.findall(r"\bstreamfer_\w+", query):
            assert re.sub("_(bucket|sum|count)$", "", name) in METRICS


# ---- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
def test_names_follow_the_conventions(name: str) -> None:
    one = METRICS[name]
    assert re.fullmatch(r"(streamfer|process)(_[a-z]+)+", name)
    assert (one.type == "counter") == name.endswith("_total")
    words = name.removesuffix("_total").split("_")
    assert not {"ms", "milliseconds", "minutes", "mb", "kb", "percent", "per"} & set(words), "base units only"
    if {"seconds", "bytes"} & set(words):
        assert words[-1] in ("seconds", "bytes")
    if "timestamp" in words:
        assert name.endswith("_timestamp_seconds")
    assert one.type != "histogram" or not name.endswith(("_count", "_sum", "_bucket"))


@pytest.mark.parametrize("name", METRICS)
def test_help_is_a_phrase(name: str) -> None:
    text = METRICS[name].documentation
    assert text[0].isupper() or text[0].isdigit()
    assert not text.endswith(".") and "\n" not in text and len(text) < 110


@pytest.mark.parametrize("name", METRICS)
def test_no_label_has_endless_values(name: str) -> None:
    forbidden = {"pid", "path", "url", "address", "host", "track", "epoch", "seq", "model", "version", "name"}
    allowed = {"version"} if name == "streamfer_build_info" else set()
    assert not (forbidden - allowed) & set(METRICS[name].labels)
    assert not {"le", "quantile", "job", "instance"} & set(METRICS[name].labels), "Prometheus' own"


def test_promtool_finds_nothing_to_say(tmp_path: Path) -> None:
    if why := missing("promtool"):
        pytest.skip(why)
    page = made_up(2, tmp_path, detect=1)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# ---- how many ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("streams", "detect"), [(1, 1), (100, 4)])
def test_no_metric_has_more_series_than_the_page_says(streams: int, detect: int, tmp_path: Path) -> None:
    found = series(made_up(streams, tmp_path, detect))
    most = make_metrics.most_series(make_metrics.numbers(streams, detect=detect))
    assert {name: count for name, count in found.items() if count > most[name]} == {}
    assert {name for name in most if name not in found} == {"streamfer_ring_slots"}, "recordings only"
    assert found.total() > 0.95 * sum(most.values()), "the page promises less than it could"
    row = rf"\| {streams} \| {detect} \| {sum(most.values())} \|"
    assert re.search(row, make_metrics.PAGE.read_text("utf-8"))


def test_series_grow_with_streams_and_not_faster() -> None:
    def total(streams: int) -> int:
        return sum(make_metrics.most_series(make_metrics.numbers(streams)).values())

    assert total(100) - total(99) == total(2) - total(1) < 200


def test_what_the_made_up_processes_write_is_all_there_is() -> None:
    of_processes = {
        name
        for name, metric in make_metrics.objects().items()
        if described(metric).of_process and name not in ("ring_slots", "compared_faces", "agreements")
    }
    written = {name for names in many_streams.WRITTEN.values() for name in names}
    assert written | set(many_streams.EVERYBODY) == of_processes
