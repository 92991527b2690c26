"""The `ensemble` classifier: a mean by weight of members with crops and orders of labels of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from streamfer import wire
from streamfer.api import Classifier
from streamfer.config import load
from streamfer.errors import StartError, UsageError
from streamfer.inference.answering import answering
from streamfer.inference.described import Described, find
from streamfer.plugins import ComponentSpec, Registry, build, spec_of
from streamfer.testing import check_classifier
from streamfer.types import CropSpec
from streamfer_classifiers.ensemble import TEMPERATURE
from tests.ensembles import RULES, shipped_cnn, write_plugin
from tests.service import SAMPLE

Crops = dict[CropSpec, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry.discover([write_plugin(tmp_path_factory.mktemp("plugin"))])


@pytest.fixture(scope="module")
def crops(registry: Registry) -> Crops:
    """Five faces as each of the rules wants them: all pixels of all crops differ."""
    random = np.random.default_rng(3)
    specs = [registry.get("classifier", name).component.crop for name in RULES]
    return {spec: random.integers(0, 256, (5, *spec), np.uint8) for spec in specs}


def described(registry: Registry, *members: Any, **options: Any) -> Described:
    return find(registry, "ensemble", {"members": list(members), **options})


def answer(found: Described, crops: Crops) -> NDArray[np.float32]:
    return answering(found.spec).predict(*(crops[spec] for spec in found.crops))


def alone(registry: Registry, name: str, crops: Crops, **options: Any) -> NDArray[np.float32]:
    """What a rule says by itself, as (dark, bright)."""
    registered = registry.get("classifier", name)
    rule: Classifier = build(spec_of(registered, options))
    rows = rule.predict(crops[registered.component.crop])
    return rows[:, ::-1] if registered.component.labels[0] == "bright" else rows


def test_it_is_the_mean_of_its_members(registry: Registry, crops: Crops) -> None:
    found = described(registry, *RULES)
    expected = sum(alone(registry, name, crops) for name in RULES) / 3
    assert found.labels == ("dark", "bright")
    assert found.crops == ((48, 48, 1), (16, 24, 1), (32, 24, 3))
    np.testing.assert_allclose(answer(found, crops), expected, atol=1e-6)
    assert answer(found, crops).dtype == np.float32


def test_weights_count_by_their_shares(registry: Registry, crops: Crops) -> None:
    parts = [alone(registry, name, crops) for name in RULES]
    found = described(registry, "gray", {"name": "small", "weight": 2}, {"name": "colour", "weight": 0.5})
    expected = (parts[0] + 2 * parts[1] + 0.5 * parts[2]) / 3.5
    np.testing.assert_allclose(answer(found, crops), expected, atol=1e-6)


def test_the_labels_are_in_the_order_of_the_first_member(registry: Registry, crops: Crops) -> None:
    one, other = described(registry, "gray", "small"), described(registry, "small", "gray")
    assert (one.labels, other.labels) == (("dark", "bright"), ("bright", "dark"))
    assert one.crops == other.crops[::-1]
    np.testing.assert_allclose(answer(one, crops), answer(other, crops)[:, ::-1], atol=1e-6)


def test_a_crop_that_several_want_comes_once(registry: Registry, crops: Crops) -> None:
    biased = {"name": "gray", "bias": 0.2}
    found = described(registry, "colour", "gray", biased)
    assert found.crops == ((32, 24, 3), (48, 48, 1))
    parts = [alone(registry, "colour", crops), alone(registry, "gray", crops)]
    expected = (parts[0] + parts[1] + alone(registry, "gray", crops, bias=0.2)) / 3
    np.testing.assert_allclose(answer(found, crops), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1, 2, 20])
def test_the_temperature_is_that_of_a_softmax(registry: Registry, crops: Crops, temperature: float) -> None:
    mean = answer(described(registry, *RULES), crops).astype(float)
    logits = np.log(mean) / temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = answer(described(registry, *RULES, temperature=temperature), crops)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(found.argmax(axis=1), mean.argmax(axis=1))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, TEMPERATURE),
        ({"temperature": None}, TEMPERATURE),
        ({"members": ["cnn", {"name": "cnn_bilstm", "weight": 1}, "cnn_lstm"]}, TEMPERATURE),
        ({"temperature": 0.5}, 0.5),
        ({"members": ["cnn", "cnn_lstm"]}, 1),
        ({"members": ["cnn", "cnn_bilstm", {"name": "cnn_lstm", "mode": "frames"}]}, 1),
    ],
)
def test_the_members_that_ship_have_the_temperature_that_fits_them(
    tmp_path: Path, options: dict[str, Any], expected: float
) -> None:
    """As they are served: the spec goes to another process."""
    sections = {
        "version": 1,
        "streams": {"lobby": {"path": str(SAMPLE)}},
        "classifiers": [{"name": "ensemble", **options}],
        "sinks": [{"name": "jsonl", "path": "results.jsonl"}],
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(sections))
    (configured,) = load(path).classifiers
    found = find(Registry.discover(), "ensemble", options)
    random = np.random.default_rng(5)
    faces = [random.integers(0, 256, (3, *crop), np.uint8) for crop in found.crops]
    mean = np.mean([answering(one.component).predict(*faces) for one in found.spec.members], axis=0)
    sharpened = mean ** (1 / expected)
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    for spec in (found.spec, configured.spec):
        again = msgspec.json.decode(msgspec.json.encode(spec), type=ComponentSpec)
        np.testing.assert_allclose(answering(again).predict(*faces), sharpened, atol=1e-6)


def test_it_keeps_the_contract_of_classifiers(registry: Registry, tmp_path: Path) -> None:
    copy = {"name": "cnn", "weight": 2, "model": str(shipped_cnn(tmp_path / "copy"))}
    for found in (described(registry, *RULES, temperature=0.7), described(registry, "cnn", copy)):
        check_classifier(lambda found=found: answering(found.spec), found.crops, found.labels)  # type: ignore[misc]


def test_the_contract_notices_a_face_that_depends_on_its_neighbours(registry: Registry) -> None:
    found = described(registry, *RULES)

    class Shifted:
        def __init__(self) -> None:
            self._ensemble = answering(found.spec)

        def predict(self, first: NDArray[np.uint8], *others: NDArray[np.uint8]) -> NDArray[np.float32]:
            answer: NDArray[np.float32] = self._ensemble.predict(first, *(np.roll(x, 1, 0) for x in others))
            return answer

    with pytest.raises(AssertionError, match="rows are not independent"):
        check_classifier(Shifted, found.crops, found.labels)


def test_its_spec_travels_as_json(registry: Registry, crops: Crops) -> None:
    found = described(registry, "gray", {"name": "small", "weight": 3, "bias": 0.1}, temperature=0.8)
    line = msgspec.json.encode(found.spec)
    again = msgspec.json.decode(line, type=ComponentSpec)
    assert again == found.spec
    assert json.loads(line)["options"] == {
        "members": [{"name": "gray", "weight": 1.0}, {"name": "small", "weight": 3.0, "bias": 0.1}],
        "temperature": 0.8,
    }
    rebuilt = answering(again)
    assert np.array_equal(rebuilt.predict(*(crops[spec] for spec in found.crops)), answer(found, crops))


def test_a_spec_shows_no_values_of_its_members(registry: Registry) -> None:
    found = described(registry, "gray", {"name": "small", "secret": "hunter2"})
    assert "hunter2" not in repr(found.spec) + str([found.spec])


# ---- what it refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["gray"], "classifier 'ensemble': members: .*two members or more are needed"),
        ([], "two members or more are needed"),
        (["gray", 3], "expected the name of a classifier, or a mapping with its 'name'"),
        (["gray", {"weight": 2}], "members.1.name: Field required"),
        (["gray", {"name": "small", "weight": 0}], "members.1.weight: Input should be greater than 0"),
        (["gray", {"name": "small", "weight": float("inf")}], "members.1.weight: .*finite"),
        (["gray", "grey"], "member 2, 'grey': no classifier 'grey'; there are: alone, "),
        (["gray", {"name": "small", "bais": 1}], "member 2, 'small': bais: Extra inputs"),
        (["gray", {"name": "small", "bias": 3}], "member 2, 'small': bias: Input should be less than"),
        (["gray", "ensemble"], "member 2, 'ensemble': 'ensemble' combines others itself"),
        (["gray", "own"], "member 2, 'own': 'own' cannot be a member: its own option 'weight'"),
        (
            ["small", "gray", "alone"],
            r"member 3, 'alone': its labels \(dark, dim\) are not those of the first",
        ),
        (["gray", "cnn"], "member 2, 'cnn': its labels .* are not those of the first member"),
        (["gray", "small", {"name": "gray", "weight": 2}], "member 3, 'gray': the same as member 1"),
        (["gray", "large"], r"member 2, 'large': with its crop \(512×512×3\) .* 788,736 bytes.* 786,432"),
    ],
)
def test_members_that_do_not_fit_are_one_line(registry: Registry, members: list[Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        described(registry, *members)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_there_is_told_with_its_member(registry: Registry, tmp_path: Path) -> None:
    gone = {"name": "cnn", "model": str(tmp_path / "card.json")}
    with pytest.raises(StartError, match=r"^classifier 'ensemble': member 2, 'cnn': .*cannot be read"):
        described(registry, "cnn", gone)
    wrong = {"name": "cnn", "runtime": "tensorflow", "model": str(shipped_cnn(tmp_path / "copy"))}
    with pytest.raises(StartError, match=r"member 1, 'cnn': .*'runtime: tensorflow' runs"):
        described(registry, wrong, "cnn")


def test_an_answer_that_does_not_fit_the_labels_stops_the_start(registry: Registry) -> None:
    found = described(registry, "gray", "wrong")
    with pytest.raises(StartError, match=r"'wrong' .* gave the shape \(1, 3\), expected \(1, 2\)"):
        answering(found.spec)


def test_it_cannot_be_built_without_its_members(registry: Registry) -> None:
    with pytest.raises(StartError, match="'ensemble' combines others, and its spec has none of them"):
        build(spec_of(registry.get("classifier", "ensemble"), {}))


def test_the_largest_network_still_fits_a_message() -> None:
    assert 20 * wire.MAX_FACE < wire.MAX_MESSAGE


@pytest.mark.parametrize(
    ("registration", "cause"),
    [
        (
            "Component('sink', 'a', '', ':A', CombiningOptions, combines=True)",
            "what combines is a classifier",
        ),
        ("Component('classifier', 'a', '', ':A', combines=True)", "what combines is a classifier whose"),
        (
            "Component('classifier', 'a', '', ':A', CombiningOptions, labels=('x', 'y'))",
            "register it with combines=True",
        ),
    ],
)
def test_what_is_registered_wrongly_is_told(tmp_path: Path, registration: str, cause: str) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(
        "from streamfer.api import CombiningOptions, Component\nfrom streamfer.hookspecs import hookimpl\n"
        f"@hookimpl\ndef streamfer_components():\n    return [{registration}]\n"
    )
    (broken,) = Registry.discover([file]).broken
    assert cause in broken.cause
