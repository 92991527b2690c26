"""Registers the example's components; their classes are imported only by the workers that run them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from streamfer.api import Component, Options
from streamfer.hookspecs import hookimpl
from streamfer.types import CropSpec


class BrightnessOptions(Options):
    """How dark and bright are told apart."""

    threshold: float = Field(110, ge=0, le=255, description="mean gray value where both are equally probable")
    softness: float = Field(15, gt=0, description="gray values around the threshold in which it is unsure")


class ChangesOptions(Options):
    """Where the changes are written."""

    path: Path = Field(description="CSV file to write")


@hookimpl
def streamfer_components() -> list[Component]:
    return [
        Component(
            kind="classifier",
            name="brightness",
            summary="Tells bright from dark faces by a rule (no network, no expression)",
            target="streamfer_example.brightness:Brightness",
            options=BrightnessOptions,
            crop=CropSpec(height=48, width=48, channels=1),
            labels=("dark", "bright"),
        ),
        Component(
            kind="sink",
            name="changes",
            summary="CSV with a row whenever a face changes its label",
            target="streamfer_example.changes:Changes",
            options=ChangesOptions,
            durable=False,
        ),
    ]
