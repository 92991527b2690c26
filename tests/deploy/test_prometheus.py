"""The rules and the routes: each alert fires when it should, is explained, and reaches whom it should."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from streamfer import metrics
from tests import rtsp
from tests.live import config, endpoint
from tests.prometheus import Alertmanager, Pager, Prometheus, missing
from tests.rtsp import RtspServer
from tests.service import ROOT, Run, wait_until

FOLDER = ROOT / "deploy" / "prometheus"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOK = "docs/operations.md"
RULES = [
    rule
    for path in sorted(FOLDER.glob("rules/*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = [rule["record"] for rule in RULES if "record" in rule]
CASES = sorted(FOLDER.glob("tests/*.yml"))
ON_ALERTS = (ROOT / RUNBOOK).read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
"""Metrics that Prometheus itself adds to each target."""


def needs(*commands: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(missing(*commands) is not None, reason=str(missing(*commands)))


def succeeds(*command: str | Path) -> str:
    """Run a tool; what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- the rules ---------------------------------------------------------------------------------------------


@needs("promtool")
def test_prometheus_takes_the_configuration() -> None:
    said = succeeds("promtool", "check", "config", FOLDER / "prometheus.yml")
    assert f"{len(list(FOLDER.glob('rules/*.yml')))} rule files found" in said


@needs("promtool")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    succeeds("promtool", "test", "rules", path)


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    tested: dict[bool, set[str]] = {True: set(), False: set()}
    for path in CASES:
        for group in yaml.safe_load(path.read_text())["tests"]:
            for case in group.get("alert_rule_test", ()):
                tested[bool(case["exp_alerts"])].add(case["alertname"])
    assert tested == {True: set(ALERTS), False: set(ALERTS)}


def test_names() -> None:
    """No alert is named twice, nor a rule; names follow the conventions."""
    names = [rule.get("alert", rule.get("record")) for rule in RULES]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"Streamfer[A-Z][A-Za-z]+", name) for name in ALERTS)
    assert all(re.fullmatch(r"[a-z_]+:streamfer_[a-z_]+:[a-z0-9_]+", name) for name in RECORDS)


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_who_is_woken_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert set(rule["labels"]) == {"severity"}
    severity = rule["labels"]["severity"]
    assert severity in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"{RUNBOOK}#{name.lower()}"
    section = re.search(rf"^### {name}\n\n(.*?)(?=^### |\Z)", ON_ALERTS, re.M | re.S)
    assert section, f"{RUNBOOK} has no heading '### {name}'"
    minutes = re.fullmatch(r"(\d+)([mh])", rule["for"]) if "for" in rule else None
    unit = {"m": "minute", "h": "hour"}
    after = f", after {minutes[1]} {unit[minutes[2]]}{'s' * (minutes[1] != '1')}" if minutes else ""
    assert section[1].startswith(f"*{severity}{after}.* "), "the page tells another severity or wait"


def test_the_page_explains_no_alert_that_there_is_not() -> None:
    assert set(re.findall(r"^### (\w+)$", ON_ALERTS, re.M)) == set(ALERTS)


def names_in(text: str) -> set[str]:
    """The metrics and recorded series that an expression asks for."""
    return set(
        re.findall(r"[a-z_]*:?\b(?:streamfer|process)_\w+(?::\w+)?|\bup\b|\bscrape_duration_seconds\b", text)
    )


def exported() -> dict[str, set[str]]:
    """The names of all samples that /metrics can have, each with its labels."""
    found = {one.name + "_total" * (one.type == "counter"): set(one.labels) for one in metrics.FAMILIES}
    for metric in vars(metrics).values():
        if not isinstance(metric, Counter | Gauge | Histogram):
            continue
        [family] = metric.describe()
        labels = set(metric._labelnames)
        suffixes = {"counter": ["_total"], "histogram": ["_count", "_sum"]}
        found |= {family.name + suffix: labels for suffix in suffixes.get(family.type, [""])}
        if family.type == "histogram":
            found[f"{family.name}_bucket"] = {*labels, "le"}
    return found


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(rule["expr"], id=rule.get("alert", rule.get("record"))) for rule in RULES),
        *(pytest.param(str(rule["annotations"]), id=f"message of {name}") for name, rule in ALERTS.items()),
        *(pytest.param(path.read_text(), id=path.stem) for path in CASES),
        pytest.param(ON_ALERTS, id=RUNBOOK),
        pytest.param((FOLDER / "README.md").read_text(), id="README.md"),
    ],
)
def test_each_metric_that_is_asked_for_is_there(text: str) -> None:
    assert names_in(text) <= {*exported(), *RECORDS, *OF_PROMETHEUS}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_cases_have_the_labels_of_the_service(path: Path) -> None:
    known = {**exported(), **{name: set[str]() for name in OF_PROMETHEUS}}
    for group in yaml.safe_load(path.read_text())["tests"]:
        for series in group["input_series"]:
            name, _, labels = series["series"].partition("{")
            found = set(re.findall(r'(\w+)="', labels)) - {"site"}
            assert found == known[name] | {"job", "instance"}, series["series"]


# ---- who is told -------------------------------------------------------------------------------------------


@needs("amtool")
def test_alertmanager_takes_the_configuration() -> None:
    succeeds("amtool", "check-config", ALERTMANAGER)


@needs("amtool")
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "now"), ("warning", "day"), ("info", "look")]
)
def test_the_severity_says_who_is_told(severity: str, receiver: str) -> None:
    told = succeeds(
        "amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}"
    )
    assert told.split() == [receiver]


