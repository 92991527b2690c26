"""URLs of cameras: credentials however they are written, and never shown."""

from __future__ import annotations

import json
import traceback
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from streamfer.errors import StartError
from streamfer.plugins import ComponentSpec, build
from streamfer.sources import HttpOptions, RtspOptions
from streamfer.sources.urls import RTSP, encode_credentials

ANY = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


def opened(options: RtspOptions | HttpOptions) -> tuple[str | None, str | None]:
    """User name and password as FFmpeg reads them out of the URL: split at the first ':', decoded."""
    parts = urlsplit(options.url_with_credentials())
    return (
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


@pytest.mark.parametrize(
    ("url", "username", "password", "shown"),
    [
        ("rtsp://cam/x", None, None, "rtsp://cam/x"),
        ("RTSP://cam.local:554/a/b?c=1#d", None, None, "rtsp://cam.local:554/a/b?c=1#d"),
        ("rtsp://[::1]:8554/x", None, None, "rtsp://[::1]:8554/x"),
        ("rtsp://user:secret@cam/x", "user", "secret", "rtsp://cam/x"),
        ("rtsp://user@cam", "user", "", "rtsp://cam"),
        ("rtsp://user:@cam", "user", "", "rtsp://cam"),
        ("rtsp://:secret@cam", "", "secret", "rtsp://cam"),
        ("rtsp://us%3Aer:p%40ss%3Aw%2Frd%25@cam:1/x", "us:er", "p@ss:w/rd%", "rtsp://cam:1/x"),
        ("rtsp://user:p@ss@cam/x", "user", "p@ss", "rtsp://cam/x"),
        ("rtsp://user:p:ss%@cam/x", "user", "p:ss%", "rtsp://cam/x"),
        ("rtsp://user:100%zz@cam/x", "user", "100%zz", "rtsp://cam/x"),
        ("rtsp://user:se/cr?e#t@cam:554/x", "user", "se/cr?e#t", "rtsp://cam:554/x"),
        ("rtsp://user:p@ss:w/rd%@cam/x", "user", "p@ss:w/rd%", "rtsp://cam/x"),
        ("rtsp://user:pässwörd@cam/x", "user", "pässwörd", "rtsp://cam/x"),
    ],
)
def test_credentials_in_the_url(url: str, username: str | None, password: str | None, shown: str) -> None:
    options = RtspOptions(url=url)
    assert opened(options) == (username, password)
    assert str(options.url) == shown
    assert f"url=StreamUrl({shown})" in repr(options)


@given(username=ANY, password=ANY)
def test_credentials_in_fields_of_their_own(username: str, password: str) -> None:
    options = HttpOptions.model_validate(
        {"url": "http://old:gone@cam/x", "username": username, "password": password}
    )
    assert opened(options) == (username, password)
    url = options.url_with_credentials()
    assert url.startswith("http://") and url.endswith("@cam/x")
    assert url.isascii() and not set(url.removesuffix("@cam/x")[7:]) & set("@/?# ")
    assert "gone" not in repr(options)


def test_one_field_wins_over_its_part_of_the_url() -> None:
    assert opened(RtspOptions(url="rtsp://a:b@cam/x", password="c")) == ("a", "c")
    assert opened(RtspOptions(url="rtsp://a:b@cam/x", username="c")) == ("c", "b")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://cam/video.cgi?user=admin&pwd=hunter2&x=1", "http://cam/video.cgi?user=admin&pwd=…&x=1"),
        ("http://cam/video.cgi?Password=hunter2", "http://cam/video.cgi?Password=…"),
        ("http://cam/live?api_key=hunter2#top", "http://cam/live?api_key=…#top"),
        ("http://cam/user=a_password=hunter2_channel=1.sdp", "http://cam/user=a_password=…_channel=1.sdp"),
        ("http://user:12/hunter2@cam/x", "http://user:12/…@cam/x"),
    ],
)
def test_a_password_elsewhere_in_the_url_is_not_shown(url: str, shown: str) -> None:
    options = HttpOptions(url=url)
    assert str(options.url) == shown
    assert "hunter2" not in repr(options)
    assert options.url_with_credentials() == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "no URL"),
        ("cam.local/x", "expected one that begins with rtsp:// or rtsps://"),
        ("http://cam/hunter2", "the URL begins with http://; expected rtsp:// or rtsps://"),
        ("file:///hunter2", "begins with file://"),
        ("rtsp://", "no valid host"),
        ("rtsp:///hunter2", "no valid host"),
        ("rtsp://user:hunter2@/x", "no valid host"),
        ("rtsp://user:hunter2@:554/x", "no valid host"),
        ("rtsp://user:hunter2@cam:rtsp/x", "no valid host and port"),
        ("rtsp://user:hunter2@[::1/x", "no valid host and port"),
        ("rtsp://user:hunter2@cam:0/x", "no such port"),
        ("rtsp://user:hunter2@cam:65536/x", "no such port"),
        ("rtsp://user:hunter2@cam:" + "9" * 5000, "no such port"),
        ("rtsp://user:hunter2@cam/a b", "space"),
        ("rtsp://user:hunter2@cam/a\r\nX: b", "control character"),
        ("rtsp://user:hunter2\x00@cam/a", "control character"),
        (["rtsp://user:hunter2@cam"], "no URL"),
        (f"rtsp://user:hunter2{'é' * 50}@cam/x", "too long for RTSP"),
    ],
)
def test_a_bad_url_is_one_line_without_the_password(url: object, expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RtspOptions.model_validate({"url": url})
    (one,) = caught.value.errors(include_input=False)
    assert expected in one["msg"]
    assert "\n" not in one["msg"]
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_longest_credentials_that_rtsp_can_carry() -> None:
    RtspOptions(url="rtsp://cam", username="u", password="x" * 125)
    with pytest.raises(ValidationError, match="too long for RTSP"):
        RtspOptions(url="rtsp://cam", username="u", password="x" * 126)
    HttpOptions(url="http://cam", username="u", password="x" * 500)


@given(st.text(max_size=40))
def test_whatever_the_text_there_is_a_url_or_one_line(rest: str) -> None:
    try:
        url = RTSP.parse(f"rtsp://{rest}")
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        credentials = encode_credentials(url.username or "", url.password or "")
        again = RTSP.parse(url.with_credentials(credentials))
        assert (again.host, again.port, again.path) == (url.host, url.port, url.path)
        assert (again.username or "", again.password or "") == (url.username or "", url.password or "")


@pytest.mark.parametrize("model", [RtspOptions, HttpOptions])
def test_the_options_are_documented(model: type[BaseModel]) -> None:
    properties = model.model_json_schema()["properties"]
    assert properties["url"]["type"] == "string"
    assert {"url", "username", "password", "threads", "stale_after", "retry"} <= set(properties)
    assert all(one.get("description") for one in properties.values())
    assert "default" not in properties["url"]


def test_options_reach_a_worker_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"url": "rtsp://u:hunter2@cam:99999/x", "password": "hunter2"}
    spec = ComponentSpec(
        kind="source",
        name="rtsp",
        target="streamfer.sources.network:RtspSource",
        options_model="streamfer.sources:RtspOptions",
        options=json.loads(json.dumps(options)),
    )
    with pytest.raises(StartError, match=r"source 'rtsp': url: .*no such port") as caught:
        build(spec)
    assert "hunter2" not in f"{caught.value} {spec!r}"
