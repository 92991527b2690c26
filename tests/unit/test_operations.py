"""Running it for months: the credentials of systemd, and the page that tells of it all."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from streamfer import redact
from streamfer.config import load
from streamfer.endpoints import PATHS
from streamfer.status import StageState, StageStatus, Status, StreamStatus
from streamfer.types import LostReason, StreamState
from tests.service import ROOT


def test_a_credential_of_systemd_is_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_patterns", {})
    monkeypatch.setattr(redact, "_compiled", None)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "camera").write_text("hunter2\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "version: 1\nstreams: {door: {source: rtsp, url: 'rtsp://127.0.0.1/1', username: me, "
        "password: '${secret:camera}'}}\nclassifiers: [cnn]\nsinks: [console]\n"
    )
    found = load(config, environ={"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert found.streams[0].source.options["password"] == "hunter2"
    assert redact.redact("it is hunter2") == "it is …"


def test_operations_names_every_state_and_reason() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8")
    for word in (*get_args(LostReason), *get_args(StreamState), *get_args(StageState), *PATHS):
        assert f"`{word}`" in text, word
    for field in (*StreamStatus.__struct_fields__, *StageStatus.__struct_fields__, *Status.__struct_fields__):
        assert f"`{field}`" in text or f"`{field}[]`" in text, field
