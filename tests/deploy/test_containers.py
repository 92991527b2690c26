"""The images of deploy/Dockerfile, built and run without an engine, and the files of deploy/compose.yaml."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.container import Container
from tests.deploy.image import DOCKERFILE, Builder, Image, in_context, missing, steps
from tests.live import assert_exact, results
from tests.service import ROOT, SAMPLE, assert_complete, frame_count, streamfer, wait_until

COMPOSE = ROOT / "deploy" / "compose.yaml"
SITE = f"/opt/streamfer/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
IN_THE_BASE_IMAGE = {  # libc6, libgcc-s1, libstdc++6, zlib1g: Debian's own minimum
    "libc.so.6", "libdl.so.2", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "librt.so.1", "libutil.so.1",
    "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1",
}  # fmt: skip


class Built(NamedTuple):
    """The serving image, and who has made it."""

    builder: Builder
    image: Image


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    if why := missing():
        pytest.skip(why)
    with Builder(tmp_path_factory.mktemp("image")) as builder:
        yield Built(builder, builder.build("serve"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


def tool(name: str) -> str:
    """A command of the development environment."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert found, f"{name} is missing; make setup"
    return found


def value(name: str) -> str:
    """What the last instruction of this name in the Dockerfile says."""
    return [step.value for step in steps() if step.name == name][-1]


def listening_port() -> str:
    (address,) = re.findall(r"STREAMFER_LISTEN=(\S+)", DOCKERFILE.read_text())
    return str(address.rpartition(":")[2])


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


# ---- deploy/Dockerfile -------------------------------------------------------------------------------------


