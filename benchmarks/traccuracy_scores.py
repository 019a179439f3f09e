"""Our tracks scored by traccuracy, in an environment of its own: it does not fit idrstream's.

    python benchmarks/tracking.py --seeds 101 --methods --save /tmp/links
    python benchmarks/traccuracy_scores.py /tmp/links --env /tmp/traccuracy

Makes the environment if it is not there, and runs itself in it. Objects are matched by what they
are, so that only links and divisions count, over gaps of up to two frames as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

_PACKAGE = "traccuracy==0.4.3"


def scores(path: Path) -> dict[str, Any]:
    """Score the links of one movie."""
    import networkx as nx
    from traccuracy import TrackingGraph
    from traccuracy.matchers import Matched
    from traccuracy.metrics import BasicMetrics, DivisionMetrics

    saved = json.loads(path.read_text(encoding="utf-8"))
    true, found = nx.DiGraph(), nx.DiGraph()
    for at, (frame, is_true) in enumerate(zip(saved["frame"], saved["true"], strict=True)):
        found.add_node(at, t=frame, x=0, y=0)
        if is_true:
            true.add_node(at, t=frame, x=0, y=0)
    true.add_edges_from(saved["true_links"])
    found.add_edges_from(saved["our_links"])
    graphs = [
        TrackingGraph(graph, frame_key="t", location_keys=("y", "x")) for graph in (true, found)
    ]
    matched = Matched(*graphs, [(at, at) for at in true.nodes], {"name": "the same objects"})
    edges = BasicMetrics().compute(matched).results
    divisions = DivisionMetrics(max_frame_buffer=1).compute(matched).results
    return {
        "movie": path.stem,
        "links": edges["Edge F1"],
        "divisions": divisions["Frame Buffer 0"]["Division F1"],
        "divisions_within_1": divisions["Frame Buffer 1"]["Division F1"],
    }


def main() -> None:
    """Score every movie; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what tracking.py --save wrote")
    parser.add_argument("--env", type=Path, default=Path("/tmp/traccuracy"))
    parser.add_argument("--out", type=Path, help="the numbers of every movie as JSON")
    chosen = parser.parse_args()
    python = chosen.env / "bin" / "python"
    if not python.exists():
        venv.create(chosen.env, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", _PACKAGE], check=True)
    if Path(sys.prefix).resolve() != chosen.env.resolve():
        sys.exit(subprocess.run([python, __file__, *sys.argv[1:]], check=False).returncode)
    rows = [scores(path) for path in sorted(chosen.folder.glob("*.json"))]
    for row in rows:
        numbers = (f"{row[name]:.4f}" for name in list(row)[1:])
        sys.stdout.write(f"{row['movie']}: {', '.join(numbers)}\n")
    if chosen.out is not None:
        document = {"package": _PACKAGE, "buffer_frames": [0, 1], "movies": rows}
        chosen.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
