"""The example's components keep streamfer's contracts and do what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from streamfer_example import BrightnessOptions, ChangesOptions
from streamfer_example.brightness import Brightness
from streamfer_example.changes import HEADER, Changes

from streamfer.testing import check_classifier, check_sink
from streamfer.testing.sinks import example_results
from streamfer.types import CropSpec


def test_brightness_keeps_the_contract() -> None:
    check_classifier(lambda: Brightness(BrightnessOptions()), CropSpec(), ("dark", "bright"))


def test_a_white_crop_is_bright() -> None:
    crops = np.stack([np.zeros((48, 48, 1), np.uint8), np.full((48, 48, 1), 255, np.uint8)])
    assert Brightness(BrightnessOptions()).predict(crops).argmax(axis=1).tolist() == [0, 1]


def test_changes_keeps_the_contract(tmp_path: Path) -> None:
    check_sink(lambda: Changes(ChangesOptions(path=tmp_path / "changes.csv")), durable=False)


def test_a_row_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "changes.csv"
    sink = Changes(ChangesOptions(path=path))
    sink.open([], resume=False)
    result = next(result for result in example_results(0, 1) if result.faces[0].label)
    sink.write(result, None)
    sink.write(result, None)
    sink.close()
    header, *rows = path.read_text("utf-8").splitlines()
    assert header == ",".join(HEADER)
    assert rows == ["one,a,1,0,0.0,angry,0.4000"]
