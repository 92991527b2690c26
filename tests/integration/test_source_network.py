"""Network sources against real servers: what comes, what gets lost, and what is said when nothing comes."""

from __future__ import annotations

import gc
import io
import socket
import struct
import threading
import time
import traceback
import wave
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamfer.api import Source, SourceFrame
from streamfer.errors import SourceError
from streamfer.sources import HttpOptions, RtspOptions
from streamfer.sources.network import HttpSource, RtspSource
from streamfer.testing import check_live_source
from tests import rtsp
from tests.clips import SAMPLE, make_clip, moving_pattern
from tests.relay import Relay
from tests.rtsp import RtspServer
from tests.webserver import WebServer

needs_rtsp = pytest.mark.skipif(rtsp.missing() is not None, reason=str(rtsp.missing()))
USER, PASSWORD = "us er", "p@ss:w/rd%41é"
STALE = 1.0
SLACK = 1.0
"""Seconds that a busy machine may take on top of `stale_after`."""


def camera(url: str, **options: object) -> RtspSource:
    return RtspSource(RtspOptions.model_validate({"url": url, "stale_after": STALE, **options}))


def web(url: str, **options: object) -> HttpSource:
    return HttpSource(HttpOptions.model_validate({"url": url, "stale_after": STALE, **options}))


def some(source: Source, number: int) -> list[SourceFrame]:
    """The first frames of a source."""
    try:
        source.open()
        return list(islice(source.frames(), number))
    finally:
        source.close()


def failure(source: Source, during: Callable[[], object] = lambda: None) -> tuple[SourceError, float]:
    """Open the source and read until it fails, `during` being done after the third frame; the error, and how
    many seconds it took from then (or from the start, if it failed before)."""
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        source.open()
        for number, _ in enumerate(source.frames()):
            if number == 2:
                during()
                began = time.monotonic()
            assert time.monotonic() - began < 20, "frames go on and on"
    took = time.monotonic() - began
    source.close()
    text = str(caught.value)
    assert "\n" not in text and "; " in text  # one line, with what to do
    assert text.startswith(("rtsp://", "http://", "https://"))
    return caught.value, took


def sizes(frames: list[SourceFrame]) -> set[tuple[int, int]]:
    return {(frame.picture.width, frame.picture.height) for frame in frames}


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    """One server for all tests that leave it as it is."""
    streams = (
        "cam",
        "b?bframes=2&fps=50",
        "changing?change=0.4&to=480x360&fps=50",
        "forward?jump=0.4:1000&fps=50",
        "backward?jump=0.4:-1000&fps=50",
        "sound?audio=1",
        f"faces?clip={SAMPLE}&size=640x360&fps=50&seconds=2",
    )
    with RtspServer(*streams) as running:
        yield running


# ---- RTSP: frames ------------------------------------------------------------------------------------------


@needs_rtsp
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_come(server: RtspServer, transport: str) -> None:
    source = camera(server.url(), transport=transport)
    info = source.open()
    assert (info.width, info.height) == (320, 240)
    assert info.frames is None and info.duration is None
    assert info.description.startswith("h264 yuv420p")
    frames = list(islice(source.frames(), 30))
    source.close()
    assert sizes(frames) == {(320, 240)}
    # With a viewer there already it begins anywhere; the next key frame comes within a second.
    assert not frames[-1].corrupt
    times = [frame.pts for frame in frames if frame.pts is not None]
    assert np.allclose(np.diff(times[1:]), 1 / 25, atol=1e-3)


@needs_rtsp
def test_the_contract_of_live_sources(server: RtspServer) -> None:
    check_live_source(lambda: camera(server.url("b")))


@needs_rtsp
def test_pictures_of_b_frames_are_in_order(server: RtspServer) -> None:
    """The ball of the synthetic stream moves on steadily: a picture out of order would make it jump back."""
    frames = some(camera(server.url("b")), 60)[-30:]
    assert not any(frame.corrupt for frame in frames)
    times = [frame.pts for frame in frames]
    assert None not in times and times == sorted(times)  # type: ignore[type-var]
    steps = [
        np.abs(after.picture.y.astype(int) - before.picture.y).mean() for before, after in pairwise(frames)
    ]
    assert max(steps) < 3 * np.median(steps) + 0.5


