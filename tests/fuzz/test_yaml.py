"""Broken configurations load, or every line says what is wrong: no traceback, no hang, no bomb."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamfer.config import Config, ConfigError, load
from streamfer.plugins import Registry
from tests.fuzz.mutations import Peak, cases, damaged
from tests.service import ROOT, SAMPLE

SECONDS = 10
MEMORY = 64e6
DOCS = ("docs/config.md", "docs/plugins.md", "README.md")
VALUES = (
    *(
        "null",
        "~",
        "true",
        "no",
        "''",
        "[]",
        "{}",
        "[[]]",
        "{a: {b: [1, {c: d}]}}",
        "!!python/object:os.system x",
    ),
    *(
        "0",
        "-1",
        "1e400",
        "-1e-400",
        ".5",
        "0x7fffffffffffffff",
        "0o777",
        "9" * 40,
        "9" * 5000,
        "NaN",
        ".inf",
    ),
    *(
        "2001-12-14",
        "1_000",
        "12:30:45",
        "&a [*a]",
        "*nobody",
        "<<",
        "|",
        ">-",
        "? x",
        "- x",
        "%YAML 3.0",
        "---",
    ),
    *("${HOME}", "${", "${nothing}", "${secret:../../etc/passwd}", "${secret:x}", "$${x}", "${a:-${b:-c}}"),
    *(
        "/",
        "..",
        "~nobody/x",
        "\\0",
        '"\\u0000"',
        '"\\ud800"',
        "é" * 300,
        "x" * 70_000,
        "\t",
        "\x1b[31m",
        "\u202e",
    ),
    *(
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "/dev/full",
        "//x/y",
        "file:///etc/passwd",
        "rtsp://u:p@h/x",
    ),
    *(
        "tcp://*:1",
        "tcp://127.0.0.1:99999999999",
        "ipc://x",
        "127.0.0.1:0",
        "[::1]:9108",
        "a:b:c",
        "**/*",
        "[",
    ),
)
"""Values that somebody may write where another belongs."""


def seeds() -> list[str]:
    """Every configuration that ships or stands in the docs."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "configs").glob("*.yaml"))]
    for name in DOCS:
        texts += re.findall(
            r"^```yaml\n(.*?)^```$", (ROOT / name).read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
    assert len(texts) > 6
    return texts


def mutated(rng: random.Random, texts: list[str]) -> bytes:
    """A configuration with a few things done to its words, its lines or its bytes."""
    text = rng.choice(texts)
    for _ in range(rng.randint(1, 4)):
        lines = text.splitlines(keepends=True) or [""]
        at = rng.randrange(len(lines))
        kind = rng.randrange(13)
        words = list(re.finditer(r"[^\s:,\[\]{}#-]+", text))
        if kind <= 3 and words:  # another value
            word = rng.choice(words)
            text = text[: word.start()] + rng.choice(VALUES) + text[word.end() :]
        elif kind == 4 and words:  # two words change places
            one, other = sorted(rng.choices(words, k=2), key=re.Match.start)
            between = text[one.end() : other.start()] if one is not other else ""
            text = text[: one.start()] + other[0] + between + one[0] + text[other.end() :]
        elif kind == 5:
            text = "".join(lines[:at] + lines[at + 1 :])
        elif kind == 6:
            text = "".join(lines[: at + 1] + lines[at:])
        elif kind == 7:  # another depth
            lines[at] = (
                " " * rng.choice((1, 2, 4, 40)) + lines[at] if rng.random() < 0.5 else lines[at].lstrip()
            )
            text = "".join(lines)
        elif kind == 8:  # lines of another configuration
            other_lines = rng.choice(texts).splitlines(keepends=True)
            text = "".join(lines[:at] + rng.sample(other_lines, min(3, len(other_lines))) + lines[at:])
        elif kind == 9:  # nested, flat or deep
            depth = rng.choice((3, 30, 40, 5000))
            opening, closing = rng.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")))
            text += (
                "deep: " + opening * depth + closing * depth + "\n" if opening in "[{a: " else opening * depth
            )
        elif kind == 10:  # aliases that multiply
            width, levels = rng.choice((2, 9, 30)), rng.choice((3, 9, 30))
            bomb = ["a0: &a0 [x, x]\n"]
            bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]\n" for n in range(1, levels)]
            merges = [
                f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * width)}]}}\n" for n in range(1, levels)
            ]
            text += "".join(bomb if rng.random() < 0.5 else ["b0: &b0 {x: 1}\n", *merges])
        elif kind == 11:  # very much
            text += rng.choice(("k{}: v\n", "- {}\n", "  s{}: {{path: x}}\n", "# {}\n")).format(at) * 3000
        elif words:  # a key in place of another
            word = rng.choice(words)
            text = text[: word.start()] + rng.choice(words)[0] + text[word.end() :]
    data = text.encode("utf-8", "surrogatepass")
    kind = rng.randrange(12)
    if kind == 0:
        return damaged(rng, data or b"x", [one.encode() for one in texts])
    if kind == 1:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig")), "replace")
    if kind == 2:
        at = rng.randrange(len(data) + 1)
        return (
            data[:at] + rng.choice((b"\0", b"\x85", b"\xc2\x85", b"\xe2\x80\xa8", b"\r", b"\x7f")) + data[at:]
        )
    return data


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Fail, with a traceback of where it is, if it takes longer than `SECONDS`."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"{what} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the configurations name, so that some of them are right."""
    inner = tmp_path / "configs"
    for name in ("recordings", "examples", "streamfer/data", "configs/recordings", "configs/examples"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("clip.mp4", "door.mkv", "recordings/monday.mp4", "../streamfer/data/sample.mp4"):
        shutil.copy(SAMPLE, inner / name)
    for place in (inner, tmp_path / "examples"):
        shutil.copy(ROOT / "examples" / "prior.py", place)
    return inner


def attempt(path: Path, content: bytes, registry: Registry, secrets: Path) -> Config | ConfigError:
    path.write_bytes(content)
    try:
        return load(path, registry=registry, environ={"HOME": "/root"}, secrets=secrets)
    except ConfigError as error:
        return error


def test_mutated_configurations_load_or_are_explained(folder: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    texts, registry = seeds(), Registry.discover()
    path = folder / "config.yaml"
    right = sum(isinstance(attempt(path, text.encode(), registry, tmp_path), Config) for text in texts)
    assert right >= len(texts) / 2
    loaded = 0
    slowest = (0.0, -1)
    for number in range(cases(250, 10_000)):
        content = mutated(rng, texts)
        peak, began = Peak(), time.perf_counter()
        try:
            with in_time(f"case {number}"):
                got = attempt(path, content, registry, tmp_path)
        except Exception as error:  # noqa: BLE001 - whatever it is, the case is to be told
            shutil.copy(path, tmp_path.parent / f"case-{number}.yaml")
            pytest.fail(f"case {number} ({tmp_path.parent}/case-{number}.yaml): {error!r}")
        slowest = max(slowest, (time.perf_counter() - began, number))
        assert peak.grown() < MEMORY, f"case {number}: {len(content)} bytes took {peak.grown()} bytes"
        if isinstance(got, Config):
            loaded += 1
            continue
        lines = str(got).split("\n")
        wrong = [line for line in lines if not line.strip() or not line.isprintable()]
        assert not wrong, f"case {number}: {wrong}"
    print(f"{loaded} of {cases(250, 10_000)} loaded; the slowest took {slowest[0]:.2f} s (case {slowest[1]})")
    assert loaded > 5


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        (r'"\x1b[31m": x', r"streams.lobby.\x1b[31m: unknown key"),
        (r'"\0": x', r"streams.lobby.\x00: unknown key"),
        (r'source: "\u202e"', r"no source '\u202e'"),
        (r'path: "x\ud800"', "streams.lobby.path: a text that is not Unicode, which no option can use"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, yaml: str, said: str) -> None:
    text = f"version: 1\nstreams: {{lobby: {{{yaml}}}}}\nclassifiers: [cnn]\nsinks: [console]\n"
    got = attempt(tmp_path / "config.yaml", text.encode(), Registry.discover(), tmp_path)
    assert isinstance(got, ConfigError)
    assert said in str(got)
    assert all(line.isprintable() for line in str(got).splitlines())


@pytest.mark.parametrize("key", ["path", "pattern"])
def test_a_name_that_is_too_long_is_told(tmp_path: Path, key: str) -> None:
    (tmp_path / "clips").mkdir()
    folder = {"path": "clips", "pattern": "*.mp4", key: "é" * 300}
    source = f"source: folder, path: '{folder['path']}', pattern: '{folder['pattern']}'"
    text = f"version: 1\nstreams: {{lobby: {{{source}}}}}\n"
    text += "classifiers: [cnn]\nsinks: [console]\n"
    got = attempt(tmp_path / "config.yaml", text.encode(), Registry.discover(), tmp_path)
    assert isinstance(got, ConfigError)
    assert f"streams.lobby.{key}: " in str(got) and str(got).endswith("file name too long")
