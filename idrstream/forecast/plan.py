"""What `IdrStream.plan` returns: frozen, and readable as text, HTML and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from idrstream.folder.status_text import duration
from idrstream.schedule.disk.budget import size_text

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
    """Something that was looked at before the start.

    Attributes
    ----------
    what : str
        What was looked at.
    state : {"ok", "failed", "unknown"}
        ``unknown`` when it cannot be told; that does not keep a stream from starting.
    detail : str
        What was found.
    remedy : str
        What to do about it; empty when it is ok.
    """

    what: str
    state: State
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of bytes, as far as it can be told.

    Attributes
    ----------
    bytes : int
        The best guess.
    low, high : int
        95 % interval where it comes from a sample; equal to `bytes` where it was counted.
    basis : str
        Where it comes from.
    """

    bytes: int
    low: int
    high: int
    basis: str = ""

    def __str__(self) -> str:
        """Return it for a person."""
        text = size_text(self.bytes)
        if self.low != self.high:
            text = f"about {text} ({size_text(self.low)} to {size_text(self.high)})"
        return f"{text}; {self.basis}" if self.basis else text


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeEstimate:
    """How long a stream will take, from a probe.

    Attributes
    ----------
    seconds : float
        From the call to its end.
    low_s, high_s : float
        Interval: 95 % for the differences between images, and a tenth for what the model of the
        lanes leaves out.
    startup_s : float
        Part of it that comes once: models, first use.
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
        """Return it for a person."""
        return (
            f"about {duration(self.seconds)} ({duration(self.low_s)} to {duration(self.high_s)}), "
            f"{duration(self.startup_s)} of it to start; from {self.images} images"
        )


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
        Those that are done and proven by the folder's journal.
    images_left, batches_left : int
        Those that it would run.
    download : Amount or None
        Bytes to download; None when no source can tell.
    peak_disk : Amount or None
        The most under ``tmp_dir``.
    output : Amount or None
        Size of the tables that are written.
    time : TimeEstimate or None
        How long it takes; only with a probe.
    checks : tuple of Check
        What was looked at.
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
        """Whether nothing stands in the way of a start."""
        return all(check.state != "failed" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "is_good": self.is_good}

    def __repr__(self) -> str:
        """Return it as text for a person."""
        width = max((len(check.what) for check in self.checks), default=0)
        lines = [f"Plan for {self.folder}"]
        lines += [f"{name:10}{text}" for name, text in self._facts()]
        lines.append("checks")
        for check in self.checks:
            lines.append(f"  {check.state:8}{check.what:{width}}  {check.detail}".rstrip())
            if check.remedy:
                lines.append(f"  {'':8}{'':{width}}  {check.remedy}")
        lines.append(self._verdict())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return it for a notebook, light or dark, without scripts."""
        facts = "".join(
            f'<tr><th scope="row">{escape(name.capitalize())}</th><td>{escape(text)}</td></tr>'
            for name, text in self._facts()
        )
        checks = "".join(_check_row(check) for check in self.checks)
        heads = "".join(f'<th scope="col">{name}</th>' for name in ("Check", "Result", "Found"))
        return (
            f'<section class="idrs-plan" aria-label="Plan for {escape(self.folder, quote=True)}">'
            f"<style>{_STYLE}</style><h3>Plan for {escape(self.folder)}</h3>"
            f"<div>{escape(self._verdict())}</div>"
            '<div class="wide" role="region" aria-label="Plan and checks" tabindex="0">'
            f"<table><tbody>{facts}</tbody></table>"
            f"<table><caption>Checks</caption><thead><tr>{heads}</tr></thead>"
            f"<tbody>{checks}</tbody></table></div></section>"
        )

    def _facts(self) -> Sequence[tuple[str, str]]:
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
        rows += [(name, "cannot be told" if it is None else str(it)) for name, it in amounts]
        rows.append(("time", "not measured: give a probe" if self.time is None else str(self.time)))
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
