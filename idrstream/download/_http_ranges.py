"""Parts of a file on a web server, within the limit of connections to its host."""

from __future__ import annotations

from contextlib import ExitStack

from idrstream.download._gate import connection_to
from idrstream.download.frames._errors import NoRangesError
from idrstream.download.frames._http import HttpFile
from idrstream.download.frames._web import HttpOptions
from idrstream.download.http import Headers, HttpSource
from idrstream.download.transfer import TransferOptions


class GatedFile(HttpFile):
    """An `HttpFile` that holds one of the connections to its host until it is closed."""

    def __init__(
        self, url: str, head_bytes: int, options: HttpOptions, name: str, held: ExitStack
    ) -> None:
        self.name = name
        self._held = held
        super().__init__(url, head_bytes, options)

    def close(self) -> None:
        """Close the connection and let another one be opened."""
        super().close()
        self._held.close()


def open_http_ranges(
    source: HttpSource,
    options: TransferOptions,
    headers: Headers | None,
    remote: str,
    head_bytes: int,
) -> GatedFile | None:
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
        headers={} if headers is None else dict(headers("GET", url)),
    )
    with ExitStack() as held:
        held.enter_context(connection_to(source.host, options.connections_per_host, lambda: None))
        try:
            file = GatedFile(url, head_bytes, asked, source.name, held.pop_all())
        except NoRangesError:
            return None
    return file