@needs("prometheus-alertmanager", "amtool")
def test_a_cause_silences_what_follows_from_it(tmp_path: Path) -> None:
    here: dict[str, str] = {"job": "streamfer", "instance": "a:9108"}
    there = {**here, "instance": "b:9108"}
    alerts = [
        ("StreamferTargetMissing", there, False),
        ("StreamferStreamDown", {**there, "stream": "cam"}, True),
        ("StreamferDiskNearlyFull", {**there, "sink": "jsonl"}, True),
        ("StreamferStreamDown", {**here, "stream": "cam"}, False),
        ("StreamferFramesStale", {**here, "stream": "cam"}, True),
        ("StreamferLatencyHigh", {**here, "stream": "cam", "sink": "jsonl"}, True),
        ("StreamferFramesStale", {**here, "stream": "yard"}, False),
        ("StreamferCircuitOpen", {**here, "worker": "capture cam"}, False),
        ("StreamferStageRestarts", {**here, "worker": "capture cam"}, True),
        ("StreamferStageRestarts", {**here, "worker": "detect[0]"}, False),
        ("StreamferDiskNearlyFull", {**here, "sink": "jsonl"}, False),
        ("StreamferDiskFullSoon", {**here, "sink": "jsonl"}, True),
        ("StreamferDiskFullSoon", {**here, "sink": "video"}, False),
    ]
    assert {name for name, _, _ in alerts} <= set(ALERTS)
    with Alertmanager(ALERTMANAGER, tmp_path / "alertmanager") as server:
        for name, labels, _ in alerts:
            pairs = [f"{key}={value}" for key, value in {"alertname": name, **labels}.items()]
            succeeds("amtool", "alert", "add", *pairs, f"--alertmanager.url={server.url}")

        def silenced() -> list[bool] | None:
            found = {
                json.dumps(one["labels"], sort_keys=True): bool(one["status"]["inhibitedBy"])
                for one in server.alerts()
            }
            keys = [json.dumps({"alertname": name, **labels}, sort_keys=True) for name, labels, _ in alerts]
            return [found[key] for key in keys] if found.keys() >= set(keys) else None

        expected = [is_silenced for _, _, is_silenced in alerts]
        wait_until(lambda: silenced() == expected, f"{expected}", timeout=20)


# ---- all of it ---------------------------------------------------------------------------------------------


def hurried(value: Any, key: str = "") -> Any:
    """A copy of a configuration in which every wait and interval is a second at most."""
    if isinstance(value, dict):
        return {name: hurried(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [hurried(one, key) for one in value]
    if key in ("for", "interval", "scrape_interval", "scrape_timeout", "evaluation_interval"):
        return "1s"
    return "1s" if key in ("group_wait", "group_interval") else value


def copied(source: Path, target: Path, address: str = "", other: str = "") -> Path:
    """The hurried copy of a YAML file, with another address."""
    text = source.read_text()
    assert address in text
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        yaml.safe_dump(hurried(yaml.safe_load(text.replace(address, other) if address else text)))
    )
    return target


@needs("prometheus", "prometheus-alertmanager")
@pytest.mark.skipif(rtsp.missing() is not None, reason=str(rtsp.missing()))
def test_a_camera_that_dies_wakes_somebody_and_its_return_ends_it(tmp_path: Path) -> None:
    """The files of deploy/ as they are, but for addresses and for intervals, which are a second here."""
    with (
        Pager() as pager,
        RtspServer("cam") as camera,
        Run(
            "run",
            config(tmp_path, {"cam": {"source": "rtsp", "url": camera.url(), "retry": 0.5}}),
            "--set",
            "metrics.listen=127.0.0.1:0",
        ) as run,
        Alertmanager(
            copied(ALERTMANAGER, tmp_path / "alertmanager.yml", "127.0.0.1:9095", pager.address),
            tmp_path / "alertmanager",
        ) as alertmanager,
    ):
        for rules in FOLDER.glob("rules/*.yml"):
            copied(rules, tmp_path / "rules" / rules.name)
        service = endpoint(run).removeprefix("http://")
        targets = Path("targets") / "streamfer.yaml"
        copied(FOLDER / targets, tmp_path / targets, "127.0.0.1:9108", service)
        main = copied(
            FOLDER / "prometheus.yml",
            tmp_path / "prometheus.yml",
            "127.0.0.1:9093",
            alertmanager.url.removeprefix("http://"),
        )
        with Prometheus(main, tmp_path / "prometheus") as prometheus:

            def state(name: str) -> str:
                [rule] = [one for one in prometheus.rules() if one["name"] == name]
                return str(rule["state"])

            def known() -> bool:
                """Alertmanager holds the alert of this stream."""
                labels = [one["labels"] for one in alertmanager.alerts()]
                return ("StreamferStreamDown", "cam", service) in [
                    (one["alertname"], one.get("stream"), one.get("instance")) for one in labels
                ]

            wait_until(lambda: prometheus.query("streamfer_stream_up == 1"), "the stream is up")
            wait_until(lambda: not prometheus.alerts(), "a service that is well raises no alert")
            rules_there = prometheus.rules()
            assert {rule["name"] for rule in rules_there} == {*ALERTS, *RECORDS}
            assert not known()

            camera.stop()
            wait_until(lambda: state("StreamferStreamDown") == "firing", "the camera is missed")
            wait_until(known, "Alertmanager hears of it")
            wait_until(lambda: ("/critical", "StreamferStreamDown", "firing") in pager.told, "the page")

            camera.start()
            wait_until(lambda: state("StreamferStreamDown") == "inactive", "the camera is back")
            wait_until(lambda: not known(), "Alertmanager hears of that too")
            wait_until(
                lambda: ("/critical", "StreamferStreamDown", "resolved") in pager.told, "the all-clear"
            )

            run.process.kill()
            wait_until(
                lambda: ("/critical", "StreamferTargetMissing", "firing") in pager.told, "the other page"
            )
            assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []
