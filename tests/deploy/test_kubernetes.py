"""The Kubernetes manifests: their schemas, what kustomize makes of them, and that service and image fit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import psutil
import pytest
import yaml
from jsonschema import Draft202012Validator

from streamfer import endpoints, shm, supervisor
from streamfer.config import SECRETS, load
from tests.deploy.nested_systemd import UNIT
from tests.deploy.sandbox import SCRIPT, arguments, in_namespaces
from tests.live import assert_exact, ledger
from tests.service import ROOT, streamfer, wait_until

FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
EXAMPLE = FOLDER / "overlays" / "two-cameras"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
VERSIONS = ("1.25", "1.37")
"""Of Kubernetes: the oldest and the newest that README.md names."""
RING = 64 * 2**20

Manifest = dict[str, Any]

MAPS: Manifest = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION = {"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"}
POD_MONITOR: Manifest = {
    "description": "What is used here of PodMonitor as the Prometheus operator 0.91 defines it.",
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PodMonitor"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "podMetricsEndpoints"],
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"matchLabels": MAPS},
                },
                "podMetricsEndpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "interval": DURATION,
                            "scrapeTimeout": DURATION,
                            "relabelings": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {
                                        "sourceLabels": {"type": "array", "items": {"type": "string"}},
                                        "separator": {"type": "string"},
                                        "targetLabel": {"type": "string"},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


def documents(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]


def read(path: Path) -> Manifest:
    (document,) = documents(path.read_text())
    return document


@cache
def renderer() -> tuple[str, ...]:
    """The command that renders an overlay."""
    if (kubectl := shutil.which("kubectl")) is not None:
        found = subprocess.run(
            [kubectl, "version", "--client", "--output=json"], capture_output=True, timeout=60, check=False
        )
        if found.returncode == 0 and re.match(
            r"v[5-9]\.", json.loads(found.stdout).get("kustomizeVersion", "")
        ):
            return (kubectl, "kustomize")
    if (kustomize := shutil.which("kustomize")) is not None:
        return (kustomize, "build")
    pytest.skip("neither kustomize nor a kubectl with kustomize 5 is installed")


def rendered(overlay: Path) -> list[Manifest]:
    done = subprocess.run([*renderer(), overlay], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


@pytest.fixture
def with_monitor(tmp_path: Path) -> Path:
    """The example as README.md tells operator users to have it: `components:` out of its comment."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / EXAMPLE.relative_to(FOLDER)
    path = overlay / "kustomization.yaml"
    path.write_text(re.sub(r"^#(components:|  - \.\./)", r"\1", path.read_text(), flags=re.MULTILINE))
    assert "components" in read(path)
    return overlay


def the(kind: str, manifests: list[Manifest]) -> Manifest:
    (found,) = [one for one in manifests if one["kind"] == kind]
    return found


def manifests_of_base() -> list[Manifest]:
    return [read(BASE / name) for name in read(BASE / "kustomization.yaml")["resources"]]


# ---- schemas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_are_what_kubernetes_expects(version: str) -> None:
    assert kubernetes_validate.latest_version().startswith(VERSIONS[1])
    for manifest in [*manifests_of_base(), read(EXAMPLE / "namespace.yaml")]:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_rendered_is_what_kubernetes_expects(version: str, with_monitor: Path) -> None:
    for overlay in (BASE, EXAMPLE, with_monitor):
        kinds = set()
        for manifest in rendered(overlay):
            kinds.add(manifest["kind"])
            if manifest["kind"] == "PodMonitor":
                Draft202012Validator(POD_MONITOR).validate(manifest)
            else:
                kubernetes_validate.validate(manifest, version, strict=True)
        assert {"StatefulSet", "ServiceAccount", "Service", "ConfigMap", "NetworkPolicy"} <= kinds
        assert ("PodMonitor" in kinds) == (overlay is with_monitor)


def test_every_file_that_kustomize_is_told_of_is_there() -> None:
    """And there is none that it is not told of."""
    for path in FOLDER.rglob("kustomization.yaml"):
        content = read(path)
        told = [*content.get("resources", []), *content.get("components", [])]
        told += [patch["path"] for patch in content.get("patches", [])]
        told += [name for generator in content.get("configMapGenerator", []) for name in generator["files"]]
        for name in told:
            there = path.parent / name
            assert there.is_file() or (there / "kustomization.yaml").is_file(), f"{path}: {name}"
        beside = {one.name for one in path.parent.iterdir() if one.is_file()} - {path.name}
        assert beside == {name for name in told if "/" not in name}, path


