"""The example plugins and the docs about them: installed, listed, checked, run as a user would."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import BaseModel

from streamfer.plugins import SERVICE_KEYS
from tests.clips import make_clip
from tests.service import ROOT, SAMPLE, lines, streamfer, with_path

EXAMPLE = ROOT / "examples" / "streamfer-example"
PRIOR = ROOT / "examples" / "prior.py"
NETWORK = ROOT / "examples" / "network.py"
CHANGING = ROOT / "examples" / "changing.py"
FRAMES = ROOT / "examples" / "frames.py"
CARD = ROOT / "plugins" / "streamfer_classifiers" / "cnn" / "card.json"
DOCS = (ROOT / "docs" / "config.md", ROOT / "docs" / "plugins.md", EXAMPLE / "README.md")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example distribution is installed, built by pip from a copy."""
    folder = tmp_path_factory.mktemp("example")
    source, target = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*pip, "--target", str(target), str(source)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return with_path(target)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the configurations in the docs name."""
    (tmp_path / "recordings").mkdir()
    for name in ("clip.mp4", "door.mkv", "recordings/monday.mp4", "recordings/tuesday.mp4"):
        shutil.copy(SAMPLE, tmp_path / name)
    for plugin in (PRIOR, NETWORK, CHANGING, FRAMES):
        shutil.copy(plugin, tmp_path)
    for model in ("tiny", "mine"):
        (tmp_path / "models" / model).mkdir(parents=True)
        shutil.copy(CARD, tmp_path / "models" / model)
    return tmp_path


# ---- the distribution --------------------------------------------------------------------------------------


def test_the_installed_example_is_listed(installed: dict[str, str]) -> None:
    done = streamfer("plugins", "--json", env=installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ours = [one for one in found["components"] if one["distribution"] == "streamfer-example"]
    assert [(one["kind"], one["name"], one["version"]) for one in ours] == [
        ("classifier", "brightness", "0.1.0"),
        ("sink", "changes", "0.1.0"),
    ]
    assert found["broken"] == found["clashes"] == []
    table = streamfer("plugins", env={**installed, "COLUMNS": "200"}).stdout
    assert re.search(r"classifier +brightness +Tells bright .* streamfer-example 0.1.0", table)


def test_the_schema_of_its_options_is_printed(installed: dict[str, str]) -> None:
    done = streamfer("plugins", "--schema", "brightness", env=installed)
    assert json.loads(done.stdout)["properties"]["threshold"]["maximum"] == 255
    assert '"classifier.brightness"' in streamfer("schema", env=installed).stdout


def test_its_options_are_checked(installed: dict[str, str], folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(
        "version: 1\nstreams: {lobby: {path: clip.mp4}}\n"
        "classifiers: [{name: brightness, treshold: 3}]\nsinks: [{name: changes, path: out/changes.csv}]\n"
    )
    done = streamfer("check", config, env=installed)
    assert done.returncode == 2
    expected = f"{config}:3: classifiers.0.treshold: unknown key; did you mean 'threshold'?\n"
    assert done.stderr == expected
    done = streamfer(
        "check", config, "--set", "classifiers=[{name: brightness, threshold: 3}]", env=installed
    )
    assert done.returncode == 0, done.stderr
    assert f"sink        changes {folder}/out/changes.csv" in done.stdout


def test_its_own_tests_pass(installed: dict[str, str]) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            str(EXAMPLE / "tests"),
        ],
        env={**os.environ, **installed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_it_runs_on_the_sample_clip(installed: dict[str, str], folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(
        "version: 1\n"
        "plugins: [./prior.py]\n"
        "streams: {lobby: {path: clip.mp4}}\n"
        "classifiers: [brightness, prior]\n"
        "sinks: [{name: jsonl, path: out/results.jsonl}, {name: changes, path: out/changes.csv}]\n"
        "metrics: false\n"
    )
    done = streamfer("run", config, env=installed)
    assert done.returncode == 0, done.stderr
    seen: dict[str, set[str]] = {}
    for line in lines(folder / "out" / "results.jsonl"):
        for face in line["faces"]:
            if face["status"] == "ok":
                seen.setdefault(line["classifier"], set()).add(face["label"])
    assert seen["brightness"] <= {"dark", "bright"}
    assert seen["prior"] == {"happy"}
    with (folder / "out" / "changes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["classifier"] for row in rows} == {"brightness", "prior"}
    for row in rows:
        assert row["label"] in seen[row["classifier"]]


# ---- a single file -----------------------------------------------------------------------------------------


def test_a_single_file_is_listed_and_checked(folder: Path) -> None:
    done = streamfer("plugins", "--json", "--plugin", folder / "prior.py")
    (found,) = (one for one in json.loads(done.stdout)["components"] if one["file"])
    assert (found["kind"], found["name"], found["file"]) == ("classifier", "prior", str(folder / "prior.py"))
    assert '"classifier.prior"' in streamfer("schema", "--plugin", folder / "prior.py").stdout


def test_the_temporal_example_sees_a_face_become_brighter_and_darker(folder: Path) -> None:
    """With the configuration that the docs show, over two seconds of more light and two of less."""
    (block,) = (block for _, block in YAML if "changing.py" in block)
    with av.open(str(SAMPLE)) as container:
        sample = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    still = sample[len(sample) // 4].astype(float)
    light = [*np.linspace(0.4, 1, 30), *np.linspace(1, 0.4, 30)]
    size = (still.shape[1], still.shape[0])
    lit = [(still * one).astype(np.uint8) for one in light]
    make_clip(folder / "clip.mp4", frames=lit, size=size, fps=15)
    (folder / "config.yaml").write_text(block)
    done = streamfer("run", "config.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    told: dict[tuple[str, int], str] = {}
    places = {"changing": 8, "sooner": 4}
    for line in lines(folder / "out" / "results.jsonl"):
        frames, filled = places[line["classifier"]], line["seq"] // 2 + 1  # every second of 15 per second
        assert len(line["faces"]) == 2, "both are there in every frame"
        for face in line["faces"]:
            window = face["window"]
            assert (window["frames"], window["filled"]) == (frames, min(frames, filled))
            assert face["status"] == ("ok" if filled >= frames else "warming")
            key = (line["classifier"], face["track"])
            told[key] = told.get(key, "") + face["label"][0]
    assert set(told) == {(name, track) for name in places for track in (1, 2)}
    for key, labels in told.items():
        turned = labels.index("d")
        assert labels == turned * "b" + (60 - turned) * "d", key
        assert 30 < turned < 46, "within a window of the turn, which is at the 30th frame"
    assert told["sooner", 1].index("d") < told["changing", 1].index("d")


def test_a_broken_single_file_is_listed_with_its_cause(folder: Path) -> None:
    broken = folder / "broken.py"
    broken.write_text("import no_such_library\n")
    done = streamfer("plugins", "--plugin", broken)
    assert done.returncode == 0
    assert f"broken: {broken}: ModuleNotFoundError: No module named 'no_such_library'" in done.stdout
    done = streamfer("schema", "--plugin", broken)
    assert done.returncode == 2
    assert done.stderr == f"{broken}: ModuleNotFoundError: No module named 'no_such_library'\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [("jsonll", "no component 'jsonll'; did you mean 'jsonl'?"), ("sink:sort", "no component 'sink:sort'")],
)
def test_the_schema_of_what_is_not_there(name: str, said: str) -> None:
    done = streamfer("plugins", "--schema", name)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


# ---- the docs ----------------------------------------------------------------------------------------------


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language ("": of none)."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [text for of, text in fences if of == language]


YAML = [(path, block) for path in DOCS for block in blocks(path, "yaml") if "version: 1\n" in block]
RECIPES = [block for path in DOCS for block in blocks(path, "yaml") if "version: 1\n" not in block]


@pytest.mark.parametrize(
    ("path", "block"), YAML, ids=[f"{path.name}-{n}" for n, (path, _) in enumerate(YAML)]
)
def test_yaml_in_the_docs_is_right_or_as_wrong_as_it_says(
    path: Path, block: str, folder: Path, installed: dict[str, str]
) -> None:
    (folder / "config.yaml").write_text(block)
    done = streamfer("check", "config.yaml", cwd=folder, env=installed)
    if "sorce" in block:
        assert done.returncode == 2
        assert done.stderr in blocks(path, "")
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", RECIPES)
def test_a_recipe_in_the_docs_is_right(block: str, folder: Path) -> None:
    from streamfer.training import networks, recipe

    (folder / "recipe.yaml").write_text(block)
    found = recipe.load(folder / "recipe.yaml")
    assert networks.find(found.classifier, found.model, found.plugins).name == found.classifier


def test_each_document_has_configurations() -> None:
    assert RECIPES
    assert {path for path, _ in YAML} == set(DOCS)


def test_code_in_the_docs_is_that_of_the_examples() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    shown = dict(re.findall(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    files = [
        PRIOR,
        NETWORK,
        CHANGING,
        FRAMES,
        EXAMPLE / "pyproject.toml",
        EXAMPLE / "tests" / "test_example.py",
        *(EXAMPLE / "src").rglob("*.py"),
    ]
    assert set(shown) == {str(file.relative_to(ROOT)) for file in files}
    for name, block in shown.items():
        assert block == (ROOT / name).read_text("utf-8"), (
            f"{name} differs from what docs/plugins.md shows of it"
        )
    assert len(blocks(ROOT / "docs" / "plugins.md", "python")) == len(shown) - 1


def test_the_docs_name_every_key_and_its_default() -> None:
    from streamfer.config import model

    text = (ROOT / "docs" / "config.md").read_text("utf-8")
    sections: dict[str, type[BaseModel]] = {
        "streams": model.StreamKeys,
        "detector": model.DetectorKeys,
        "tracker": model.TrackerKeys,
        "classifiers": model.ClassifierKeys,
        "sinks": model.SinkKeys,
        "metrics": model.MetricsKeys,
        "privacy": model.Privacy,
    }
    for heading, section in sections.items():
        part = re.search(rf"^## {heading}\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
        assert part, heading
        of_section, _, _ = part[1].partition("\n### ")
        table = dict(re.findall(r"^\| `(\w+)` \|(.*?)\|", of_section, re.MULTILINE))
        assert set(table) == {info.alias or name for name, info in section.model_fields.items()}, heading
        for name, info in section.model_fields.items():
            default = table[info.alias or name].strip(" `")
            if info.is_required():
                assert default == "", f"{heading}.{name}"
            elif isinstance(info.default, bool):
                assert default == str(info.default).lower(), f"{heading}.{name}"
            elif isinstance(info.default, int | float):
                assert default == f"{info.default:g}", f"{heading}.{name}"
            elif info.default is not None:
                assert default == info.default, f"{heading}.{name}"


def test_the_docs_name_every_key_of_windows_and_of_smoothing_and_its_default() -> None:
    from streamfer import smoothing
    from streamfer.api import WindowOptions

    text = (ROOT / "docs" / "config.md").read_text("utf-8")
    windows = re.findall(r"^\| `window\.(\w+)` \|(.*?)\|", text, re.MULTILINE)
    assert windows == [(name, " what it declares ") for name in WindowOptions.model_fields]
    (part,) = re.findall(r"^\| method \|.*?\n\n", text, re.DOTALL | re.MULTILINE)
    told: dict[str, dict[str, float]] = {}
    for method, option, default in re.findall(r"^\| (.*?)\| `(\w+)` \| (.*?) \|", part, re.MULTILINE):
        told.setdefault(method.strip("` ") or list(told)[-1], {})[option] = float(default)
    everywhere = told.pop("all")
    assert tuple(told) == smoothing.METHODS
    for method, options in told.items():
        chosen = smoothing.smoothing(method)
        assert chosen is not None
        assert {"method": method, **options, **everywhere} == chosen.model_dump()


def test_the_docs_name_every_key_that_is_taken() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    for key in frozenset().union(*SERVICE_KEYS.values()):
        assert f"`{key}`" in text


# ---- check -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_that_ship_are_right(path: Path) -> None:
    done = streamfer("check", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: ok\nstream      ")


def test_check_says_what_would_run(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(blocks(ROOT / "docs" / "config.md", "yaml")[0])
    done = streamfer("check", config, "--set", "detector.full_every=1", "--set", "detector.workers=2")
    assert (
        done.stdout
        == f"""{config}: ok
stream      lobby: file {folder}/clip.mp4
stream      lectures-monday: file {folder}/recordings/monday.mp4
stream      lectures-tuesday: file {folder}/recordings/tuesday.mp4
stream      door: file {folder}/door.mkv (classifiers: cnn)
detector    yunet: width 320, every frame, 2 workers
tracker     sort
classifier  cnn
classifier  cnn-again: cnn, 2 workers
sink        jsonl {folder}/out/results.jsonl
sink        sqlite {folder}/out/results.db
sink        video {folder}/out/annotated.mp4
sink        console
metrics     http://127.0.0.1:9108/metrics
privacy     faces are blurred
"""
    )


def test_check_tells_everything_that_is_wrong_on_standard_error(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text("version: 1\nstreams: {a: {path: gone.mp4}}\nclassifiers: [cnm]\nsinks: []\n")
    done = streamfer("check", config)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 3
    assert "Traceback" not in done.stderr
