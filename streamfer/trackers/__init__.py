"""The trackers that come with streamfer: their options."""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Options


class SortOptions(Options):
    """SORT: a constant-velocity Kalman filter a face, matched to what is found by overlap and appearance."""

    patience: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="seconds that a face may be out of sight and still come back as itself",
    )
    overlap: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="least overlap (IoU) of a find with where its track is expected, 0..1",
    )
    likeness: float = Field(
        default=0.65,
        ge=-1,
        le=1,
        description="least likeness (dot product of appearances) for a face that comes back after a gap",
    )
