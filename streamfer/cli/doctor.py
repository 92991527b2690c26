"""`streamfer doctor`: what works on this machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from streamfer.errors import StartError, StreamferError

if TYPE_CHECKING:
    from streamfer.plugins import Registry


@dataclass(frozen=True)
class Finding:
    """One line of the report. Only `fail` keeps the service from running."""

    what: str
    state: Literal["ok", "note", "fail"]
    text: str


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def doctor() -> None:
        """Check what works on this machine: shared memory, codecs, cameras, plugins, models.

        Exit status 3 if something that every run needs does not work.
        """
        from rich.console import Console
        from rich.table import Table

        styles = {"ok": "green", "note": "yellow", "fail": "bold red"}
        table = Table("what", "", "finding", box=None)
        findings = list(examine())
        for finding in findings:
            table.add_row(finding.what, f"[{styles[finding.state]}]{finding.state}[/]", finding.text)
        Console().print(table)
        if any(finding.state == "fail" for finding in findings):
            raise typer.Exit(StartError.status)


def examine() -> Iterator[Finding]:
    """All findings, in the order of the report."""
    for what, check in CHECKS.items():
        try:
            yield from check(what)
        except StreamferError as error:
            yield Finding(what, "fail", str(error))


def _machine(what: str) -> Iterator[Finding]:
    from streamfer import __version__

    cores = len(os.sched_getaffinity(0))
    yield Finding(
        what,
        "ok",
        f"streamfer {__version__}, Python {platform.python_version()}, {platform.system()}, {cores} cores",
    )
    if sys.platform != "linux":
        yield Finding(what, "fail", "Linux is needed: frames travel through /dev/shm and /proc")


def _shared_memory(what: str) -> Iterator[Finding]:
    import numpy as np

    from streamfer.picture import Picture
    from streamfer.shm import Ring, RingReader, choose_slots

    free = os.statvfs("/dev/shm")  # before the ring takes its part
    ring = Ring(1920, 1080, choose_slots(1920, 1080))
    try:
        gray, chroma = np.full((1080, 1920), 7, np.uint8), np.full((540, 960), 128, np.uint8)
        seen = RingReader().view(ring.write(0, Picture(gray, chroma, chroma)))
        if seen is None or int(seen.y[5, 5]) != 7:
            yield Finding(what, "fail", "/proc/PID/fd cannot be opened by another process of this user")
            return
    finally:
        ring.close()
    yield Finding(
        what,
        "ok",
        f"/dev/shm: {free.f_bavail * free.f_frsize / 1e6:,.0f} MB free; "
        f"a 1080p stream takes {ring.size / 1e6:.0f} MB",
    )


def _codecs(what: str) -> Iterator[Finding]:
    import av

    there = [name for name in ("h264", "hevc", "vp9", "av1", "mjpeg", "mpeg4", "gif") if _can(name, "r")]
    yield Finding(
        what, "ok" if "h264" in there else "fail", f"decodes {', '.join(there)} (PyAV {av.__version__})"
    )
    encoder = next((name for name in ("libx264", "mpeg4") if _can(name, "w")), None)
    if encoder is None:
        yield Finding(what, "note", "no MP4 encoder: the video sink cannot write")
    else:
        yield Finding(what, "ok", f"writes annotated video with {encoder}")


def _can(name: str, mode: Literal["r", "w"]) -> bool:
    from av import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def _cameras(what: str) -> Iterator[Finding]:
    cameras = sorted(Path("/dev").glob("video[0-9]*"))
    if not cameras:
        yield Finding(what, "note", "none (/dev/video*)")
    for camera in cameras:
        readable = os.access(camera, os.R_OK | os.W_OK)
        hint = "" if readable else ": no permission; add the user to the group 'video'"
        yield Finding(what, "ok" if readable else "note", f"{camera}{hint}")


def _plugins(what: str) -> Iterator[Finding]:
    from streamfer.plugins import Registry

    registry = Registry.discover()
    by_kind = {kind: registry.names(kind) for kind in ("source", "detector", "tracker", "classifier", "sink")}
    for kind, names in by_kind.items():
        yield Finding(what, "ok" if names else "fail", f"{kind}s: {', '.join(names) or 'none'}")
    for problem in (*registry.broken, *registry.clashes):
        yield Finding(what, "note", str(problem))


def _models(what: str) -> Iterator[Finding]:
    from streamfer.inference.card import read_card
    from streamfer.plugins import Registry, build, spec_of

    registry = Registry.discover()
    for registered in registry.all():
        network = registered.component.network
        modes = network.modes if network else ()
        for named, mode in zip_longest(registered.component.model_files, modes):
            try:
                card = read_card(named)
                size = sum(len(file.read()) for file in (card.model, card.head) if file)
                build(spec_of(registered, {"model": named} if network else {}))
            except StreamferError as error:
                yield Finding(what, "note", f"{registered.name}: {error}")
                continue
            shown = f"{registered.name} {card.version}" + (f" ({mode})" if mode else "")
            text = f"{shown}: {size / 1000:,.0f} kB, sha256 as its card says"
            yield Finding(what, "ok", text)
    for registered in registry.all():
        if registered.component.combines:
            yield _members(what, registered.name, registry)
    build(spec_of(registry.get("detector", "yunet"), {}))
    yield Finding(what, "ok", "yunet: sha256 as expected")


def _members(what: str, name: str, registry: Registry) -> Finding:
    """A classifier that combines, with the members that it ships with."""
    from streamfer.inference.answering import answering
    from streamfer.inference.described import find

    try:
        found = find(registry, name)
        answering(found.spec)
    except StreamferError as error:
        return Finding(what, "note", str(error))
    members = ", ".join(one.component.name for one in found.spec.members)
    return Finding(what, "ok", f"{name}: answers with {members}")


def _training(what: str) -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        yield Finding(what, "ok", f"TensorFlow {version('tensorflow')}")
    except PackageNotFoundError:
        yield Finding(
            what,
            "note",
            "TensorFlow is not installed; only training and 'runtime: tensorflow' need it (pip install "
            "'streamfer\\[train]')",
        )


CHECKS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "machine": _machine,
    "shared memory": _shared_memory,
    "codecs": _codecs,
    "cameras": _cameras,
    "plugins": _plugins,
    "models": _models,
    "training": _training,
}
