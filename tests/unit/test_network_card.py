"""Model cards: what is read from them, and the one line for what is none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamfer.api import ServedModel
from streamfer.errors import StartError
from streamfer.inference.card import MAX_BYTES, in_package, read_card, served_file
from streamfer.types import LABELS, CropSpec
from tests.networks import FOUR, card, write_card

KERAS = {"file": "small.keras", "sha256": "1" * 64}


def test_what_a_card_says(tmp_path: Path) -> None:
    found = read_card(str(write_card(tmp_path / "card.json", keras=KERAS)))
    assert (found.name, found.version, found.labels, found.crop) == (
        "small",
        "1.2.3",
        FOUR,
        CropSpec(24, 32, 3),
    )
    assert (found.model.path, found.model.sha256) == (tmp_path / "small.tflite", "0" * 64)
    assert found.keras is not None
    assert found.keras.path == tmp_path / "small.keras"
    assert found.raw == card(keras=KERAS)


def test_the_shipped_card_is_one() -> None:
    found = read_card("streamfer_classifiers.cnn:card.json")
    assert (found.labels, found.crop) == (LABELS, CropSpec())
    assert len(found.model.read()) == found.raw["size_bytes"]


def test_a_card_that_changed_is_another_one(tmp_path: Path) -> None:
    first = read_card(str(write_card(tmp_path / "card.json")))
    assert first == read_card(str(write_card(tmp_path / "card.json", metrics={})))
    assert first != read_card(str(write_card(tmp_path / "card.json", sha256="2" * 64)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "object missing required field `labels`"),
        ({"input": None}, "object missing required field `input`"),
        ({"sha256": None}, "object missing required field `sha256`"),
        ({"labels": []}, "labels: expected `array` of length >= 2"),
        ({"labels": ["happy"]}, "labels: expected `array` of length >= 2"),
        ({"labels": ["happy", "sad", "happy"]}, "labels: they repeat: happy, sad, happy"),
        ({"labels": ["happy", ""]}, "labels: '' is not 1 to 64 printable characters"),
        ({"labels": ["happy", "s\x1bad"]}, r"labels: 's\\x1bad' is not 1 to 64 printable"),
        ({"labels": "happy"}, "labels: expected `array`, got `str`"),
        ({"labels": ["happy", 3]}, r"labels\[1\]: expected `str`, got `int`"),
        ({"input": {"height": 48, "width": 48}}, "input: object missing required field `channels`"),
        ({"input": {"height": 48, "width": 48, "channels": 2}}, "input.channels: invalid enum value 2"),
        ({"input": {"height": 0, "width": 48, "channels": 1}}, "input.height: expected `int` >= 8"),
        ({"input": {"height": 48, "width": 100000, "channels": 1}}, "input.width: expected `int` <= 512"),
        (
            {"input": {"height": 48, "width": 48, "channels": 1, "range": [0, 1]}},
            r"input.range\[1\]: invalid enum value 1",
        ),
        ({"sha256": "abc"}, "sha256: expected `str` matching regex"),
        ({"file": "../small.tflite"}, "file: '../small.tflite' is not the name of a file beside the card"),
        ({"file": "/etc/passwd"}, "file: '/etc/passwd' is not the name of a file beside the card"),
        ({"file": ".."}, "file: '..' is not the name of a file beside the card"),
        ({"file": ""}, "file: '' is not the name of a file beside the card"),
        ({"keras": "small.keras"}, "keras: expected `object . null`, got `str`"),
        ({"keras": {**KERAS, "file": "../x.keras"}}, "keras: file: '../x.keras' is not the name of a file"),
    ],
)
def test_a_bad_card_is_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_card(tmp_path / "card.json", **changes)
    with pytest.raises(StartError, match=f"card.json: not a model card: {said}") as raised:
        read_card(str(path))
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("; reinstall the plugin or export the model again")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: small", "JSON is malformed"),
        (b"\xff\xfe", "JSON is malformed"),
        (b"[]", "expected `object`, got `array`"),
        (b"[" * 200_000, "maximum recursion depth"),
        (b" " * (MAX_BYTES + 1), "it is longer than 4 MiB"),
    ],
)
def test_what_is_no_card_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(StartError, match=said) as raised:
        read_card(str(tmp_path / "card.json"))
    assert "\n" not in str(raised.value)


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"gone.json: the model card cannot be read: No such file"):
        read_card(str(tmp_path / "gone.json"))
    with pytest.raises(StartError, match=r"the model card cannot be read: Is a directory"):
        read_card(str(tmp_path))
    with pytest.raises(
        StartError, match=r"no_such_package:card.json: no such package; name a model card as PACK"
    ):
        read_card("no_such_package:card.json")


def test_a_package_is_told_from_a_path() -> None:
    assert in_package("streamfer_classifiers.cnn:card.json") == ("streamfer_classifiers.cnn", "card.json")
    for path in ("models/card.json", "/a:b/card.json", "./a:b", "card.json", ":card.json", "a:"):
        assert in_package(path) is None


# ---- files -------------------------------------------------------------------------------------------------


def test_a_file_is_verified(tmp_path: Path) -> None:
    (tmp_path / "small.tflite").write_bytes(b"model")
    right = hashlib.sha256(b"model").hexdigest()
    assert read_card(str(write_card(tmp_path / "card.json", sha256=right))).model.read() == b"model"
    with pytest.raises(
        StartError, match=r"small.tflite: the model is corrupted \(sha256 9372c470eead…, "
    ) as raised:
        read_card(str(write_card(tmp_path / "card.json"))).model.read()
    assert str(raised.value).endswith("reinstall the plugin or restore the file")
    (tmp_path / "small.tflite").unlink()
    with pytest.raises(
        StartError, match=r"small.tflite: the model cannot be read: No such file or directory"
    ):
        read_card(str(tmp_path / "card.json")).model.read()


def test_a_keras_file_is_named_by_the_card_beside_it(tmp_path: Path) -> None:
    write_card(tmp_path / "card.json", keras=KERAS)
    (tmp_path / "small.keras").touch()
    named = str(tmp_path / "small.keras")
    found = read_card(named)
    assert found == read_card(str(tmp_path / "card.json"))
    assert served_file(found, ServedModel(model=named, runtime="tensorflow")) == found.keras
    with pytest.raises(StartError, match=r"small.keras: a .keras file is served with 'runtime: tensorflow'"):
        served_file(found, ServedModel(model=named))
    with pytest.raises(
        StartError, match=r"other.keras: the card.json beside it is not its card: it names small"
    ):
        read_card(str(tmp_path / "other.keras"))
    write_card(tmp_path / "card.json")
    with pytest.raises(
        StartError, match=r"small.keras: the card.json beside it is not its card: it names no \.keras"
    ):
        read_card(named)


@pytest.mark.parametrize("keras", [None, KERAS])
def test_no_keras_file_to_run(tmp_path: Path, keras: dict[str, str] | None) -> None:
    found = read_card(str(write_card(tmp_path / "card.json", keras=keras)))
    why = "small.keras is not beside it" if keras else "it names no .keras file"
    with pytest.raises(
        StartError, match=f"'runtime: tensorflow' runs the model's .keras file, but {why}; name "
    ):
        served_file(found, ServedModel(model="card.json", runtime="tensorflow"))


def test_reading_a_card_imports_no_runtime(tmp_path: Path) -> None:
    path = write_card(tmp_path / "card.json")
    heavy = "tensorflow keras ai_edge_litert cv2"
    code = (
        f"import sys\nfrom streamfer.inference.card import read_card\nread_card({str(path)!r})\n"
        f"print([name for name in {heavy!r}.split() if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_hand_written_card_may_be_short(tmp_path: Path) -> None:
    facts = card(metrics=None, input={"height": 48, "width": 48, "channels": 1})
    (tmp_path / "card.json").write_text(json.dumps(facts), "utf-8")
    assert read_card(str(tmp_path / "card.json")).crop == CropSpec(48, 48, 1)
