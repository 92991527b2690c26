"""Builds an image of deploy/Dockerfile where there is no container engine.

The steps of the Dockerfile are carried out as they stand, in an overlay over this machine's files: what the
base image would bring (Debian, Python) is this machine's own, everything else is made by the steps.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from string import Template
from typing import NamedTuple

from tests.service import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORED = ROOT / ".dockerignore"
_TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    value: str


def steps() -> list[Step]:
    """The Dockerfile's instructions, comments left out and continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def in_context(path: Path) -> bool:
    """Whether .dockerignore lets a file of the repository into a build: the last line that fits says."""
    allowed = True
    for line in IGNORED.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        places = path.parts if pattern.startswith("**/") else [str(path), *map(str, path.parents)]
        if any(fnmatch(place, pattern.removeprefix("**/")) for place in places):
            allowed = line.startswith("!")
    return allowed


def within(environment: dict[str, str], directory: str) -> list[str]:
    """The command that runs what follows with this environment alone."""
    return [
        "env",
        "--ignore-environment",
        f"--chdir={directory}",
        *(f"{k}={v}" for k, v in environment.items()),
    ]


def missing() -> str | None:
    """Why no image can be built on this machine, for a skip; None if one can."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and overlays"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{absent[0]} is not installed"
    script = "mount -t tmpfs tmpfs /mnt; cd /mnt; mkdir upper work root\n"
    script += "mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root"
    namespaces = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork"]
    done = subprocess.run(
        [*namespaces, "sh", "-euc", script], capture_output=True, text=True, timeout=30, check=False
    )
    return f"no overlay can be mounted: {done.stderr.strip()}" if done.returncode else None


@dataclass
class Config:
    """What an image says about how it is run."""

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)


@dataclass
class Image:
    """A stage that has been built: `root` is its file system in the builder's namespace."""

    root: Path
    layers: list[Path]
    config: Config


class Builder:
    """Carries steps out in a mount namespace of its own, which goes away with all that is mounted in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: dict[str, Image] = {}
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline()
        self.enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        """The command that runs what follows in the namespace."""
        # The upper layers must not lie on the file system that is the lower one.
        self.shell(f"mount -t tmpfs -o size=4g,mode=0755 tmpfs {folder}")

    def __enter__(self) -> Builder:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate(timeout=30)

    def shell(self, script: str) -> str:
        """Run a script in the namespace, as root; what it printed."""
        done = subprocess.run(
            [*self.enter, "sh", "-euc", script], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def build(self, target: str) -> Image:
        """The image of a stage, and of all those that it is made from."""
        needed = _needed(target)
        image = None
        for step in steps():
            if step.name == "FROM":
                base, _, name = step.value.partition(" AS ")
                image = self._start(name, self._images.get(base)) if name in needed else None
            elif image is not None:
                self._carry_out(step, image)
        return self._images[target]

    def _start(self, name: str, base: Image | None) -> Image:
        """A stage before its first step."""
        folder = self._folder / name
        upper, root = folder / "upper", folder / "root"
        below = base.layers if base else []
        lower = ":".join(map(str, [*below, "/"]))
        self.shell(
            f"mkdir -p {upper} {folder}/work {root}\n"
            f"mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={folder}/work overlay {root}"
        )
        if base is None:
            self._put_python(root)
        config = copy.deepcopy(base.config) if base else Config()
        self._images[name] = Image(root, [upper, *below], config)
        return self._images[name]

    def _put_python(self, root: Path) -> None:
        """This machine's Python at the place where the base image has it, within everybody's reach."""
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        interpreter = Path(sys.base_prefix, "bin", name)
        way = " ".join(str(root / parent.relative_to("/")) for parent in interpreter.parents)
        local = root / "usr" / "local"
        self.shell(
            f"for name in python python3 {name}; do ln -sf {interpreter} {local}/bin/$name; done\n"
            f"rm -rf {local}/lib/{name} {root}/opt/streamfer {root}/opt/build\n"
            f"ln -s {sysconfig.get_path('stdlib')} {local}/lib/{name}\n"
            f"chmod o+x {way}"
        )

    def _carry_out(self, step: Step, image: Image) -> None:
        config = image.config
        match step.name:
            case "RUN":
                self._run(step.value, image)
            case "COPY":
                self._copy(step.value.split(), image)
            case "WORKDIR":
                config.directory = step.value
                self.shell(f"mkdir -p {image.root}{step.value}")
            case "ENV":
                for name, _, value in (word.partition("=") for word in shlex.split(step.value)):
                    config.environment[name] = Template(value).substitute(config.environment)
            case "USER":
                config.user = step.value
            case "VOLUME":
                config.volumes.append(step.value)
            case "ENTRYPOINT":
                config.entrypoint = json.loads(step.value)
            case "CMD":
                config.command = json.loads(step.value)
            case "HEALTHCHECK":
                config.health = json.loads(step.value.partition(" CMD ")[2])
            case _:
                assert step.name in ("LABEL", "EXPOSE", "STOPSIGNAL"), step

    def _run(self, command: str, image: Image) -> None:
        # What pip needs on this machine, and its cache: a test is not about downloads.
        here = {k: v for k, v in os.environ.items() if re.fullmatch(r"PIP_.*|SSL_.*|.*_proxy", k)}
        environment = {**image.config.environment, **here}
        environment.pop("PIP_NO_CACHE_DIR", None)
        words = [*within(environment, image.config.directory), "/bin/sh", "-c", command]
        self.shell(
            f"mount --rbind /dev {image.root}/dev; mount --rbind /proc {image.root}/proc\n"
            f"chroot {image.root} {shlex.join(words)} 2>&1\n"
            f"umount --recursive --lazy {image.root}/dev {image.root}/proc"
        )

    def _copy(self, words: list[str], image: Image) -> None:
        """COPY as Docker does it: of a folder its content, into a folder that is made if need be."""
        origin = words.pop(0).partition("=")[2] if words[0].startswith("--from=") else None
        *sources, target = words
        into = image.root / Path(image.config.directory, target).relative_to("/")
        for source in sources:
            if origin is not None:
                self.shell(f"mkdir -p {into}; cp -a {self._images[origin].root}{source}/. {into}")
            elif (ROOT / source).is_file():
                assert in_context(Path(source)), f"{source}: .dockerignore leaves it out"
                self.shell(f"cp {ROOT / source} {into}")
            else:
                files = [path.relative_to(ROOT) for path in (ROOT / source).rglob("*") if path.is_file()]
                names = [str(path.relative_to(source)) for path in files if in_context(path)]
                assert names, f"{source}: .dockerignore leaves it out"
                pack = shlex.join(["tar", "-C", str(ROOT / source), "-c", *names])
                self.shell(f"mkdir -p {into}; {pack} | tar -C {into} -x --no-same-owner")


def _needed(target: str) -> set[str]:
    """The stages that a stage is made from, itself among them."""
    needs: dict[str, set[str]] = {}
    name = ""
    for step in steps():
        if step.name == "FROM":
            base, _, name = step.value.partition(" AS ")
            needs[name] = {base}
        elif step.name == "COPY" and (origin := re.match(r"--from=(\S+)", step.value)):
            needs[name].add(origin[1])
    found = {target}
    while more := {need for one in found for need in needs.get(one, ())} - found:
        found |= more
    return found
