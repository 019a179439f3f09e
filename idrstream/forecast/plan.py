"""The result of `IdrStream.plan`, readable as text, HTML and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from idrstream.text import counted, format_duration, format_durations, format_size, short_path
from idrstream.visible import visible

State = Literal["ok", "failed", "unknown"]
_SIGNS = {"ok": "✔", "failed": "✖", "unknown": "?"}
_STYLE = """
.idrs-plan{color:inherit;font:14px/1.5 system-ui,sans-serif;max-width:52rem;padding:.6rem .8rem;
border:1px solid #8888;border-radius:6px}
.idrs-plan h3{font-size:1rem;margin:0 0 .4rem;overflow-wrap:anywhere}
.idrs-plan .wide{overflow-x:auto}
.idrs-plan table{border-collapse:collapse;color:inherit;font:inherit;width:100%;min-width:30rem}
.idrs-plan caption{text-align:left;font-weight:600;padding-top:.5rem}
.idrs-plan th,.idrs-plan td{text-align:left;vertical-align:top;padding:.1rem .8rem .1rem 0;
overflow-wrap:anywhere;background:transparent;color:inherit}
.idrs-plan th{white-space:nowrap}
.idrs-plan .failed{font-weight:700}
"""


@dataclass(frozen=True, slots=True)
class Check:
    """A check before the start.

    Attributes
    ----------
    what : str
        What was checked.
    state : {"ok", "failed", "unknown"}
        ``unknown`` does not keep a stream from starting.
    detail : str
        What was found.
    remedy : str
        What to do about it; empty if it is ok.
    """

    what: str
    state: State
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """An estimated number of bytes.

    Attributes
    ----------
    bytes : int
        The best estimate.
    low, high : int
        95 % interval where it comes from a sample; equal to `bytes` where it was counted, or
        is an upper bound.
    basis : str
        What it is based on.
    """

    bytes: int
    low: int
    high: int
    basis: str = ""

    def __str__(self) -> str:
        """Return it as text."""
        text, low, high = map(format_size, (self.bytes, self.low, self.high))
        if self.low != self.high:
            text = f"about {text}" if low == high else f"about {text} ({low} to {high})"
        return f"{text}; {self.basis}" if self.basis else text


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEstimate:
    """How long a stream will take, from a probe.

    Attributes
    ----------
    seconds : float
        From the call to its end.
    low_s, high_s : float
        Interval: from perfect overlap of the stages to none, wider by the 95 % interval of the
        differences between images, and by half of what was measured once. It always has a width,
        also as text.
    startup_s : float
        Share of it that comes once: models, first use.
    images : int
        Images that were probed.
    stages : dict
        Seconds of work for each image, by stage.
    """

    seconds: float
    low_s: float
    high_s: float
    startup_s: float
    images: int
    stages: dict[str, float]

    def __str__(self) -> str:
        """Return it as text."""
        best, startup = format_duration(self.seconds), format_duration(self.startup_s)
        between = format_durations(self.low_s, self.high_s)
        return f"about {best} ({between}), {startup} to start; from {counted(self.images, 'image')}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StreamPlan:
    """What a stream would do, what it needs, and whether it could start.

    Attributes
    ----------
    folder : str
        Output folder.
    images, batches : int
        Of the plan that it would follow.
    images_done, batches_done : int
        Those that are done, verified with the folder's journal.
    images_left, batches_left : int
        Those that it would process.
    download : Amount or None
        Bytes to download; None if no source states sizes.
    peak_disk : Amount or None
        Peak under ``tmp_dir``.
    output : Amount or None
        Size of the tables that are written.
    time : TimeEstimate or None
        How long it takes; only with a probe.
    checks : tuple of Check
        The checks.
    """

    folder: str
    images: int = 0
    batches: int = 0
    images_done: int = 0
    batches_done: int = 0
    images_left: int = 0
    batches_left: int = 0
    download: Amount | None = None
    peak_disk: Amount | None = None
    output: Amount | None = None
    time: TimeEstimate | None = None
    checks: tuple[Check, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether the stream can start."""
        return all(check.state != "failed" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "is_good": self.is_good}

    def __repr__(self) -> str:
        """Return it as text."""
        width = max((len(check.what) for check in self.checks), default=0)
        lines = [f"Plan for {short_path(self.folder)}"]
        lines += [f"{name:10}{text}" for name, text in self._facts()]
        lines.append("checks")
        for check in self.checks:
            lines.append(f"  {check.state:8}{check.what:{width}}  {check.detail}".rstrip())
            if check.remedy:
                lines.append(f"  {'':8}{'':{width}}  {check.remedy}")
        lines.append(self._verdict())
        return visible("\n".join(lines))

    def _repr_html_(self) -> str:
        """Return it for a notebook, light or dark, without scripts."""
        title = f"Plan for {escape(short_path(self.folder), quote=True)}"
        facts = "".join(
            f'<tr><th scope="row">{escape(name.capitalize())}</th><td>{escape(text)}</td></tr>'
            for name, text in self._facts()
        )
        checks = "".join(_check_row(check) for check in self.checks)
        heads = "".join(f'<th scope="col">{name}</th>' for name in ("Check", "Result", "Found"))
        return (
            f'<section class="idrs-plan" aria-label="{title}">'
            f"<style>{_STYLE}</style><h3>{title}</h3>"
            f"<div>{escape(self._verdict())}</div>"
            '<div class="wide" role="region" aria-label="Plan and checks" tabindex="0">'
            f"<table><tbody>{facts}</tbody></table>"
            f"<table><caption>Checks</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{checks}</tbody></table></div></section>"
        )

    def _facts(self) -> Sequence[tuple[str, str]]:
        if not self.images and not self.is_good:
            return []  # nothing could be planned
        rows = [
            ("images", f"{self.images_left:,} to do, {self.images_done:,} of {self.images:,} done"),
            (
                "batches",
                f"{self.batches_left:,} to do, {self.batches_done:,} of {self.batches:,} done",
            ),
        ]
        amounts = (
            ("download", self.download), ("peak disk", self.peak_disk), ("output", self.output),
        )  # fmt: skip
        rows += [(name, "unknown" if it is None else str(it)) for name, it in amounts]
        rows.append(("time", "not measured: use a probe" if self.time is None else str(self.time)))
        if self.time is not None:
            stages = ", ".join(f"{name} {value:.2f} s" for name, value in self.time.stages.items())
            rows.append(("an image", stages))
        return rows

    def _verdict(self) -> str:
        failed = [check.what for check in self.checks if check.state == "failed"]
        if failed:
            return f"Not ready: {', '.join(failed)}"
        return "Ready to start" if self.batches_left else "Nothing is left to do"


def _check_row(check: Check) -> str:
    remedy = f"<br>{escape(check.remedy)}" if check.remedy else ""
    return (
        f'<tr><th scope="row">{escape(check.what)}</th><td class="{check.state}">'
        f'<span aria-hidden="true">{_SIGNS[check.state]}</span> {check.state}</td>'
        f"<td>{escape(check.detail)}{remedy}</td></tr>"
    )
