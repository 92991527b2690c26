"""Page 5: the processes, and what they need of the machine."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from deploy.grafana.builder import panels, style
from deploy.grafana.builder.page import finish, page
from deploy.grafana.builder.panels import About, Column, Key, Query
from deploy.grafana.builder.queries import age, increase, or_zero, rate, ratio, select

_PROGRESS = select("streamfer_stage_progress_timestamp_seconds")
_RESTARTS = select("streamfer_stage_restarts_total")
_CPU = select("streamfer_worker_cpu_seconds_total")
_MEMORY = select("streamfer_worker_resident_memory_bytes")
_FILES = select("streamfer_worker_open_fds")
_CIRCUIT = select("streamfer_circuit_open")
_SILENT = f"{age(_PROGRESS)} unless on (instance, worker) {_CIRCUIT} == 1"
_FREE = {
    "disk": (select("streamfer_disk_free_bytes"), select("streamfer_disk_size_bytes")),
    "memory": (select("streamfer_shared_memory_free_bytes"), select("streamfer_shared_memory_size_bytes")),
}


def build() -> dashboard.Dashboard:
    return finish(
        page(
            "streamfer-service",
            "One service: its processes, the memory, time and space they need, and the books of its frames.",
        ),
        (4, _now()),
        (9, [_processes()]),
        (8, [_restarts(), _silence()]),
        (8, [_cpu(), _memory()]),
        (8, [_space(), _files()]),
        (8, [_ring(), _messages()]),
        (8, [_ledger()]),
    )


def _now() -> list[panels.Panel]:
    started = select("process_start_time_seconds")
    build = select("streamfer_build_info")
    return [
        panels.number(
            About(
                "Circuits open",
                "Processes that died too often and rest; the capture of a live stream is tried again each "
                "minute.",
                "none",
                style.ANY_IS_BAD,
            ),
            Query(f"sum ({_CIRCUIT})"),
            filled=True,
        ),
        panels.number(
            About(
                "Longest silence",
                "The time since the process that has been silent for longest gave a sign of life. One that "
                "gives none for 7 s is replaced.",
                "s",
                style.SILENCE,
            ),
            Query(f"max ({_SILENT})"),
            filled=True,
        ),
        panels.number(
            About(
                "Restarts",
                "Processes that died and were replaced, in the time shown.",
                "none",
                style.ANY_IS_BAD,
            ),
            Query(increase(_RESTARTS)),
            decimals=0,
        ),
        panels.number(
            About(
                "Bad messages",
                "Messages between processes that did not validate and were dropped, in the time shown.",
                "none",
                style.ANY_IS_BAD,
            ),
            Query(or_zero(increase(select("streamfer_bad_messages_total")))),
            decimals=0,
        ),
        panels.number(
            About("Up for", "Time since the supervisor started.", "dtdurations", no_value="down"),
            Query(f"time() - max ({started} and on (instance) {build})"),
        ),
        panels.number(
            About("Version", "The version of streamfer that runs.", "none", no_value="down"),
            Query(f"max by (version) ({build})", "{{version}}"),
            name=True,
        ),
    ]


def _processes() -> panels.Panel:
    by = ("worker", "stage")
    return panels.rows(
        About(
            "Processes",
            "Silent: since the last sign of life. Restarts: in the time shown. Memory counts pages that "
            "processes share, such as frames, in each of them. Circuit open: it died too often and rests.",
            "none",
            no_value="down",
        ),
        [Key("worker", "Process"), Key("stage", "Stage")],
        [
            Column("Silent", f"max by ({', '.join(by)}) ({_SILENT})", "s", style.SILENCE),
            Column("Restarts", increase(_RESTARTS, *by), "none", style.ANY_IS_BAD, decimals=0),
            Column("CPU", rate(_CPU, *by), style.CORES, decimals=2),
            Column("Memory", f"max by ({', '.join(by)}) ({_MEMORY})", "bytes"),
            Column("Open files", f"max by ({', '.join(by)}) ({_FILES})", "none"),
            Column("Circuit", f"max by ({', '.join(by)}) ({_CIRCUIT})", "none", mapping=style.CIRCUIT),
        ],
        sort="Silent",
    )


def _restarts() -> panels.Panel:
    return panels.graph(
        About(
            "Restarts by process",
            "Processes that died, or were silent for too long, and were replaced. The log says why.",
            "none",
            style.ANY_IS_BAD,
        ),
        Query(increase(_RESTARTS, "worker", over="$__rate_interval"), "{{worker}}"),
        bars=True,
    )


def _silence() -> panels.Panel:
    return panels.graph(
        About(
            "Silence",
            "How old the last sign of life of each process was when it was scraped. One that hangs climbs "
            "to 7 s and is replaced.",
            "s",
            style.SILENCE,
        ),
        Query(f"max by (worker) ({_SILENT})", "{{worker}}"),
    )


def _cpu() -> panels.Panel:
    return panels.graph(
        About("CPU", "Cores that each process keeps busy; one thread at work is 1.", style.CORES),
        Query(rate(_CPU, "worker"), "{{worker}}"),
    )


def _memory() -> panels.Panel:
    return panels.graph(
        About(
            "Memory",
            "Resident memory of each process, shared pages (frames) included. One that only climbs leaks.",
            "bytes",
        ),
        Query(f"max by (worker) ({_MEMORY})", "{{worker}}"),
    )


def _space() -> panels.Panel:
    free, size = _FREE["disk"]
    shared, whole = _FREE["memory"]
    return panels.graph(
        About(
            "Free space",
            "The free share of the file systems that sinks write to, and of the shared memory in which "
            "frames lie. A full disk ends the service; without shared memory a stream cannot start.",
            "percentunit",
            style.FREE,
            "no sink writes files",
        ),
        Query(ratio(f"min by (sink) ({free})", f"min by (sink) ({size})"), "{{sink}}"),
        Query(ratio(f"min ({shared})", f"min ({whole})"), "shared memory"),
        most=1,
    )


def _files() -> panels.Panel:
    return panels.graph(
        About(
            "Open files",
            "File descriptors of each process, sockets included. A number that only climbs is a leak.",
            "none",
            style.high_is_bad(500, 900),
        ),
        Query(f"max by (worker) ({_FILES})", "{{worker}}"),
    )


def _ring() -> panels.Panel:
    return panels.graph(
        About(
            "Frame rings of recordings",
            "The share of the slots that frames under way hold. Full: capture waits for what is slower, as "
            "it should. Live streams hold no slots.",
            "percentunit",
            no_value="no recordings",
        ),
        Query(
            ratio(
                f"sum by (stream) ({select('streamfer_ring_slots', state='leased')})",
                f"sum by (stream) ({select('streamfer_ring_slots')})",
            ),
            "{{stream}}",
        ),
        most=1,
    )


def _messages() -> panels.Panel:
    bad = rate(select("streamfer_bad_messages_total"))
    return panels.graph(
        About(
            "Bad messages per second",
            "Messages between processes that did not validate and were dropped. None is as it "
            "should be; otherwise something else writes into the sockets, or versions differ.",
            "suffix:messages/s",
            style.Limits("green", ((0.001, "red"),)),
        ),
        Query(or_zero(bad), "all stages"),
    )


def _ledger() -> panels.Panel:
    by = ("stream", "classifier", "sink")

    def frames(state: str) -> str:
        return f"sum by ({', '.join(by)}) ({select('streamfer_ledger_frames', state=state)})"

    return panels.rows(
        About(
            "The books of this run",
            "For each stream, classifier and sink: captured = delivered + dropped + under way. Frames under "
            "way are few in a live stream, and at most a ring of a recording.",
            "locale",
            no_value="no frames",
        ),
        [Key("stream", "Stream"), Key("classifier", "Classifier"), Key("sink", "Sink")],
        [
            Column("Captured", frames("captured"), "locale"),
            Column("Delivered", frames("delivered"), "locale"),
            Column("Dropped", frames("dropped"), "locale"),
            Column("Under way", frames("in_flight"), "locale"),
        ],
        sort="Dropped",
    )