def test_the_pod_monitor_is_what_the_operator_expects() -> None:
    monitor = read(FOLDER / "components" / "podmonitor" / "podmonitor.yaml")
    Draft202012Validator.check_schema(POD_MONITOR)
    Draft202012Validator(POD_MONITOR).validate(monitor)
    pods = read(BASE / "statefulset.yaml")["spec"]["template"]
    labels = pods["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    rules = (ROOT / "deploy" / "prometheus" / "rules" / "alerts.yml").read_text()
    assert f'job="{labels[monitor["spec"]["jobLabel"]]}"' in rules
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] in endpoints.PATHS
    assert endpoint["port"] in {port["name"] for port in pods["spec"]["containers"][0]["ports"]}


def test_the_readme_wraps_the_rules() -> None:
    (loop,) = re.findall(r"^for file in .*?^done", (FOLDER / "README.md").read_text(), re.MULTILINE | re.S)
    done = subprocess.run(
        ["sh", "-euc", loop], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    rules = documents(done.stdout)
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    assert [rule["spec"] for rule in rules] == [read(file) for file in files]
    assert [rule["metadata"]["name"] for rule in rules] == [f"streamfer-{file.stem}" for file in files]
    assert {(rule["apiVersion"], rule["kind"]) for rule in rules} == {
        ("monitoring.coreos.com/v1", "PrometheusRule")
    }


# ---- what fits together ------------------------------------------------------------------------------------


def mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def container(stateful_set: Manifest) -> Manifest:
    (found,) = stateful_set["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def volume(stateful_set: Manifest, where: str) -> Manifest:
    """The volume that is mounted there."""
    (mount,) = [one for one in container(stateful_set)["volumeMounts"] if one["mountPath"] == where]
    volumes = stateful_set["spec"]["template"]["spec"]["volumes"]
    found = [one for one in volumes if one["name"] == mount["name"]]
    found += [
        one
        for one in stateful_set["spec"]["volumeClaimTemplates"]
        if one["metadata"]["name"] == mount["name"]
    ]
    assert len(found) == 1, where
    return {**found[0], "readOnly": mount.get("readOnly", False)}


def test_the_labels_select_the_pod() -> None:
    manifests = manifests_of_base()
    stateful_set, service = the("StatefulSet", manifests), the("Service", manifests)
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    for selector in (
        stateful_set["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        the("NetworkPolicy", manifests)["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector
        assert selector.items() <= labels.items()
    assert stateful_set["spec"]["serviceName"] == service["metadata"]["name"]
    pod = stateful_set["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == the("ServiceAccount", manifests)["metadata"]["name"]


def test_the_ports_and_probes_are_those_of_the_service(tmp_path: Path) -> None:
    manifests = manifests_of_base()
    main = container(the("StatefulSet", manifests))
    (port,) = main["ports"]
    for path in (BASE / "config.yaml", EXAMPLE / "config.yaml"):
        listen = yaml.safe_load(path.read_text())["metrics"]["listen"]
        assert listen == f"0.0.0.0:{port['containerPort']}"
    (service_port,) = the("Service", manifests)["spec"]["ports"]
    assert (service_port["port"], service_port["targetPort"]) == (port["containerPort"], port["name"])
    (ingress,) = the("NetworkPolicy", manifests)["spec"]["ingress"]
    assert [one["port"] for one in ingress["ports"]] == [port["name"]]

    probes = {name: main[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["httpGet"]["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    for probe in probes.values():
        assert probe["httpGet"]["path"] in endpoints.PATHS
        assert probe["httpGet"]["port"] == port["name"]
    startup, liveness = probes["startup"], probes["liveness"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= supervisor._SILENCE_STARTING
    hangs = endpoints.HUNG_SECONDS + liveness["periodSeconds"] * (liveness["failureThreshold"] - 1)
    unit = dict(re.findall(r"^(\w+)=(\d+)$", UNIT.read_text(), re.MULTILINE))
    assert hangs == int(unit["WatchdogSec"])
    grace = the("StatefulSet", manifests)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace == int(unit["TimeoutStopSec"])


def test_the_pod_is_what_the_image_expects() -> None:
    text = DOCKERFILE.read_text()
    serve = text[text.rindex("\nFROM ") :]
    (user,) = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    stateful_set = read(BASE / "statefulset.yaml")
    security = stateful_set["spec"]["template"]["spec"]["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
    assert security["fsGroup"] == security["runAsGroup"]
    assert 'ENTRYPOINT ["streamfer"]' in serve
    arguments = container(stateful_set)["args"]
    assert arguments[:2] == ["run", "/etc/streamfer/config.yaml"]
    assert "command" not in container(stateful_set)
    (runtime,) = re.findall(r"\bXDG_RUNTIME_DIR=(\S+)", text)
    assert volume(stateful_set, runtime)["emptyDir"]["medium"] == "Memory"


def test_it_meets_the_restricted_pod_security_standard() -> None:
    stateful_set = read(BASE / "statefulset.yaml")
    pod = stateful_set["spec"]["template"]["spec"]
    main = container(stateful_set)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert {kind for one in pod["volumes"] for kind in one if kind != "name"} <= {
        "configMap",
        "emptyDir",
        "secret",
    }
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "two-cameras"])
def test_the_configuration_fits_the_pod(folder: Path, tmp_path: Path) -> None:
    text = (folder / "config.yaml").read_text()
    secrets = re.findall(r"\$\{secret:([\w.-]+)\}", text)
    assert secrets
    if folder is EXAMPLE:
        readme = (FOLDER / "README.md").read_text()
        assert set(re.findall(r"--from-file=([\w.-]+)", readme)) == set(secrets)
    for name in secrets:
        (tmp_path / name).write_text("hunter2\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    done = streamfer("check", folder / "config.yaml", env=environment)
    assert done.returncode == 0, done.stderr

    stateful_set = read(BASE / "statefulset.yaml")
    settings = load(folder / "config.yaml", environ={**os.environ, **environment})
    for sink in settings.sinks:
        where = str(Path(sink.spec.options["path"]).parent)
        assert "accessModes" in volume(stateful_set, where)["spec"]
        assert not volume(stateful_set, where)["readOnly"]
    assert "configMap" in volume(stateful_set, "/etc/streamfer")
    secret = volume(stateful_set, str(SECRETS))
    assert secret["readOnly"]
    assert f"create secret generic {secret['secret']['secretName']} " in (FOLDER / "README.md").read_text()


def fits(stateful_set: Manifest, cameras: int) -> None:
    """What README.md says of memory."""
    frames = mebibytes(volume(stateful_set, shm.DEFAULT_DIRECTORY)["emptyDir"]["sizeLimit"])
    assert frames * 2**20 >= (cameras + 1) * RING
    resources = container(stateful_set)["resources"]
    requested, limit = (mebibytes(resources[key]["memory"]) for key in ("requests", "limits"))
    assert requested >= 300 + 100 * (cameras - 1)
    assert limit == 2 * requested
    assert "cpu" not in resources["limits"]
    assert int(resources["requests"]["cpu"].removesuffix("m")) == 200 * cameras


def test_the_sizes_are_those_of_the_readme() -> None:
    fits(read(BASE / "statefulset.yaml"), cameras=1)
    fits(the("StatefulSet", rendered(EXAMPLE)), cameras=2)


def test_the_example_changes_what_it_says(with_monitor: Path) -> None:
    manifests = rendered(with_monitor)
    assert {one["metadata"].get("namespace", "streamfer") for one in manifests} == {"streamfer"}
    stateful_set = the("StatefulSet", manifests)
    assert container(stateful_set)["image"] == "registry.example/streamfer:0.1.0"
    config = the("ConfigMap", manifests)
    assert config["data"] == {"config.yaml": (EXAMPLE / "config.yaml").read_text()}
    assert volume(stateful_set, "/etc/streamfer")["configMap"]["name"] == config["metadata"]["name"]
    assert config["metadata"]["name"] != "streamfer"  # with a hash: a change is a new pod
    blocks = [
        to["ipBlock"]["cidr"]
        for rule in the("NetworkPolicy", manifests)["spec"]["egress"]
        for to in rule["to"]
        if "ipBlock" in to
    ]
    assert blocks == ["192.0.2.8/29"]


# ---- the pod, as far as a kernel without Kubernetes has it -------------------------------------------------

_POD = r"""
ip link set lo up
# The volumes, as the kubelet makes them for fsGroup.
for volume in "$@"; do
  where=${volume%%=*} size=${volume##*=}
  mkdir -p "$ROOT$where"
  mount -t tmpfs -o "mode=2777,gid=$GROUP,size=$size" tmpfs "$ROOT$where"
done
cp "$W.files"/secrets/* "$ROOT/run/secrets/"
chown "0:$GROUP" "$ROOT"/run/secrets/*
chmod 0440 "$ROOT"/run/secrets/*
cp "$W.files/config.yaml" "$ROOT/etc/streamfer/"
chmod -R a-w "$ROOT/run/secrets" "$ROOT/etc/streamfer"
mount -o remount,ro,bind "$ROOT"
exec env -i PATH=/opt/streamfer/bin:/usr/sbin:/usr/bin:/sbin:/bin XDG_RUNTIME_DIR=/run/streamfer \
  chroot "$ROOT" setpriv --reuid "$OWNER" --regid "$GROUP" --clear-groups \
  --no-new-privs --bounding-set=-all --inh-caps=-all streamfer $ARGUMENTS
"""


def test_the_service_works_under_the_restrictions_of_the_pod(tmp_path: Path) -> None:
    """As process 1 and user 10001, without capabilities, on a read-only root with the pod's volumes alone.

    Seccomp's RuntimeDefault and the limits of resources are not there.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root to make namespaces")
    stateful_set = read(BASE / "statefulset.yaml")
    security = stateful_set["spec"]["template"]["spec"]["securityContext"]
    text = (BASE / "config.yaml").read_text()
    clip = "{path: /opt/source/streamfer/data/sample.mp4, realtime: true, loop: true}"
    (tmp_path / "layers").mkdir()
    files = tmp_path / "layers.files"
    (files / "secrets").mkdir(parents=True)
    for name in re.findall(r"\$\{secret:([\w.-]+)\}", text):
        (files / "secrets" / name).write_text("hunter2\n")
    (files / "config.yaml").write_text(text.replace("streams:\n", f"streams:\n  clip: {clip}\n"))
    sizes = {}
    for mount in container(stateful_set)["volumeMounts"]:
        size = volume(stateful_set, mount["mountPath"]).get("emptyDir", {}).get("sizeLimit", "64Mi")
        sizes[mount["mountPath"]] = mebibytes(size)
    mounts = [f"{where}={size}m" for where, size in sizes.items()]
    process = subprocess.Popen(
        [*in_namespaces("net", "ipc", "uts"), SCRIPT + _POD, *arguments(tmp_path / "layers"), *mounts],
        env={
            **os.environ,
            "OWNER": str(security["runAsUser"]),
            "GROUP": str(security["runAsGroup"]),
            "ARGUMENTS": " ".join(container(stateful_set)["args"]),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def first() -> psutil.Process | None:
        """Process 1 of the pod."""
        assert process.poll() is None, process.communicate()[1]
        children = psutil.Process(process.pid).children()
        return next((one for one in children if "supervisor" in " ".join(one.cmdline())), None)

    def probe(path: str) -> int:
        """The status of an HTTP request in the pod's network."""
        code = (
            "import sys, urllib.request, urllib.error\n"
            "try: print(urllib.request.urlopen(sys.argv[1], timeout=5).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
            "except OSError: print(0)"
        )
        url = f"http://127.0.0.1:{container(stateful_set)['ports'][0]['containerPort']}{path}"
        command = [
            "nsenter",
            "--target",
            str(supervisor_process.pid),
            "--net",
            sys.executable,
            "-c",
            code,
            url,
        ]
        return int(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)

    try:
        supervisor_process = wait_until(first, "the supervisor")
        wait_until(lambda: probe("/healthz") == 200, "/healthz")
        wait_until(lambda: probe("/readyz") == 200, "/readyz")
        status = Path(f"/proc/{supervisor_process.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{security['runAsUser']}\t", status, re.MULTILINE)
        assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
        results = Path(f"/proc/{supervisor_process.pid}/root/var/lib/streamfer/results.jsonl")
        wait_until(lambda: results.exists() and results.stat().st_size, "results")
        supervisor_process.send_signal(signal.SIGTERM)
        grace = stateful_set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        _, error = process.communicate(timeout=grace)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, error
    assert_exact(error)
    assert ledger(error)["clip", "cnn", "jsonl"][1] > 0
    assert "hunter2" not in error
