"""What the file names of data sets tell: who is shown, in which clip, where in it, with which expression."""

from __future__ import annotations

import re
from typing import NamedTuple

_CK = re.compile(r"(S\d{3})_(\d{3})_(\d{8})(?!\d)", re.IGNORECASE)
_JAFFE = re.compile(r"([A-Z]{2})\.([A-Z]{2})\d*\.\d+(?=\.)", re.IGNORECASE)


class Facts(NamedTuple):
    """Empty or None where the name does not tell. `clip` is unique within the subject."""

    subject: str = ""
    clip: str = ""
    frame: int = -1
    label: str | None = None


def facts(name: str) -> Facts:
    """The facts in a file name of CK+ (S010_004_00000017.png) or JAFFE (KA.AN1.39.tiff); else none."""
    if found := _CK.match(name):
        return Facts(found[1].upper(), found[2], int(found[3]))
    if found := _JAFFE.match(name):
        return Facts(found[1].upper(), label=found[2])
    return Facts()