@needs_rtsp
def test_another_size_midway(server: RtspServer) -> None:
    frames = some(camera(server.url("changing")), 40)
    assert [sizes([frames[0]]), sizes([frames[-1]])] == [{(320, 240)}, {(480, 360)}]
    assert sizes(frames) == {(320, 240), (480, 360)}


@needs_rtsp
@pytest.mark.parametrize("path", ["forward", "backward"])
def test_pts_that_jump_are_passed_on(server: RtspServer, path: str) -> None:
    frames = some(camera(server.url(path)), 40)
    times = [frame.pts for frame in frames if frame.pts is not None]
    jumps = np.abs(np.diff(times)) > 900
    assert jumps.sum() == 1
    assert len(frames) == 40 and not any(frame.corrupt for frame in frames)


@needs_rtsp
def test_the_sample_clip_is_played(server: RtspServer) -> None:
    """What the end-to-end tests of live mode look at."""
    frames = some(camera(server.url("faces")), 120)  # more than there is before it begins again
    assert sizes(frames) == {(640, 360)}
    assert frames[-1].picture.y.std() > 20
    times = [frame.pts for frame in frames if frame.pts is not None]
    assert times == sorted(times)


@needs_rtsp
def test_a_viewer_who_comes_later_sees_a_sign_of_life_at_once(server: RtspServer) -> None:
    """Until the next key frame there is nothing to be analysed, but the camera is not silent."""
    first = camera(server.url("faces"))
    first.open()
    list(islice(first.frames(), 5))
    frames = some(camera(server.url("faces")), 40)
    first.close()
    corrupt = [frame.corrupt for frame in frames]
    assert corrupt[0] and not corrupt[-1]
    assert corrupt == sorted(corrupt, reverse=True)


# ---- RTSP: credentials -------------------------------------------------------------------------------------


