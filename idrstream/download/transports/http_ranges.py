"""Parts of a file on a web server."""

from __future__ import annotations

from idrstream.download.ranges.http import HttpFile
from idrstream.download.ranges.web import HttpOptions
from idrstream.download.transports.http import Headers, HttpSource
from idrstream.download.transports.transfer import TransferOptions
from idrstream.formats.hdf5_ranges.errors import NoRangesError


def open_http_ranges(
    source: HttpSource,
    options: TransferOptions,
    headers: Headers | None,
    remote: str,
    head_bytes: int,
) -> HttpFile | None:
    """Open a file for reading by ranges; None when the server sends whole files only."""
    if source.query:
        return None  # its messages would tell the query
    url = source.address(remote)
    asked = HttpOptions(
        connect_timeout_s=options.connect_timeout_s,
        stall_timeout_s=options.stall_timeout_s,
        attempts=options.attempts,
        wait_s=min(options.wait_s, options.longest_wait_s),
        longest_wait_s=options.longest_wait_s,
        connections_per_host=options.connections_per_host,
        headers={} if headers is None else dict(headers("GET", url)),
    )
    try:
        return HttpFile(url, head_bytes, asked, name=source.name)
    except NoRangesError:
        return None
