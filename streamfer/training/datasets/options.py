"""What an import is told: names, crops, splits and selection, as the command line gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from streamfer.errors import UsageError
from streamfer.types import CropSpec

Split = Literal["official", "stratified", "subject"]
Drop = Literal["constant", "duplicates", "near", "conflicts"]

Progress = Callable[[str, int, int], object]
"""Called with the name of a slow step, how much of it is done, and how much there is."""


def silent(_step: str, _done: int, _total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True)
class Options:
    """How data sets are imported.

    `names` maps class names of the source to ours ("drop": left out). `crop` is what is cut from photos
    (None: 48×48 gray, and pictures that are cropped already are taken as they are). `split` None: the
    official one where there is one, else by subject where all are known, else stratified. `ratios` are the
    shares of Training, PublicTest and PrivateTest of a split that is made here; `validation` is the share of
    Training that becomes PublicTest where a source has only train/ and test/. `classes` are the labels to
    keep (None: all); `per_class` is the most Training rows to keep of each (None: all). `fps` is the frame
    rate of sequences whose frames are numbered but have no times, as in CK+ (None: they stay pictures).
    """

    names: Mapping[str, str] = field(default_factory=dict)
    detector: str = "yunet"
    crop: CropSpec | None = None
    fps: float | None = None
    split: Split | None = None
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    validation: float = 0.1
    classes: tuple[str, ...] | None = None
    per_class: int | None = None
    drop: frozenset[Drop] = frozenset()
    seed: int = 0
    strict: bool = False


def parse_names(entries: Sequence[str]) -> dict[str, str]:
    """{"joy": "happy"} for ["joy=happy"]; `UsageError` for what has another form."""
    names = {}
    for entry in entries:
        source, equals, target = entry.rpartition("=")
        if not equals or not source.strip() or not target.strip():
            raise UsageError(f"--map {entry}: expected THEIRS=OURS, such as joy=happy")
        names[source.strip()] = target.strip()
    return names


def parse_crop(text: str) -> CropSpec:
    """CropSpec(48, 64, 1) for "48x64x1": height, width, channels."""
    found = re.fullmatch(r"(\d{1,4})[x×](\d{1,4})[x×]([13])", text)
    if not found or min(int(found[1]), int(found[2])) < 16:
        raise UsageError(
            f"--crop {text}: expected HEIGHTxWIDTHxCHANNELS such as 48x48x1, at least 16 pixels a side, "
            "with 1 (gray) or 3 (RGB) channels"
        )
    return CropSpec(int(found[1]), int(found[2]), 3 if found[3] == "3" else 1)


def parse_ratios(text: str) -> tuple[float, float, float]:
    """(0.8, 0.1, 0.1) for "80/10/10": any three numbers from 0 up, taken as shares of their sum."""
    try:
        training, public, private = (float(part) for part in text.split("/"))
    except ValueError:
        training = public = private = -1.0
    total = training + public + private
    if not (min(training, public, private) >= 0 and 0 < total < float("inf")):
        raise UsageError(
            f"--ratios {text}: expected the shares of Training, PublicTest and PrivateTest, such as 80/10/10"
        )
    return training / total, public / total, private / total


def parse_drop(text: str) -> frozenset[Drop]:
    """What `--drop constant,duplicates` names."""
    known: dict[str, Drop] = {name: name for name in get_args(Drop)}
    chosen = [part.strip() for part in text.split(",") if part.strip()]
    for name in chosen:
        if name not in known:
            raise UsageError(f"--drop {name}: expected some of {','.join(known)}")
    return frozenset(known[name] for name in chosen)
