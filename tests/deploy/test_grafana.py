"""The Grafana dashboards are what their code builds, well formed, and find data in a real Prometheus."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.builder import page, queries, style
from deploy.grafana.builder.__main__ import FOLDER, files
from streamfer.exposition import LIVE_STATES
from streamfer.types import LABELS, FoundStatus
from tests import live, prometheus, rtsp
from tests.prometheus import Prometheus
from tests.service import ROOT, SAMPLE, Run, repeated, wait_until

GRAFANA = ROOT / "deploy" / "grafana"
RULES = ROOT / "deploy" / "prometheus" / "rules"
PAGES = sorted(page.PAGES)
BUILT_IN = {"__rate_interval", "__range"}
SCRAPED_EVERY = "1s"
RATE_INTERVAL = "5s"
RANGE = "60s"
"""What Grafana would put in the place of $__rate_interval and $__range."""

UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def document(uid: str) -> dict[str, Any]:
    text: dict[str, Any] = json.loads((FOLDER / f"{uid}.json").read_text())
    return text


def expressions(of: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every panel with each of its queries."""
    for panel in of["panels"]:
        for target in panel["targets"]:
            yield panel, target


def variables_in(value: object) -> set[str]:
    """The names behind $NAME and ${NAME…} anywhere in a part of a dashboard."""
    found = re.findall(r"\$\{?(\w+)", json.dumps(value))
    return {name for name in found if not name.startswith("__")} | (set(found) & BUILT_IN)


# ---- the files ---------------------------------------------------------------------------------------------


def test_committed_files_are_what_the_code_builds() -> None:
    built = files()
    committed = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert sorted(built) == sorted(committed)
    for name, text in built.items():
        assert text == committed[name], f"{name}: run python -m deploy.grafana.builder"


@pytest.mark.parametrize("uid", PAGES)
def test_grafanas_library_reads_them_back(uid: str) -> None:
    register_default_plugins()
    text = (FOLDER / f"{uid}.json").read_text()
    read = Dashboard.from_json(json.loads(text))
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == json.loads(text)


@pytest.mark.parametrize("uid", PAGES)
def test_every_panel_says_what_it_shows(uid: str) -> None:
    for panel in document(uid)["panels"]:
        where = f"{uid}: {panel['title']}"
        defaults = panel["fieldConfig"]["defaults"]
        assert len(panel["description"]) > 20, where
        assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix:"), where
        assert defaults["noValue"], where
        check_thresholds(defaults["thresholds"], where)
        assert panel["targets"], where
        for override in panel["fieldConfig"]["overrides"]:
            for one in override["properties"]:
                if one["id"] == "unit":
                    assert one["value"] in UNITS or one["value"].startswith("suffix:"), where
                if one["id"] == "thresholds":
                    check_thresholds(one["value"], where)


def check_thresholds(thresholds: dict[str, Any], where: str) -> None:
    """A base without a value, then rising steps."""
    base, *steps = thresholds["steps"]
    assert base["value"] is None, where
    values = [step["value"] for step in steps]
    assert values == sorted(set(values)), where


@pytest.mark.parametrize("uid", PAGES)
def test_panels_lie_side_by_side(uid: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in document(uid)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= page.WIDTH, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                assert other == panel["title"], f"{uid}: {panel['title']} lies over {other}"
    bottom = max(y for _, y in taken) + 1
    assert len(taken) == bottom * page.WIDTH, f"{uid}: there are holes"


@pytest.mark.parametrize("uid", PAGES)
def test_names_are_unique_and_variables_exist(uid: str) -> None:
    of = document(uid)
    assert of["uid"] == uid
    assert "streamfer" in of["tags"]
    ids = [panel["id"] for panel in of["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in of["panels"]]
    for panel in of["panels"]:
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]
    assert len(titles) == len(set(titles))
    known = {variable["name"] for variable in of["templating"]["list"]}
    assert variables_in(of) <= known | BUILT_IN
    repeated_for = {panel["repeat"] for panel in of["panels"] if "repeat" in panel}
    assert repeated_for <= known
    used = variables_in([of["panels"], of["links"]]) | repeated_for
    assert known <= used, "a variable that changes nothing"


@pytest.mark.parametrize("uid", PAGES)
def test_all_data_comes_from_the_data_source_that_is_chosen(uid: str) -> None:
    of = document(uid)
    chosen, *others = of["templating"]["list"]
    assert (chosen["name"], chosen["type"], chosen["query"]) == ("datasource", "datasource", "prometheus")
    provisioned = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())
    assert chosen["current"]["value"] == provisioned["datasources"][0]["uid"]
    for one in [*others, *of["panels"]]:
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, one
    for _, target in expressions(of):
        assert "datasource" not in target, "the panel's own holds"


@pytest.mark.parametrize("uid", PAGES)
def test_links_lead_to_pages_and_fill_their_variables(uid: str) -> None:
    of = document(uid)
    assert {link["url"].partition("?")[0] for link in of["links"]} == {
        f"/d/{other}" for other in PAGES if other != uid
    }
    for target, variables in re.findall(r"/d/([\w-]+)\?([^\"]*)", json.dumps(of)):
        assert target in PAGES
        known = {one["name"]: one for one in document(target)["templating"]["list"]}
        given = set(re.findall(r"var-(\w+)=", variables)) | set(re.findall(r"\{(\w+):queryparam", variables))
        assert given <= set(known)
        # "All" would be taken for a name where one value is chosen
        assert all(known[name]["multi"] for name in given if name == "instance")


def test_colours_know_every_value() -> None:
    assert list(style.LABELS) == list(LABELS)
    assert set(style.STATUS) == set(get_args(FoundStatus))
    assert sorted(queries.STATES) == sorted(LIVE_STATES)
    assert [style.STATES[code][0] for code in range(1, 6)] == list(queries.STATES)
    assert style.STATES[queries.NO_PROCESS][0] == "no process"
    assert len(set(style.LABELS.values())) == len(style.LABELS)


def test_nothing_phones_home() -> None:
    settings = dict(
        line.split("=", 1)
        for line in (GRAFANA / "grafana.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for name in (
        "GF_ANALYTICS_REPORTING_ENABLED",
        "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_NEWS_NEWS_FEED_ENABLED",
        "GF_SNAPSHOTS_EXTERNAL_ENABLED",
        "GF_AUTH_ANONYMOUS_ENABLED",
    ):
        assert settings[name] == "false", name
    assert settings["GF_SECURITY_DISABLE_GRAVATAR"] == "true"
    assert settings["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    used = re.findall(
        r"\$\{(\w+)\}", "".join(path.read_text() for path in GRAFANA.glob("provisioning/*/*.yaml"))
    )
    assert set(used) <= set(settings), "Grafana puts nothing in the place of a variable that is not set"
    path = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "streamfer.yaml").read_text())
    home = Path(settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == path["providers"][0]["options"]["path"]
    assert (FOLDER / home.name).exists()


# ---- the queries -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Monitored:
    """A Prometheus that has seen a service at work: two live streams, of which one died and came back."""

    prometheus: Prometheus
    since: float

    def values(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression over the run, those without one finite value left out."""
        answer = self.prometheus.get(
            "/api/v1/query_range",
            query=expression,
            start=f"{self.since:.3f}",
            end=f"{time.time():.3f}",
            step="1",
        )
        assert answer["status"] == "success", answer
        series: list[dict[str, Any]] = answer["data"]["result"]
        return [one for one in series if any(math.isfinite(float(value)) for _, value in one["values"])]

    def labels(self, query: str) -> list[str]:
        """What Grafana's label_values(SELECTOR, LABEL) finds."""
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found, query
        parameters = {"match[]": found[1], "start": f"{self.since:.3f}"}
        values: list[str] = self.prometheus.get(f"/api/v1/label/{found[2]}/values", **parameters)["data"]
        return values


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    if missing := prometheus.missing("prometheus", "promtool") or rtsp.missing():
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("grafana")
    recording = repeated(SAMPLE, 6, folder / "recording.mp4")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    yesterday(folder)
    since = time.time()
    # Prometheus comes first: the recording is soon read
    with (
        rtsp.RtspServer(f"door?clip={SAMPLE}&size=480x270&fps=12") as camera,
        Prometheus(scraping(folder, address), folder) as server,
    ):
        config = live.config(
            folder,
            {
                "door": {"source": "rtsp", "url": camera.url("door"), "retry": 1, "fps": 8},
                "lobby": {"path": str(SAMPLE), "realtime": True, "loop": True, "fps": 8},
                "lecture": {"path": str(recording)},
            },
            plugins=[str(ROOT / "examples" / "prior.py")],
            classifiers=["cnn", "prior"],
            metrics={"listen": address},
        )
        with Run("run", config, *live.JSON) as run:
            wait_for(run, server, LIVE)
            wait_for(run, server, f"increase({COMPARED}[{RATE_INTERVAL}]) > 20")
            camera.stop()
            wait_for(run, server, 'ALERTS{alertname="StreamferStreamDown",alertstate="firing"}')
            camera.start()
            wait_for(run, server, LIVE)
            wait_for(run, server, f"increase({COMPARED}[{RATE_INTERVAL}]) > 20")
            yield Monitored(server, since)


def wait_for(run: Run, server: Prometheus, expression: str) -> None:
    """Wait until Prometheus has seen it."""

    def seen() -> bool:
        assert run.process.poll() is None, run.finish()[1]
        return bool(server.query(expression))

    wait_until(seen, expression)


LIVE = 'streamfer_stream_state{stream="door",state="live"} == 1'
COMPARED = 'streamfer_compared_faces_total{stream="door"}'


def scraping(folder: Path, address: str) -> Path:
    """A prometheus.yml with the project's rules, everything every second and no alert waiting."""
    rules = folder / "rules"
    rules.mkdir()
    for path in RULES.glob("*.yml"):
        document = yaml.safe_load(path.read_text())
        for group in document["groups"]:
            group["interval"] = SCRAPED_EVERY
            for rule in group["rules"]:
                rule.pop("for", None)
        (rules / path.name).write_text(yaml.safe_dump(document))
    target = {"targets": [address], "labels": {"instance": "here"}}
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": SCRAPED_EVERY, "evaluation_interval": SCRAPED_EVERY},
                "rule_files": [f"{rules}/*.yml"],
                "scrape_configs": [{"job_name": "streamfer", "static_configs": [target]}],
            }
        )
    )
    return config


