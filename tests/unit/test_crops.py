"""The crops of a frame's faces between detect and classify: each spec gets back what was cut for it."""

from __future__ import annotations

import numpy as np
import pytest

from streamfer.stages.crops import pack, unpack
from streamfer.types import CropSpec
from streamfer.wire import WireError

GRAY, SMALL, COLOUR = CropSpec(), CropSpec(8, 16, 1), CropSpec(32, 24, 3)
FOUND = {
    spec: np.random.default_rng(number).integers(0, 256, (3, *spec), np.uint8)
    for number, spec in enumerate((GRAY, SMALL, COLOUR))
}


@pytest.mark.parametrize(
    "specs", [(GRAY,), (COLOUR,), (COLOUR, GRAY), (GRAY, SMALL, COLOUR), (SMALL, COLOUR, GRAY)]
)
def test_what_is_packed_comes_out_in_the_same_order(specs: tuple[CropSpec, ...]) -> None:
    crops = unpack(pack(FOUND, specs), 3, specs)
    assert len(crops) == len(specs)
    for spec, array in zip(specs, crops, strict=True):
        assert np.array_equal(array, FOUND[spec])


def test_a_frame_that_was_not_analysed_has_no_crops() -> None:
    assert pack({}, (GRAY, COLOUR)) == b""
    assert pack({spec: array[:0] for spec, array in FOUND.items()}, (GRAY, COLOUR)) == b""


@pytest.mark.parametrize(("count", "specs"), [(2, (GRAY,)), (3, (COLOUR, SMALL)), (3, (GRAY, SMALL))])
def test_another_size_is_refused(count: int, specs: tuple[CropSpec, ...]) -> None:
    payload = pack(FOUND, (GRAY, COLOUR))
    with pytest.raises(WireError, match=rf"^{count} crops of .* expected, {len(payload)} bytes came$"):
        unpack(payload, count, specs)
