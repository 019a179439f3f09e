"""The picture of a stream as HTML: for notebooks, light or dark, without scripts.

Text has the notebook's own colour, so that it can be read on any background; bars are a blue that
stands out from black and from white alike. Nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from idrstream.folder.status import Status
from idrstream.watch.picture import RecentFailure, facts, picture, shown, state_text

_SIGNS = {"running": "▶", "paused": "⏸", "done": "✔", "stopped": "■", "died": "✖"}
# 3:1 and more against white and against black (WCAG 2.2, 1.4.11).
_BLUE, _AMBER = "#3b82f6", "#b7791f"
_STYLE = """
.idrs{color:inherit;font:14px/1.5 system-ui,sans-serif;max-width:46rem;padding:.6rem .8rem;
border:1px solid #8888;border-radius:6px}
.idrs h3{font-size:1rem;margin:0 0 .4rem;overflow-wrap:anywhere}
.idrs .state{font-weight:700}
.idrs dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;margin:.3rem 0}
.idrs dt{font-weight:600}
.idrs dd{margin:0;overflow-wrap:anywhere}
.idrs .bar{display:block;height:10px;border:1px solid #888;border-radius:5px;overflow:hidden;
margin:.15rem 0 .1rem}
.idrs .bar span{display:block;height:100%}
.idrs .lanes .bar{display:inline-block;width:6rem;vertical-align:middle;margin:0 .5rem 0 0}
.idrs table{border-collapse:collapse;margin-top:.4rem;width:100%;min-width:34rem;
color:inherit;font:inherit}
.idrs caption{text-align:left;font-weight:600}
.idrs th,.idrs td{text-align:left;vertical-align:top;padding:.1rem .6rem .1rem 0;
overflow-wrap:anywhere;background:transparent;color:inherit}
.idrs :is(th,td):not(:last-child){white-space:nowrap}
.idrs .wide{overflow-x:auto}
@media print{.idrs{break-inside:avoid}}
"""


def picture_html(status: Status, failures: Sequence[RecentFailure] = ()) -> str:
    """Return the picture of a stream as a piece of HTML.

    Parameters
    ----------
    status : Status
        How far it is.
    failures : sequence of RecentFailure
        What failed last.

    Returns
    -------
    str
        A section with its own style and no script; all texts are escaped.
    """
    words = dict(facts(status))
    words.pop("lanes", None)
    rows = [
        _row("Batches", _bar("batches", status.batches_done, status.batches) + _batches(status)),
        _row("Images", _images(status)),
        *(_row(name.capitalize(), escape(text)) for name, text in words.items()),
        _lanes(status),
    ]
    if status.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in status.failures.items())
        rows.append(_row("Failures", escape(kinds)))
    return (
        f'<section class="idrs" aria-label="Stream in {escape(status.folder, quote=True)}">'
        f"<style>{_STYLE}</style>"
        f"<h3>{escape(status.folder)}</h3>"
        f"<div>{_state(status)}</div><dl>{''.join(rows)}</dl>{_table(failures)}</section>"
    )


def picture_text(status: Status, failures: Sequence[RecentFailure] = ()) -> str:
    """Return the same as text, for displays that have no HTML."""
    return "\n".join(picture(status, failures, width=200))


def _state(status: Status) -> str:
    sign = _SIGNS.get(status.state, "")
    who = ""
    if status.holder is not None:
        who = f" ({status.holder})"
    elif status.stopped_by:
        who = f" by: {status.stopped_by}"
    return (
        f'<span aria-hidden="true">{sign}</span> '
        f'<span class="state">{escape(state_text(status))}</span>{escape(who)}'
    )


def _row(name: str, content: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{content}</dd>"


def _bar(what: str, done: float, total: float, *, colour: str = _BLUE) -> str:
    part = min(1.0, done / total) if total else 0.0
    return (
        f'<span class="bar" role="img" aria-label="{escape(what)}: {part:.0%}">'
        f'<span style="width:{100 * part:.1f}%;background:{colour}"></span></span>'
    )


def _batches(status: Status) -> str:
    running = f", {status.batches_running} under way" if status.batches_running else ""
    failed = f", {status.batches_failed} failed" if status.batches_failed else ""
    return f"{status.batches_done:,} of {status.batches:,} done{running}{failed}"


def _images(status: Status) -> str:
    under_way = 0 if status.live is None else status.live.under_way
    more = f", {under_way} finished in batches under way" if under_way else ""
    out = f", {status.images_failed:,} left out" if status.images_failed else ""
    bar = _bar("images", status.images_done + under_way, status.images)
    return f"{bar}{status.images_done:,} of {status.images:,} done{more}{out}"


def _lanes(status: Status) -> str:
    now = () if status.live is None else status.live.lanes
    known = now if any(lane.jobs for lane in now) else status.lanes
    lanes = "".join(_lane(lane.name, lane.share) for lane in known if lane.jobs)
    return f'<dt>Lanes</dt><dd class="lanes">{lanes}</dd>' if lanes else ""


def _lane(name: str, share: float) -> str:
    colour = _AMBER if share >= 0.6 else _BLUE
    return f"<div>{_bar(name, share, 1.0, colour=colour)}{escape(name)} {share:.0%}</div>"


def _table(failures: Sequence[RecentFailure]) -> str:
    if not failures:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{item.batch}</th><td>{escape(item.where)}</td>'
        f"<td>{escape(item.stage)}</td><td>{escape(item.kind)}</td>"
        f"<td>{escape(shown(item.reason[:300]))}</td></tr>"
        for item in failures
    )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("Batch", "Where", "Stage", "Kind", "Reason")
    )
    return (
        '<div class="wide" role="region" aria-label="Failed last" tabindex="0">'
        "<table><caption>Failed last</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
