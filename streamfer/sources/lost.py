"""Says why a network source gives no frames: makes one clear line of FFmpeg's errors."""

from __future__ import annotations

import errno
import queue
import socket
import threading

import av.error

from streamfer.errors import SourceError
from streamfer.sources import NetworkOptions, RtspOptions
from streamfer.sources.urls import StreamUrl

_NO_WAY = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_TIMEOUT_SHARE = 0.9
"""An FFmpeg error that comes after this share of the time limit is due to the limit, whatever it says."""


def lost(
    error: av.error.FFmpegError, options: NetworkOptions, waited: float, *, reading: bool = False
) -> SourceError:
    """What an error of FFmpeg's means, `waited` seconds after the request or after the last frame."""
    url = options.url
    kind = "RTSP" if isinstance(options, RtspOptions) else "web"
    if waited >= options.stale_after * _TIMEOUT_SHARE or isinstance(
        error, av.error.ExitError | av.error.TimeoutError
    ):
        return silent(options) if reading else _no_answer(options)
    if reading:
        if isinstance(error, av.error.EOFError) or error.errno in _GONE:
            return ended(url)
        return SourceError("error", f"{url}: the stream broke off ({error.strerror}); it is opened again")
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            given = options.username or options.password or url.username
            wrong = "user name or password is wrong" if given else "it wants a user name and a password"
            code = 401 if isinstance(error, av.error.HTTPUnauthorizedError) else 403
            text = f"{wrong} ({code}); check 'username' and 'password'"
            return SourceError("unauthorized", f"{url}: {text}")
        case av.error.HTTPNotFoundError():
            return SourceError("not_found", f"{url}: no such path there (404); check the path of the URL")
        case av.error.HTTPServerError():
            text = f"the {kind} server reports an error of its own (5xx); see its log"
            return SourceError("error", f"{url}: {text}")
        case av.error.HTTPClientError():
            text = (
                f"the {kind} server refuses the request (4xx); check the path of the URL and the server's log"
            )
            return SourceError("error", f"{url}: {text}")
        case av.error.ConnectionRefusedError():
            text = "nobody listens there (connection refused); check host and port, and that the camera is on"
            return SourceError("refused", f"{url}: {text}")
        case av.error.InvalidDataError() if kind == "RTSP":
            text = "what answers there is no RTSP server, or one that hangs up; check host, port and path"
            return SourceError("no_video", f"{url}: {text}")
        case av.error.InvalidDataError() | av.error.ArgumentError():  # no format, or none that is allowed
            return no_video(url, "what the web server sends is no video that FFmpeg can read")
    if error.errno in _NO_WAY:
        return SourceError(
            "unreachable", f"{url}: no way to that host ({error.strerror}); check host name and network"
        )
    if isinstance(error, av.error.EOFError) or error.errno in _GONE:
        return ended(url)
    if error.errno == errno.EPROTONOSUPPORT and isinstance(options, RtspOptions):
        other = "udp" if options.transport == "tcp" else "tcp"
        text = f"the server does not send over {options.transport}; set 'transport: {other}'"
        return SourceError("error", f"{url}: {text}")
    if error.errno == errno.EIO and url.scheme in ("https", "rtsps"):
        text = f"no TLS connection with it; check the port, or use {url.scheme[:-1]}://"
        return SourceError("error", f"{url}: {text}")
    return SourceError("error", f"{url}: cannot be opened ({error.strerror}); see whether a player shows it")


def _no_answer(options: NetworkOptions) -> SourceError:
    text = f"no answer within {options.stale_after:g} s; check host and port, and that the camera is on"
    return SourceError("timeout", f"{options.url}: {text}")


def silent(options: NetworkOptions) -> SourceError:
    """Connected, but no frame comes."""
    text = f"no frame for {options.stale_after:g} s; check the camera and the network"
    if isinstance(options, RtspOptions) and options.transport == "udp":
        text += ", or set 'transport: tcp'"
    return SourceError("timeout", f"{options.url}: {text}")


def ended(url: StreamUrl) -> SourceError:
    """The other end has finished."""
    return SourceError("ended", f"{url}: the stream has ended; it is opened again")


def no_video(url: StreamUrl, what: str) -> SourceError:
    """Something answers, but not with video."""
    return SourceError("no_video", f"{url}: {what}; check the path of the URL")


def check_resolves(url: StreamUrl, timeout: float) -> None:
    """SourceError unless the host has an address.

    FFmpeg reports an unknown host as an input/output error, and no timeout ends its query: so ask first, in a
    thread, because nothing ends the system's query either.
    """
    answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            socket.getaddrinfo(url.host.strip("[]"), url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            answer.put(error.strerror or str(error) if isinstance(error, OSError) else "not a host name")
        else:
            answer.put(None)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        problem = answer.get(timeout=timeout)
    except queue.Empty:
        problem = f"no answer from the name server within {timeout:g} s"
    if problem is not None:
        raise SourceError(
            "unresolved",
            f"{url}: the host name cannot be resolved ({problem}); check it, and the name server",
        )
