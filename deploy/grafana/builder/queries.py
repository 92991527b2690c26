"""The pieces of PromQL that more than one panel uses."""

from __future__ import annotations

from functools import partial

STATES = ("live", "connecting", "stale", "reconnecting", "failed")
"""Of a live stream; a state's code in graphs is its place here, from 1 on. 0 is a recording: it has none."""

NO_PROCESS = len(STATES) + 1
"""The code of a stream whose capture process is not there."""

_INTERVAL = "$__rate_interval"
_LEDGER = "streamfer_ledger_frames"


def select(metric: str, *variables: str, **labels: str) -> str:
    """A selector of what the page's variables say, of which `instance` is always one, and of fixed labels.

    A label is one value, "a|b" for either, or "!a|b" for neither.
    """
    matchers = [f'{name}=~"${name}"' for name in ("instance", *variables)]
    for name, value in labels.items():
        operator = "!~" if value.startswith("!") else "=~" if "|" in value else "="
        matchers.append(f'{name}{operator}"{value.removeprefix("!")}"')
    return f"{metric}{{{','.join(matchers)}}}"


def rate(selector: str, *by: str) -> str:
    """Events per second, summed up."""
    return f"{_sum(by)} (rate({selector}[{_INTERVAL}]))"


def increase(selector: str, *by: str, over: str = "$__range") -> str:
    """Events in a span of time, by default the one that is shown, summed up."""
    return f"{_sum(by)} (increase({selector}[{over}]))"


def ratio(part: str, whole: str) -> str:
    """A part of a whole; the labels of both are the same."""
    return _defined(f"{part}\n/ {whole}")


def quantile(share: float, buckets: str, *by: str) -> str:
    """A quantile of a histogram."""
    return _defined(f"histogram_quantile({share}, {rate(buckets, 'le', *by)})")


def or_zero(expression: str) -> str:
    """0 where there is nothing, because nothing has happened yet."""
    return f"({expression}) or vector(0)"


def state_code(*by: str) -> str:
    """The state of each stream as a number, see STATES.

    For a moment the state of a stream whose capture process is dead may be its last one.
    """
    state = partial(select, "streamfer_stream_state", "stream")
    codes = [f"({state(state=name)} == 1) * {code}" for code, name in enumerate(STATES, 1)]
    dead = f"({state(state='live')} == 1 unless on (instance, stream) streamfer_stream_up) * {NO_PROCESS}"
    sources = select("streamfer_stream_info", "stream")
    recording = f"0 * ({sources} unless on (instance, stream) streamfer_stream_state)"
    alternatives = "\nor ".join([dead, *codes, recording])
    return f"max by ({', '.join(by)}) (\n{alternatives}\n)"


def delivered(*by: str) -> str:
    """Frames per second that every classifier and sink has had: what the slowest of them gets."""
    frames = select(_LEDGER, "stream", state="delivered")
    slowest = f"min by (instance, stream) (rate({frames}[{_INTERVAL}]))"
    return f"{_sum(by)} ({slowest})"


def drop_ratio(*by: str) -> str:
    """The share of the frames to be analysed that a sink did not get; of the sink that got the least.

    Frames left out because the configuration says so (`fps_cap`) are not among them. The ledger counts a
    frame once per classifier and sink; the counters of the stages may count it once in each of several.
    """
    account = ("instance", "stream", "classifier", "sink")
    dropped = partial(select, "streamfer_ledger_dropped_frames", "stream")
    unwanted = "fps_cap|earlier_run"
    captured = rate(select(_LEDGER, "stream", state="captured"), *account)
    lost = rate(dropped(reason=f"!{unwanted}"), *account)
    left_out = rate(dropped(reason=unwanted), *account)
    group = f" by ({', '.join(by)})" if by else ""
    return f"max{group} (\n({lost}\nor 0 * {captured})\n/ (({captured}\n- {left_out}\nor {captured}) > 0)\n)"


def frame_age(*by: str) -> str:
    """How old the newest frame of a live stream was when it was scraped; of several streams, the oldest."""
    captured = select("streamfer_frame_captured_timestamp_seconds", "stream")
    group = f" by ({', '.join(by)})" if by else ""
    return f"max{group} ({of_live_streams(age(captured))})"


def age(timestamps: str) -> str:
    """How long ago something was when it was scraped; a scrape bears the time at which it began."""
    return f"clamp_min(timestamp({timestamps}) - {timestamps}, 0)"


def of_live_streams(expression: str) -> str:
    """Without recordings, which wait where live streams drop; the expression has the labels of streams."""
    return f"{expression} and on (instance, stream) streamfer_stream_state"


def latency(share: float, *by: str) -> str:
    """A quantile of the time from capture to sink of live streams."""
    buckets = select("streamfer_end_to_end_seconds_bucket", "stream")
    rates = of_live_streams(f"rate({buckets}[{_INTERVAL}])")
    return _defined(f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) ({rates}))")


def flicker(*by: str) -> str:
    """Label changes per second of a followed face."""
    changes = select("streamfer_label_changes_total", "stream", "classifier")
    seconds = select("streamfer_track_seconds_total", "stream", "classifier")
    return ratio(rate(changes, *by), rate(seconds, *by))


def label_share(predictions: str, *by: str, over: str = "$__range", offset: str = "") -> str:
    """The share of each label among the predictions, for each of `by`."""
    shift = f" offset {offset}" if offset else ""
    rise = f"increase({predictions}[{over}]{shift})"
    if not by:
        return _defined(f"sum by (label) ({rise})\n/ scalar(sum ({rise}))")
    names = ", ".join(by)
    whole = f"ignoring (label) group_left () sum by ({names}) ({rise})"
    return _defined(f"sum by (label, {names}) ({rise})\n/ {whole}")


def drift(predictions: str, over: str) -> str:
    """How far the labels are from those of the day before: 0 the same, 1 nothing in common.

    Half the sum of the differences of the shares (the total variation distance); nothing where one of the
    two days has no predictions.
    """
    now = label_share(predictions, over=over)
    before = label_share(predictions, over=over, offset="1d")
    return (
        f"sum (abs(\n(({now}) - ({before}))\nor ({now})\nor ({before})\n)) / 2\n"
        f"and on () sum ({now})\nand on () sum ({before})"
    )


def _defined(expression: str) -> str:
    """Without what is no number: 0 of 0, or a quantile of nothing."""
    return f"{expression}\n>= 0"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
