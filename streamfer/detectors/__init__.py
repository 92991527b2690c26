"""The face detectors that come with streamfer: their options, and those of how a stream's faces are found.

Light on purpose: the detectors themselves import OpenCV and are resolved in the worker that runs them.
"""

from __future__ import annotations

from pydantic import Field

from streamfer.api import Options


class YuNetOptions(Options):
    """YuNet: a small convolutional detector with five landmarks a face."""

    score: float = Field(
        default=0.6, gt=0, lt=1, description="least confidence for a face to be reported, 0..1"
    )
    nms: float = Field(
        default=0.3, gt=0, lt=1, description="overlap (IoU) above which two finds are one face, 0..1"
    )
    max_faces: int = Field(default=100, ge=1, description="at most so many faces an image, the best ones")


class HaarOptions(Options):
    """Haar cascade: the classic detector, without landmarks; slower and less exact than YuNet."""

    score: float = Field(
        default=0.5, ge=0, lt=1, description="least confidence for a face to be reported, 0..1"
    )
    scale_factor: float = Field(
        default=1.1, gt=1, le=2, description="step between the sizes that are searched"
    )
    neighbours: int = Field(
        default=4, ge=1, description="overlapping finds that make a face; more means stricter"
    )
    min_size: int = Field(default=20, ge=20, description="smallest face, in pixels of the detector's image")
    max_faces: int = Field(default=100, ge=1, description="at most so many faces an image, the best ones")


class FaceOptions(Options):
    """How the faces of a stream are found and judged, whatever the detector."""

    full_every: int = Field(
        default=12,
        ge=1,
        description="search the whole frame every so many frames and whenever a face is lost; in between "
        "only around the known faces (1: always the whole frame)",
    )
    min_face: float = Field(
        default=24,
        ge=0,
        description="a face whose shorter side has fewer pixels than this is 'small': box, no label",
    )
    blur: float = Field(
        default=20,
        ge=0,
        description="a face whose crop is less sharp than this is 'blurred': box, no label (0: off)",
    )