@needs_rtsp
def test_credentials(capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer("cam", user=USER, password=PASSWORD) as server:
        assert some(camera(server.url(), username=USER, password=PASSWORD), 3)
        encoded = server.url().replace("//", "//us%20er:p%40ss%3Aw%2Frd%2541%C3%A9@")
        assert some(camera(encoded), 3)

        error, _ = failure(camera(server.url()))
        assert error.reason == "unauthorized"
        assert "wants a user name and a password (401)" in str(error)
        for wrong in (
            camera(server.url(), username=USER, password="hunter2@/%"),
            camera(server.url().replace("//", "//user:hunter2@/%@")),
        ):
            error, _ = failure(wrong)
            assert error.reason == "unauthorized"
            assert "password is wrong (401)" in str(error)
            assert "hunter2" not in "".join(traceback.format_exception(error))
    assert capfd.readouterr() == ("", "")  # FFmpeg keeps quiet too


# ---- RTSP: what can be wrong -------------------------------------------------------------------------------


@needs_rtsp
def test_no_such_path(server: RtspServer) -> None:
    error, _ = failure(camera(server.url("nowhere")))
    assert error.reason == "not_found"
    assert str(error) == f"{server.url('nowhere')}: no such path there (404); check the path of the URL"


@needs_rtsp
def test_sound_only(server: RtspServer) -> None:
    error, _ = failure(camera(server.url("sound")))
    assert error.reason == "no_video"


@needs_rtsp
@pytest.mark.parametrize(("allowed", "wanted"), [("tcp", "udp"), ("udp", "tcp")])
def test_the_other_transport_is_suggested(allowed: str, wanted: str) -> None:
    with RtspServer("cam?seconds=1", transport=allowed) as server:
        error, _ = failure(camera(server.url(), transport=wanted))
        assert error.reason == "error"
        assert str(error).endswith(f"set 'transport: {allowed}'")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port: int = unused.getsockname()[1]
        return port


@pytest.mark.parametrize("build", [camera, web])
def test_nobody_listens(build: Callable[[str], Source]) -> None:
    scheme = "rtsp" if build is camera else "http"
    error, took = failure(build(f"{scheme}://127.0.0.1:{free_port()}/x"))
    assert error.reason == "refused"
    assert took < STALE


@pytest.mark.parametrize("build", [camera, web])
@pytest.mark.parametrize("host", ["nonexistent.invalid", "." * 3, "a" * 80])
def test_a_host_that_does_not_resolve(build: Callable[[str], Source], host: str) -> None:
    scheme = "rtsp" if build is camera else "http"
    error, took = failure(build(f"{scheme}://u:hunter2@{host}/x"))
    assert error.reason == "unresolved"
    assert "hunter2" not in str(error)
    assert took < STALE + SLACK


@pytest.mark.parametrize("build", [camera, web])
def test_a_server_that_accepts_and_is_silent(build: Callable[[str], Source]) -> None:
    scheme = "rtsp" if build is camera else "http"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error, took = failure(build(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"))
    assert error.reason == "timeout"
    assert "no answer within 1 s" in str(error)
    assert STALE * 0.9 <= took < STALE + SLACK


@pytest.mark.parametrize(("build", "reason"), [(camera, "no_video"), (web, "ended")])
def test_a_server_that_slams_the_door(build: Callable[[str], Source], reason: str) -> None:
    """It takes the request and resets the connection. FFmpeg's RTSP client takes that for a wrong answer."""

    def slam() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    scheme = "rtsp" if build is camera else "http"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        thread = threading.Thread(target=slam)
        thread.start()
        error, took = failure(build(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/x"))
        thread.join()
    assert error.reason == reason
    assert took < STALE


def test_a_web_server_is_no_rtsp_server() -> None:
    with WebServer() as server:
        error, _ = failure(camera(server.url("/x").replace("http", "rtsp")))
    assert error.reason == "no_video"


# ---- RTSP: while it runs -----------------------------------------------------------------------------------


@needs_rtsp
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_paused_killed_and_back(transport: str) -> None:
    with RtspServer("cam?seconds=1") as server:
        source = camera(server.url(), transport=transport)
        error, took = failure(source, server.pause)
        assert error.reason == "timeout"
        assert STALE * 0.9 <= took < STALE + SLACK
        error, took = failure(source)  # it does not even answer
        assert error.reason == "timeout"
        assert took < STALE + SLACK
        server.resume()
        error, took = failure(source, server.stop)
        assert error.reason in ("ended", "error")
        assert took < STALE
        error, _ = failure(source)
        assert error.reason == "refused"
        server.start()
        assert some(source, 5)


@needs_rtsp
def test_a_stall_on_the_way(server: RtspServer) -> None:
    with Relay(server.port) as relay:
        error, took = failure(camera(relay.url()), relay.stall)
    assert error.reason == "timeout"
    assert STALE * 0.9 <= took < STALE + SLACK


@needs_rtsp
def test_a_hang_up(server: RtspServer) -> None:
    with Relay(server.port) as relay:
        error, took = failure(camera(relay.url()), relay.hang_up)
    assert error.reason == "ended"
    assert took < STALE


@needs_rtsp
@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes(server: RtspServer, seed: int) -> None:
    """Frames go on, and the damaged ones are told from the sound ones."""
    with Relay(server.port, flip=2e-5, seed=seed) as relay:
        frames = some(camera(relay.url("faces")), 150)
        assert relay.damaged
    assert len(frames) == 150
    assert any(frame.corrupt for frame in frames)


@needs_rtsp
def test_lost_packets(server: RtspServer) -> None:
    with Relay(server.port, lose=0.02, seed=5) as relay:
        frames = some(camera(relay.url("faces")), 150)
        assert relay.damaged
    corrupt = [frame.corrupt for frame in frames]
    assert len(corrupt) == 150
    assert any(corrupt) and not all(corrupt)


@needs_rtsp
@pytest.mark.parametrize("drop", [1e-4, 1e-2])
def test_missing_bytes_end_in_one_line_at_worst(server: RtspServer, drop: float) -> None:
    """Bytes lost without a trace (TCP does not do that) take RTSP out of step."""
    with Relay(server.port, drop=drop, flip=1e-4, intact=3000, seed=1) as relay:
        source = camera(relay.url("faces"))
        for _ in range(3):
            try:
                some(source, 60)
            except SourceError as error:
                assert "\n" not in str(error)


@needs_rtsp
def test_opened_again_and_again_nothing_is_left(server: RtspServer) -> None:
    source, refused = camera(server.url()), camera(server.url("nowhere"))

    def once() -> None:
        some(source, 2)
        with pytest.raises(SourceError):
            refused.open()

    def held() -> tuple[int, int]:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    watching = camera(server.url())  # keeps the stream running, so that opening it takes no second
    watching.open()
    for _ in range(3):
        once()
    before = held()
    for _ in range(30):
        once()
    deadline = time.monotonic() + 10  # a thread that asked for an address may be about to end
    while held() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert held() == before
    watching.close()


# ---- HTTP --------------------------------------------------------------------------------------------------


def jpegs(number: int) -> list[bytes]:
    return [cv2.imencode(".jpg", moving_pattern(index))[1].tobytes() for index in range(number)]


def sound() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(160_000))
    return content.getvalue()


def test_mjpeg() -> None:
    with WebServer(images=jpegs(10), fps=100) as server:
        source = web(server.url("/mjpeg"))
        info = source.open()
        assert (info.width, info.height) == (320, 240)
        frames = list(islice(source.frames(), 50))
        source.close()
        assert len(frames) == 50 and not any(frame.corrupt for frame in frames)
        assert all(frame.pts is None for frame in frames)  # it carries no time stamps
        assert np.abs(frames[0].picture.y.astype(int) - frames[10].picture.y).mean() < 1
        assert np.abs(frames[0].picture.y.astype(int) - frames[5].picture.y).mean() > 5
        check_live_source(lambda: web(server.url("/mjpeg")))


@pytest.mark.parametrize("path", ["/stall", "/rubbish"])
def test_mjpeg_that_stalls(path: str) -> None:
    """Also where data goes on coming: what counts is frames."""
    with WebServer(images=jpegs(10), fps=100) as server:
        error, took = failure(web(server.url(path)))
    assert error.reason == "timeout"
    assert took < STALE + SLACK


@pytest.mark.parametrize("flags", ["", "faststart"])
def test_a_file_plays_at_its_own_pace_and_ends(tmp_path: Path, flags: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=25, options={"movflags": flags} if flags else None)
    with WebServer({"/clip.mp4": ("video/mp4", clip.read_bytes())}) as server:
        source = web(server.url("/clip.mp4"))
        source.open()
        began, frames = time.monotonic(), []
        with pytest.raises(SourceError) as caught:
            for frame in source.frames():
                frames.append(frame)
        source.close()
    assert caught.value.reason == "ended"
    assert [frame.pts for frame in frames] == pytest.approx([index / 25 for index in range(25)])
    assert time.monotonic() - began > 0.9  # not as fast as the network


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/html", b"<!DOCTYPE html><html><body>camera</body></html>"),
        ("text/html", b"<html><body>" + b"lorem ipsum " * 100_000),
        ("text/plain", b"No video here.\n" * 1000),
        ("video/mp4", b""),
        ("video/mp4", np.random.default_rng(0).bytes(300_000)),
        ("image/jpeg", b"\xff\xd8\xff"),
        ("audio/wav", sound()),
        ("text/plain", b"ffconcat version 1.0\nfile /etc/hostname\n"),
    ],
    ids=["html", "long-html", "text", "empty", "noise", "torn-image", "sound", "list-of-files"],
)
def test_what_is_no_video(kind: str, content: bytes) -> None:
    for path in ("/stream", "/video.txt"):
        with WebServer({path: (kind, content)}) as server:
            error, took = failure(web(server.url(path)))
        assert error.reason == "no_video"
        assert took < STALE + SLACK


@pytest.mark.parametrize("local", [False, True])
def test_a_playlist_names_nothing_but_the_web(tmp_path: Path, local: bool) -> None:
    clip = make_clip(tmp_path / "clip.ts", frames=25)
    segment = f"file:{clip}" if local else "clip.ts"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{segment}\n#EXT-X-ENDLIST\n"
    files = {
        "/live.m3u8": ("application/vnd.apple.mpegurl", playlist.encode()),
        "/clip.ts": ("video/mp2t", clip.read_bytes()),
    }
    with WebServer(files) as server:
        source = web(server.url("/live.m3u8"))
        if local:
            assert failure(source)[0].reason == "no_video"
        else:
            assert sizes(some(source, 20)) == {(320, 240)}


def test_web_server_refuses() -> None:
    with WebServer(images=jpegs(2), user=USER, password=PASSWORD) as server:
        assert some(web(server.url("/mjpeg"), username=USER, password=PASSWORD), 3)
        error, _ = failure(web(server.url("/mjpeg"), username=USER, password="hunter2"))
        assert error.reason == "unauthorized"
        assert "hunter2" not in "".join(traceback.format_exception(error))
        error, _ = failure(web(server.url("/nowhere"), username=USER, password=PASSWORD))
        assert error.reason == "not_found"


def test_no_tls_there() -> None:
    with WebServer() as server:
        error, _ = failure(web(server.url("/x").replace("http", "https")))
    assert error.reason == "error"
    assert "no TLS connection" in str(error)
