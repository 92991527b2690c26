"""Passwords do not get out, however they are written."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamfer import redact as module
from streamfer.redact import add_secret, is_sensitive, redact, secrets_in


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test, and what runs after it in this process, begins without secrets."""
    monkeypatch.setattr(module, "_patterns", {})
    monkeypatch.setattr(module, "_compiled", None)
    yield


def forms(password: str, user: str) -> set[str]:
    """How a password may come to stand in a text, made by other means than the filter's own."""
    once = quote(password, safe="", errors="surrogatepass")
    shown = {password, repr(password)[1:-1], json.dumps(password)[1:-1], once, quote(once, safe="")}
    shown |= {once.lower() if "%" in once and password.islower() else once}
    try:
        shown |= {quote(password), quote_plus(password)}
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            shown.add(encode(f"{user}:{password}".encode()).decode())
    except UnicodeEncodeError:
        pass  # no such password can be sent
    return shown


TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
PIECES = st.sampled_from(
    ["…", "%", "%2", "25", "@", "://", "/", ":", "a", "b", "\\", '"', "'", " ", "+", "ü"]
)
PASSWORDS = st.one_of(
    st.text(min_size=3, max_size=24),
    st.lists(PIECES, min_size=3, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=()), min_size=3, max_size=8),  # lone surrogates among them
    st.text("ab", min_size=3, max_size=600),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PASSWORDS, TEXTS, TEXTS, TEXTS)
@example("a…b", "admin", "a", "b")
@example("p@ss/w:rd", "admin", "rtsp://admin:", "@camera/1")
def test_whatever_the_password_it_is_in_no_redacted_text(
    password: str, user: str, before: str, after: str
) -> None:
    module._patterns.clear()
    add_secret(password)
    for form in forms(password, user):
        for text in (form, before + form + after, f"{before} {form}{form} {after}"):
            found = redact(text)
            for other in forms(password, user):
                # An ellipsis where a password of nothing but ellipses and the like stood tells nothing.
                assert other not in found, (text, found, other)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=1, max_size=20))
@example("p@ss")
@example("p/a@s/s")
@example("1234/5")
@example("a://b")
def test_the_password_of_any_address_is_hidden_unregistered(password: str) -> None:
    secret = f"<{password}>"  # so that it is in no other part of the text
    if any(one.isspace() for one in secret):
        return  # where it is not encoded, the address ends there
    text = redact(f"cannot open rtsp://admin:{secret}@camera.local:554/live: no answer")
    assert secret not in text and "admin" not in text
    assert text == "cannot open rtsp://…@camera.local:554/live: no answer"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin@camera/1", "rtsp://…@camera/1"),
        ("'rtsp://u:p@h/1' failed", "'rtsp://…@h/1' failed"),
        ("http://cam/video?user=admin&pwd=hunter2&ch=1", "http://cam/video?user=admin&pwd=…&ch=1"),
        ("rtsp://cam/user=a&password=hunter2&channel=1", "rtsp://cam/user=a&password=…&channel=1"),
        ("http://[::1]:9108/metrics", "http://[::1]:9108/metrics"),
        ("https://host/@name", "https://host/@name"),
        ("mail a@b.c about x://", "mail a@b.c about x://"),
        ("", ""),
    ],
)
def test_addresses(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_short_values_are_not_registered_but_hidden_in_addresses() -> None:
    add_secret("ab")
    assert redact("ab rtsp://me:ab@cab/1") == "ab rtsp://…@cab/1"


def test_a_longer_secret_is_hidden_as_a_whole_beside_its_beginning() -> None:
    add_secret("hunter")
    add_secret("hunter2hunter")
    assert redact("hunter2hunter, hunter") == "…, …"


def test_what_options_hold_is_registered() -> None:
    secrets_in(
        {
            "url": "rtsp://me:in-the-url%21@camera/1",
            "password": "plain-one",
            "nested": {"api_key": ["in-a-list", {"any": "below-it"}], "name": "lobby"},
            "mirrors": ["http://host/x?token=in-a-query"],
            "password_file": "/etc/passwords/camera",
            "width": 640,
            "token": None,
        }
    )
    for secret in ("in-the-url%21", "in-the-url!", "plain-one", "in-a-list", "below-it", "in-a-query"):
        assert redact(f"it was {secret}.") == "it was ….", secret
    basic = base64.b64encode(b"me:in-the-url!").decode()
    assert redact(f"Authorization: Basic {basic}").startswith("Authorization: Basic ")
    assert basic[4:] not in redact(f"Authorization: Basic {basic}")
    assert redact("lobby 640 /etc/passwords/camera me") == "lobby 640 /etc/passwords/camera me"


def test_which_options_are_sensitive() -> None:
    for key in ("password", "passphrase", "api_key", "apikey", "accessToken", "client_secret", "pwd"):
        assert is_sensitive(key), key
    for key in ("path", "username", "password_file", "secret_key_path", "keys", "fps"):
        assert not is_sensitive(key), key


@pytest.mark.parametrize(
    "hostile",
    [
        "://" * 30_000,
        "@" * 90_000 + "://",
        "?" + "pass" * 40_000 + "=",
        "?a" * 40_000 + "=",
        "://:@" * 20_000 + "=",
    ],
)
def test_the_time_for_a_hostile_text_stays_in_bounds(hostile: str) -> None:
    add_secret("hunter2")
    began = time.process_time()
    redact(hostile)
    assert time.process_time() - began < 5  # quadratic would be minutes
