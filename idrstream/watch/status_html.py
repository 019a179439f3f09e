"""The status of a stream as HTML: for notebooks, light or dark, without scripts.

Text has the notebook's own colour, readable on any background; bars are a blue that stands out
from black and from white. No information is in colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from idrstream.folder.journal.records import Failure
from idrstream.folder.status import Status
from idrstream.folder.status_text import (
    batches_text,
    facts,
    holder_text,
    images_text,
    kinds_text,
    lanes_of,
    state_text,
)
from idrstream.text import short_path
from idrstream.visible import visible_line

_SIGNS = {
    "running": "▶", "pausing": "⏸", "paused": "⏸", "done": "✔", "stopped": "■", "died": "✖",
}  # fmt: skip
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


def status_html(status: Status, failures: Sequence[Failure] = ()) -> str:
    """Return the status of a stream as a section of HTML, with all texts escaped."""
    words = dict(facts(status))
    words.pop("lanes", None)
    finished = status.images_done + (0 if status.live is None else status.live.under_way)
    rows = [
        _row(
            "Batches",
            _bar("batches", status.batches_done, status.batches) + escape(batches_text(status)),
        ),
        _row("Images", _bar("images", finished, status.images) + escape(images_text(status))),
        *(_row(name.capitalize(), escape(text)) for name, text in words.items()),
    ]
    lanes = "".join(_lane(lane.name, lane.share) for lane in lanes_of(status))
    if lanes:
        rows.append(f'<dt>Lanes</dt><dd class="lanes">{lanes}</dd>')
    if status.failures:
        rows.append(_row("Failures", escape(kinds_text(status))))
    sign = _SIGNS.get(status.state, "")
    return (
        f'<section class="idrs" aria-label="Stream in {escape(status.folder, quote=True)}">'
        f"<style>{_STYLE}</style><h3>{escape(short_path(status.folder))}</h3>"
        f'<div><span aria-hidden="true">{sign}</span> '
        f'<span class="state">{escape(state_text(status))}</span>'
        f"{escape(holder_text(status))}</div>"
        f"<dl>{''.join(rows)}</dl>{_table(failures)}</section>"
    )


def _row(name: str, content: str) -> str:
    return f"<dt>{escape(name)}</dt><dd>{content}</dd>"


def _bar(what: str, done: float, total: float, *, colour: str = _BLUE) -> str:
    share = min(1.0, done / total) if total else 0.0
    return (
        f'<span class="bar" role="img" aria-label="{escape(what)}: {share:.0%}">'
        f'<span style="width:{100 * share:.1f}%;background:{colour}"></span></span>'
    )


def _lane(name: str, share: float) -> str:
    colour = _AMBER if share >= 0.6 else _BLUE
    return f"<div>{_bar(name, share, 1.0, colour=colour)}{escape(name)} {share:.0%}</div>"


def _table(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{item.batch}</th><td>{escape(item.where)}</td>'
        f"<td>{escape(item.stage)}</td><td>{escape(item.kind)}</td>"
        f"<td>{escape(visible_line(item.reason_line[:300]))}</td></tr>"
        for item in failures
    )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("Batch", "Where", "Stage", "Kind", "Reason")
    )
    return (
        '<div class="wide" role="region" aria-label="Latest failures" tabindex="0">'
        "<table><caption>Latest failures</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
