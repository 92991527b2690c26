"""The URL of a camera: taken apart, credentials kept where nothing shows them, put together for FFmpeg."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(?P<port>[0-9]+))?")
_AUTHORITY_END = re.compile(r"[/?#]")
_SECRET = re.compile(
    r"((?:pass(?:word|wd|phrase)?|pwd|token|secret|auth|api_?key)=).*?(?=_channel|_stream|[&/;?#]|$)",
    re.IGNORECASE,
)
"""A password in a path or query: `?user=a&pwd=b`, `/user=a_password=b_channel=1_stream=0.sdp`."""
_LITERAL = "!$&'()*+,;="
"""What credentials may contain as it is, besides letters, digits and "-._~" (RFC 3986, 3.2.1)."""

CREDENTIALS_MAX = 127
"""Bytes of percent-encoded "user:password" that FFmpeg's RTSP client keeps (rtsp.h: `auth[128]`)."""


@dataclass(frozen=True)
class StreamUrl:
    """Where a stream is. `str` and `repr` show neither user name nor password."""

    scheme: str
    host: str
    port: int | None
    path: str
    """Everything behind host and port: path and query."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        path = _SECRET.sub(r"\1…", self.path)
        if "@" in path:  # what looks like a path may be a password with a slash in it
            path = "/…@" + path.rpartition("@")[2]
        return f"{self.scheme}://{self._authority}{path}"

    def __repr__(self) -> str:
        return f"StreamUrl({self})"

    @property
    def _authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def with_credentials(self, credentials: str) -> str:
        """The URL with these percent-encoded credentials in it, if any, instead of its own."""
        userinfo = credentials and f"{credentials}@"
        return f"{self.scheme}://{userinfo}{self._authority}{self.path}"


@dataclass(frozen=True)
class UrlFormat:
    """What a URL must begin with: one of `schemes`."""

    schemes: tuple[str, ...]

    def parse(self, value: object) -> StreamUrl:
        """The URL in a text; ValueError with one line, without credentials, if there is none in it.

        User name and password may be percent-encoded. Those that are not may contain '@', ':', most '%', and
        '/' unless what stands before it looks like a host.
        """
        if isinstance(value, StreamUrl):
            return value
        begins = " or ".join(f"{scheme}://" for scheme in self.schemes)
        match = _SCHEME.match(value) if isinstance(value, str) else None
        if not isinstance(value, str) or match is None:
            raise ValueError(f"this is no URL; expected one that begins with {begins}")
        scheme = match[1].lower()
        if scheme not in self.schemes:
            raise ValueError(f"the URL begins with {scheme}://; expected {begins}")
        if re.search(r"[\s\x00-\x1f\x7f]", value):
            raise ValueError("a space or control character in the URL; write a space as %20")
        credentials, host, path = _split(value[match.end() :])
        username, colon, password = credentials.partition(":")
        found = _HOST.fullmatch(host)
        if found is None:
            raise ValueError(
                f"no valid host and port in the URL; expected {scheme}://HOST:PORT/PATH (a user name or "
                "password with special characters goes into the options 'username' and 'password')"
            )
        port = None if found["port"] is None else int(found["port"][:6])
        if port is not None and not 0 < port < 65536:
            raise ValueError("there is no such port as the URL names; expected 1 to 65535")
        return StreamUrl(
            scheme,
            found["host"],
            port,
            path,
            unquote(username) if credentials else None,
            unquote(password) if colon else None,
        )

    def schema(self) -> dict[str, str]:
        """The same as JSON Schema."""
        return {"type": "string", "pattern": f"^(?i:{'|'.join(self.schemes)})://"}


def encode_credentials(username: str, password: str) -> str:
    """ "user:password", percent-encoded; empty if both are."""
    return f"{quote(username, _LITERAL)}:{quote(password, _LITERAL)}" if username or password else ""


RTSP = UrlFormat(("rtsp", "rtsps"))
HTTP = UrlFormat(("http", "https"))


def _split(rest: str) -> tuple[str, str, str]:
    """What follows "scheme://" as credentials, host with port, and path with query."""
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    credentials, _, host = authority.rpartition("@")
    path = rest[len(authority) :]
    if _HOST.fullmatch(host) is None and "@" in path:  # a password with a slash in it
        credentials, _, behind = rest.rpartition("@")
        host = _AUTHORITY_END.split(behind, maxsplit=1)[0]
        path = behind[len(host) :]
    return credentials, host, path
