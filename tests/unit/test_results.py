"""The schema, the types and the documentation of a result say the same."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from streamfer.api import StreamPlan
from streamfer.results import schema
from streamfer.sinks import JsonlOptions, SqliteOptions
from streamfer.sinks.jsonl import JsonlSink
from streamfer.sinks.sqlite import SqliteSink
from streamfer.types import LABELS, Answer, Face, Result, WindowState

DOCS = Path(__file__).parents[2] / "docs" / "results.md"
TEXT = DOCS.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL)
QUERIES = re.findall(r"```sql\n(.*?)\n```", TEXT, re.DOTALL)


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def results() -> list[Result]:
    """A few seconds of two classifiers that see one face, with everything that a result can have."""
    made = []
    for seq in range(60):
        for classifier in ("cnn", "rows"):
            label = LABELS[seq // 15 % 7] if classifier == "cnn" else LABELS[seq // 20 % 7]
            chances = dict.fromkeys(LABELS, 0.05) | {label: 0.7}
            faces = [
                Face(1, (10.5, 20.0, 30.0, 40.0), 0.9, "ok", label, 0.7, chances),
                Face(2, (90.0, 20.0, 9.0, 9.0), 0.7, "small"),
            ]
            changes: dict[str, Any] = {}
            if seq == 20:
                changes = {"dropped": "corrupt", "faces": []}
            if seq == 30:
                changes = {"discontinuity": True}
            one = Result(
                stream="lobby", epoch=0, seq=seq, pts=seq / 10, time=None, classifier=classifier, faces=faces
            )
            made.append(msgspec.structs.replace(one, **changes))
    return made


def test_schema_and_types_have_the_same_fields() -> None:
    """In the same order, and required exactly where a line always has them."""
    line, face = schema(), schema()["properties"]["faces"]["items"]
    assert list(line["properties"]) == list(Result.__struct_fields__)
    assert list(face["properties"]) == list(Face.__struct_fields__)
    assert face["required"] == [one for one in Face.__struct_fields__ if one not in ("window", "raw")]
    for name, kind in (("window", WindowState), ("raw", Answer)):
        part = face["properties"][name]
        assert list(part["properties"]) == part["required"] == list(kind.__struct_fields__)
    assert line["required"] == [
        one for one in Result.__struct_fields__ if one not in ("discontinuity", "dropped")
    ]


def test_lines_of_the_sink_are_valid(tmp_path: Path) -> None:
    sink = JsonlSink(JsonlOptions(path=str(tmp_path / "r.jsonl")))
    sink.open([StreamPlan("lobby", ("cnn", "rows"))], resume=False)
    for one in results():
        sink.write(one, None)
    sink.close()
    check = validator()
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 120
    for line in lines:
        check.validate(json.loads(line))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 2),
        ("stream", None),
        ("seq", -1),
        ("seq", 1.5),
        ("pts", "0"),
        ("faces", None),
        ("discontinuity", 1),
        ("dropped", "corrupt"),  # and yet there is a face
        ("unknown", 1),
        ("faces.0.track", 0),
        ("faces.0.box", [1, 2, 3]),
        ("faces.0.score", 1.1),
        ("faces.0.status", "fine"),
        ("faces.0.status", "small"),  # and yet there is a label
        ("faces.0.label", None),
        ("faces.0.confidence", -0.1),
        ("faces.0.probabilities", {"happy": "much"}),
        ("faces.0.unknown", 1),
    ],
)
def test_schema_refuses(key: str, value: object) -> None:
    line = json.loads(EXAMPLES[0])
    place = line
    *path, last = key.split(".")
    for step in path:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(line)


def test_schema_refuses_a_missing_field() -> None:
    for key in json.loads(EXAMPLES[0]):
        line = json.loads(EXAMPLES[0])
        del line[key]
        with pytest.raises(jsonschema.ValidationError):
            validator().validate(line)


# ---- docs/results.md ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES)
def test_documented_lines_are_what_the_sink_writes(example: str) -> None:
    validator().validate(json.loads(example))
    assert msgspec.json.encode(msgspec.json.decode(example, type=Result)).decode() == example


def test_every_field_is_documented() -> None:
    for field in (*Result.__struct_fields__, *Face.__struct_fields__):
        assert re.search(rf"^\| `{field}` \|", TEXT, re.MULTILINE), field


def test_documented_queries_answer(tmp_path: Path) -> None:
    sink = SqliteSink(SqliteOptions(path=str(tmp_path / "results.db")))
    sink.open([StreamPlan("lobby", ("cnn", "rows"))], resume=False)
    for one in results():
        sink.write(one, None)
    sink.close()
    db = sqlite3.connect(tmp_path / "results.db")
    answers = [db.execute(query).fetchall() for query in QUERIES]
    tables = {
        name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    }
    columns = {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}
    db.close()
    runs, lasting, shares, afraid, agree, most, dropped, anew = answers
    assert runs[0] == ("lobby", 1, "angry", 0.0, 1.4, 0.7)
    assert len(runs) == 4 and len(lasting) == 7
    assert [(label, percent) for _, _, label, _, percent in shares] == [
        ("angry", 25.4), ("fear", 25.4), ("happy", 25.4), ("disgust", 23.7)
    ]  # fmt: skip
    assert len(afraid) == 10 and afraid[0][2] == 0.7
    assert agree == [("lobby", 59, 49.2)]
    assert most == [("lobby", 2)]
    assert dropped == [("lobby", "cnn", "corrupt", 1), ("lobby", "rows", "corrupt", 1)]
    assert anew == [("lobby", 0, 30, 3.0)]
    assert tables == {"frames", "faces", "pruned", "who_showed_what_when"}
    for table, names in columns.items():
        assert f"**`{table}`**" in TEXT
        for name in names:
            assert f"`{name}`" in TEXT, f"{table}.{name}"