def yesterday(folder: Path) -> None:
    """Give Prometheus an hour of predictions of 24 hours ago, which drift is measured against."""
    now = int(time.time())
    lines = ["# TYPE streamfer_predictions counter"]
    for stream in ("door", "lobby"):
        for classifier in ("cnn", "prior"):
            for number, label in enumerate(LABELS, 1):
                names = {"stream": stream, "classifier": classifier, "label": label}
                names |= {"job": "streamfer", "instance": "here"}
                text = ",".join(f'{name}="{value}"' for name, value in names.items())
                for step in range(0, 3600, 60):
                    at = now - 86400 - 3600 + step
                    lines.append(f"streamfer_predictions_total{{{text}}} {number * step} {at}")
    past = folder / "yesterday.txt"
    past.write_text("\n".join([*lines, "# EOF", ""]))
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", past, folder / "data"],
        check=True,
        capture_output=True,
        timeout=30,
    )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")
def test_expressions_compute_what_they_say(tmp_path: Path) -> None:
    account = 'instance="here",stream="%s",classifier="cnn",sink="%s"'
    state = 'streamfer_stream_state{instance="here",stream="%s",state="%s"}'
    per_minute = {
        # of 240 frames that were to be analysed, `jsonl` did not get 24, `console` got all
        f'streamfer_ledger_frames{{{account % ("a", "jsonl")},state="captured"}}': "0+400x60",
        f'streamfer_ledger_frames{{{account % ("a", "console")},state="captured"}}': "0+400x60",
        f'streamfer_ledger_frames{{{account % ("a", "jsonl")},state="delivered"}}': "0+216x60",
        f'streamfer_ledger_frames{{{account % ("a", "console")},state="delivered"}}': "0+240x60",
        f'streamfer_ledger_dropped_frames{{{account % ("a", "jsonl")},reason="overload"}}': "0+24x60",
        f'streamfer_ledger_dropped_frames{{{account % ("a", "jsonl")},reason="fps_cap"}}': "0+160x60",
        f'streamfer_ledger_dropped_frames{{{account % ("a", "console")},reason="fps_cap"}}': "0+160x60",
        # a and b are live, but b's process is dead; c is being sought; d is a recording
        **{
            state % (stream, name): f"{int(name == now)}x60"
            for stream, now in (("a", "live"), ("b", "live"), ("c", "reconnecting"))
            for name in queries.STATES
        },
        'streamfer_stream_up{instance="here",stream="a"}': "1x60",
        'streamfer_stream_up{instance="here",stream="c"}': "0x60",
        **{f'streamfer_stream_info{{instance="here",stream="{one}",source="x"}}': "1x60" for one in "abcd"},
        'streamfer_frame_captured_timestamp_seconds{instance="here",stream="a"}': "3598x60",
        'streamfer_frame_captured_timestamp_seconds{instance="here",stream="d"}': "100x60",
    }
    prediction = 'streamfer_predictions_total{instance="here",stream="a",classifier="cnn",label="%s"}'
    per_hour = {prediction % "happy": "0+10x24 245+5x23", prediction % "sad": "0x24 5+5x23"}
    share = queries.label_share(queries.select("streamfer_predictions_total"), over="1d")
    drift = queries.drift(queries.select("streamfer_predictions_total"), over="1d")
    expected = {
        queries.state_code("stream"): {
            '{stream="a"}': 1,
            '{stream="b"}': 6,
            '{stream="c"}': 4,
            '{stream="d"}': 0,
        },
        queries.drop_ratio("stream"): {'{stream="a"}': 0.1},
        queries.delivered("stream"): {'{stream="a"}': 3.6},
        queries.frame_age("stream"): {'{stream="a"}': 2},
    }
    document = {
        "rule_files": [],
        "tests": [
            unit_test("1m", per_minute, "60m", expected),
            unit_test("1h", per_hour, "48h", {drift: {"{}": 0.5}}),
            unit_test("1h", dict.fromkeys(per_hour, "0+1x24"), "24h", {drift: {}}),
            unit_test("1h", dict.fromkeys(per_hour, "7x48"), "48h", {drift: {}, share: {}}),
        ],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def unit_test(
    interval: str, series: dict[str, str], at: str, expected: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """One of promtool's tests: what expressions give at a time."""

    def plain(expression: str) -> str:
        return re.sub(r"\$(\w+)", lambda found: "5m" if found[1] in BUILT_IN else ".*", expression)

    return {
        "interval": interval,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({plain(expression)}, 0.001)",
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, samples in expected.items()
        ],
    }


CHOSEN = {"instance": "here", "stream": "door", "classifier": "cnn"}
"""On pages and in panels that show one; where several can be chosen, all are."""


def filled(expression: str, of: dict[str, Any], panel: dict[str, Any]) -> str:
    """An expression as Grafana would send it."""
    values = {"__rate_interval": RATE_INTERVAL, "__range": RANGE}
    for variable in of["templating"]["list"]:
        name = variable["name"]
        if name in CHOSEN:
            one = not variable["multi"] or panel.get("repeat") == name
            values[name] = CHOSEN[name] if one else variable["allValue"]
    text = re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)
    assert "$" not in text, text
    return text