def test_hadolint_finds_nothing_wrong_with_the_dockerfile() -> None:
    done = subprocess.run(
        [tool("hadolint"), DOCKERFILE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE.read_text()


def test_every_install_takes_the_tested_versions_and_the_images_differ_by_an_extra_alone() -> None:
    installs = [step.value for step in steps() if step.name == "RUN" and "pip" in step.value]
    what = [re.split(r" install --constraint constraints\.txt ", one)[-1] for one in installs]
    assert what == ["build hatchling", "/dist/*.whl", '"${wheel}[train]"']


def test_the_image_says_the_version_and_serves_by_default() -> None:
    assert f'org.opencontainers.image.version="{version()}"' in value("LABEL")
    assert value("FROM").endswith(" AS serve")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", value("USER"))


def test_nothing_gets_into_a_build_that_is_not_for_it() -> None:
    for path in (
        ".env", ".git/config", ".venv/bin/python", "deploy/compose.yaml", "keys/server.secret",
        "out/demo/results.jsonl", "streamfer/cli/__pycache__/run.pyc", "tests/service.py",
    ):  # fmt: skip
        assert not in_context(Path(path)), path
    for path in (
        "pyproject.toml",
        "streamfer/data/sample.mp4",
        "plugins/streamfer_classifiers/cnn/card.json",
    ):
        assert in_context(Path(path)) and (ROOT / path).exists(), path


def test_the_image_has_the_tested_versions_and_no_tensorflow_and_needs_no_library_of_debian(
    built: Built,
) -> None:
    inside = f"chroot {built.image.root} env -i"
    lister = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    listed = built.builder.shell(f"{inside} /opt/streamfer/bin/python -I -c '{lister}'")
    installed = {normal(name): found for name, found in (line.split() for line in listed.splitlines())}
    assert installed.pop("streamfer") == version()
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {normal(name): pin for name, pin in pins}
    assert installed == {name: pinned.get(name) for name in installed}
    assert {"av", "numpy", "opencv-python-headless", "pyzmq"} <= set(installed)
    assert not {"tensorflow", "keras", "pip", "setuptools", "build"} & set(installed)
    # What a new volume takes over.
    owned = built.builder.shell(f"stat -c '%u:%g %a' {built.image.root}{value('VOLUME')}")
    assert owned == f"{value('USER')} 750\n"
    # Under vendors/ are drivers of accelerators, which LiteRT loads where their makers' libraries are there.
    linked = built.builder.shell(
        f"{inside} find {SITE} -name '*.so*' -type f -not -path '*/vendors/*' -exec ldd {{}} + || true"
    )
    needed = {
        line.split()[0] for line in linked.splitlines() if " => " in line and "/opt/streamfer" not in line
    }
    assert {"libc.so.6", "libstdc++.so.6"} <= needed <= IN_THE_BASE_IMAGE


def normal(name: str) -> str:
    """The name of a distribution as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_recording_is_analysed_without_rights_and_on_a_root_that_cannot_be_written(
    built: Built, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    command = ["run", f"{SITE}/streamfer/data/sample.mp4", "--out", "results", "--video"]
    with Container(built.builder, built.image, volume, *command) as container:
        status, output, error = container.finish()
    assert status == 0, output + error
    assert_complete(volume / "results", frame_count(SAMPLE))
    assert value("USER").startswith(f"{(volume / 'results' / 'annotated.mp4').stat().st_uid}:")
    with Container(built.builder, built.image, volume, "doctor") as container:
        status, output, error = container.finish()
    assert status == 0 and "fail" not in output, output + error


def test_process_1_is_healthy_is_found_hung_and_ends_in_order(built: Built, tmp_path: Path) -> None:
    volume, folder = tmp_path / "volume", tmp_path / "config"
    folder.mkdir()
    stream = {"path": f"{SITE}/streamfer/data/sample.mp4", "realtime": True, "loop": True}
    sink = {"name": "jsonl", "path": "/var/lib/streamfer/results.jsonl"}
    document = {"version": 1, "streams": {"clip": stream}, "classifiers": ["cnn"], "sinks": [sink]}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    command = [*built.image.config.command, "--log-format", "json"]
    with Container(built.builder, built.image, volume, *command, config=folder) as container:
        wait_until(lambda: container.health() == (0, "ok\n"), "a healthy container", timeout=120)
        first = container.first()
        rights = dict(re.findall(r"(\w+):\s+(.*)", Path(f"/proc/{first.pid}/status").read_text()))
        assert rights["NSpid"].split()[-1] == "1"
        assert {rights["CapPrm"], rights["CapEff"], rights["CapBnd"]} == {"0" * 16}
        assert set(rights["Uid"].split()) == {value("USER").partition(":")[0]}
        for place in ("/opt/streamfer/x", "/etc/x", "/x"):
            assert "Read-only file system" in container.execute("touch", place).stderr
        wait_until(lambda: len(results(volume)) > 10, "results")
        first.send_signal(signal.SIGSTOP)
        status, said = container.health()
        assert status == 1 and said.endswith("no answer: timed out\n") and said.count("\n") == 1
        first.send_signal(signal.SIGCONT)
        wait_until(lambda: container.health()[0] == 0, "a healthy container")
        first.send_signal(signal.SIGTERM)
        status, output, error = container.finish()
    assert status == 130, output + error
    assert_exact(error)
    assert len(results(volume)) > 10


def test_who_does_not_answer_is_not_healthy() -> None:
    environment = {"STREAMFER_LISTEN": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-I", ROOT / "deploy" / "healthcheck.py"],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert re.fullmatch(r"127\.0\.0\.1:1: no answer: .*refused\n", done.stdout)


# ---- deploy/compose.yaml -----------------------------------------------------------------------------------


def mounts(service: dict[str, Any], kind: str) -> dict[str, str]:
    """Target → source; of files, as they lie here."""
    found = [one for one in service.get("volumes", ()) if one["type"] == kind]
    return {one["target"]: one["source"] for one in found}


def laid_out(service: dict[str, Any], to: Path) -> Path:
    """The files that a container finds, at the same places under a directory."""
    for target, source in mounts(service, "bind").items():
        here, there = COMPOSE.parent / source, to / target.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if here.is_dir() else shutil.copy)(here, there)
    return to


def test_the_file_is_as_the_compose_schema_wants_it() -> None:
    done = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & set(service), name
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), (name, port)
        for mount in service.get("volumes", ()):
            assert mount["type"] == "volume" or mount["read_only"], (name, mount)
    # The camera's network has no way out, and nothing of it is published.
    assert compose["networks"]["cameras"] == {"internal": True}
    assert compose["services"]["camera"]["networks"] == ["cameras"]
    assert "ports" not in compose["services"]["camera"]


def test_every_image_is_of_one_version(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-ffmpeg)?", service["image"]), (name, service["image"])
    assert compose["services"]["streamfer"]["image"] == f"streamfer:{version()}"
    build = compose["services"]["streamfer"]["build"]
    assert (COMPOSE.parent / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]) == DOCKERFILE and build["target"] == "serve"


def test_what_is_mounted_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for source in mounts(service, "bind").values():
            assert (COMPOSE.parent / source).exists(), (name, source)
        for source in mounts(service, "volume").values():
            assert source in compose["volumes"], (name, source)


def test_who_is_waited_for_has_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert "HEALTHCHECK" in DOCKERFILE.read_text()
    assert all("healthcheck" in service for name, service in services.items() if name != "streamfer")
    waited = {(name, one) for name, service in services.items() for one in service.get("depends_on", ())}
    assert waited == {("streamfer", "camera"), ("grafana", "prometheus")}
    for name, one in waited:
        assert services[name]["depends_on"][one] == {"condition": "service_healthy"}


def test_the_service_finds_its_places_and_its_configuration(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["streamfer"]
    uid, _, gid = value("USER").partition(":")
    runtime = next(one for one in service["tmpfs"] if one.startswith("/run/streamfer:"))
    assert f"uid={uid},gid={gid},mode=0700" in runtime
    assert "XDG_RUNTIME_DIR=/run/streamfer" in DOCKERFILE.read_text()
    assert mounts(service, "volume") == {value("VOLUME"): "results"}
    assert service["ports"] == [f"127.0.0.1:{listening_port()}:{listening_port()}"]
    # As long as systemd's unit: what the supervisor takes at most, and room.
    assert service["stop_grace_period"] == "30s" and service["init"] is True
    command = json.loads(value("CMD"))
    config = laid_out(service, tmp_path) / command[1].lstrip("/")
    done = streamfer("check", config, *command[2:], env={"STREAMFER_LISTEN": f"0.0.0.0:{listening_port()}"})
    assert done.returncode == 0, done.stderr
    assert f"http://0.0.0.0:{listening_port()}/metrics" in done.stdout
    document = yaml.safe_load(config.read_text())
    assert all(sink["path"].startswith(value("VOLUME") + "/") for sink in document["sinks"])
    camera = yaml.safe_load((COMPOSE.parent / "compose" / "mediamtx.yml").read_text())
    ((_, stream),) = document["streams"].items()
    ((path, publisher),) = camera["paths"].items()
    assert stream["url"] == f"rtsp://camera{camera['rtspAddress']}/{path}"
    (sample,) = re.findall(r" -i (\S+)", publisher["runOnInit"])
    assert (COMPOSE.parent / mounts(compose["services"]["camera"], "bind")[sample]).resolve() == SAMPLE
    assert publisher["runOnInit"].endswith(f"rtsp://127.0.0.1{camera['rtspAddress']}/{path}")
    assert not [name for name in ("rtmp", "hls", "webrtc", "srt", "moq") if camera[name] is not False]


def test_prometheus_scrapes_the_service_and_finds_alertmanager(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    service = compose["services"]["prometheus"]
    folder = laid_out(service, tmp_path) / "etc" / "prometheus"
    (config,) = (one for one in service["command"] if one.startswith("--config.file="))
    assert config == "--config.file=/etc/prometheus/prometheus.yml"
    document = yaml.safe_load((folder / "prometheus.yml").read_text())
    (job,) = document["scrape_configs"]
    (pattern,) = job["file_sd_configs"][0]["files"]
    groups = [group for path in folder.glob(pattern) for group in yaml.safe_load(path.read_text())]
    assert [group["targets"] for group in groups] == [[f"streamfer:{listening_port()}"]]
    (where,) = document["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert where == "127.0.0.1:9093"
    assert compose["services"]["alertmanager"]["network_mode"] == "service:prometheus"
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "config", folder / "prometheus.yml"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"[1-9]\d* rules? found", done.stdout)


def test_grafana_finds_prometheus_and_the_dashboards_and_has_no_account(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    service = compose["services"]["grafana"]
    folder = laid_out(service, tmp_path)
    file = (COMPOSE.parent / service["env_file"]).read_text()
    environment = dict(re.findall(r"^(\w+)=(.*)$", file, re.MULTILINE)) | service["environment"]
    assert environment["STREAMFER_PROMETHEUS_URL"] == "http://prometheus:9090"
    provisioning = folder / "etc" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "${STREAMFER_PROMETHEUS_URL}"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "streamfer.yaml").read_text())["providers"]
    assert list((folder / provider["options"]["path"].lstrip("/")).glob("*.json"))
    home = folder / environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].lstrip("/")
    assert "streamfer_faces_total" in home.read_text()
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    for one in compose["services"].values():
        assert not [name for name in one.get("environment", ()) if re.search("PASSWORD|SECRET|TOKEN", name)]