@pytest.mark.parametrize("uid", PAGES)
def test_every_expression_finds_data(monitored: Monitored, uid: str) -> None:
    of = document(uid)
    wrong = []
    for panel, target in expressions(of):
        series = monitored.values(filled(target["expr"], of, panel))
        where = f"{panel['title']} {target['refId']}: {target['expr']}"
        if not series:
            wrong.append(f"no data: {where}")
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            if not all(one["metric"].get(label) for one in series):
                wrong.append(f"no label {label}: {where}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("uid", PAGES)
def test_tables_have_their_columns(monitored: Monitored, uid: str) -> None:
    of = document(uid)
    for panel in of["panels"]:
        if panel["type"] not in ("table", "barchart"):
            continue
        labels: set[str] = set()
        for target in panel["targets"]:
            for one in monitored.values(filled(target["expr"], of, panel)):
                labels |= set(one["metric"])
        for step in panel["transformations"]:
            options = step["options"]
            names = options.get("renameByName") or {
                options[key]: "" for key in ("columnField", "rowField") if key in options
            }
            for name in names:
                # an alert has only the labels of what it watches
                assert name.startswith("Value") or name in labels or panel["title"] == "Alerts", name


@pytest.mark.parametrize("uid", PAGES)
def test_every_variable_finds_its_values(monitored: Monitored, uid: str) -> None:
    of = document(uid)
    for variable in of["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"].replace("$instance", ".*")
            assert CHOSEN[variable["name"]] in monitored.labels(query), query


def test_the_graph_of_states_shows_the_loss(monitored: Monitored) -> None:
    of = document("streamfer-stream")
    panel = next(panel for panel in of["panels"] if panel["type"] == "state-timeline")
    (series,) = monitored.values(filled(panel["targets"][0]["expr"], of, panel))
    codes = {style.STATES[int(value)][0] for _, value in series["values"]}
    assert {"live", "reconnecting"} <= codes
