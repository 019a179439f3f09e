"""Small requests to a web server over one connection, tried again where that may help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from idrstream.download._pool import new_pool, user_agent
from idrstream.download.frames._errors import ChangedError
from idrstream.errors import DownloadError, TransientDownloadError

_PIECE_BYTES = 256 * 1024
# These do not pass by waiting.
_FINAL = frozenset({400, 401, 403, 404, 405, 410, 451})


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a web server is asked.

    Attributes
    ----------
    connect_timeout_s, stall_timeout_s : float
        Time limits for the connection and between two pieces of an answer.
    attempts : int
        Attempts for one request.
    wait_s, longest_wait_s : float
        Pause before the second attempt, doubled for each further one up to the longest.
    headers : Mapping[str, str]
        Further headers, for example of a signed request.
    """

    connect_timeout_s: float = 10.0
    stall_timeout_s: float = 30.0
    attempts: int = 5
    wait_s: float = 0.5
    longest_wait_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)


class WebClient:
    """Gets things from a web server; for one thread at a time.

    Parameters
    ----------
    options : HttpOptions, optional
        Time limits and attempts.

    Attributes
    ----------
    bytes_moved, requests : int
        Bytes of content that came and requests made so far, failed ones too.
    """

    def __init__(self, options: HttpOptions | None = None) -> None:
        self._options = options or HttpOptions()
        self._pool: Any = None
        self.bytes_moved = self.requests = 0

    def get(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        """Ask for `url` until an answer is good.

        Parameters
        ----------
        url : str
            Quoted.
        headers : Mapping[str, str]
            Beside the usual ones.
        take : callable
            Gets the answer (`urllib3.HTTPResponse`, its content not read) and returns the
            content by `body`, or raises.

        Returns
        -------
        bytes
            What `take` returned.

        Raises
        ------
        DownloadError, TransientDownloadError
            Of the last attempt. Only transient errors of an unchanged file are tried again.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_attempt
        from tenacity import wait_random_exponential as growing

        options = self._options
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(options.attempts),
            wait=growing(multiplier=options.wait_s, max=options.longest_wait_s),
            reraise=True,
        )
        return retrying(self._attempt, url, headers, take)

    def body(self, answer: Any, url: str, expected: int | None = None) -> bytes:
        """Return the content of an answer, `expected` bytes long or as long as it says."""
        if expected is None:
            expected = int(answer.headers.get("Content-Length", -1))
        data = bytearray()
        while len(data) != expected:
            left = expected - len(data) if expected >= 0 else _PIECE_BYTES
            piece = answer.read(min(_PIECE_BYTES, left))
            if not piece:
                break
            data += piece
            self.bytes_moved += len(piece)
        if len(data) < expected:
            msg = f"{url}: the answer ends after {len(data):,} of {expected:,} bytes"
            raise TransientDownloadError(msg)
        return bytes(data)

    def close(self) -> None:
        """Close the connection."""
        if self._pool is not None:
            self._pool.clear()

    def _attempt(self, url: str, headers: Mapping[str, str], take: Callable[[Any], bytes]) -> bytes:
        from urllib3.exceptions import HTTPError

        self.requests += 1
        try:
            answer = self._request(url, headers)
        except HTTPError as error:
            msg = f"{url} cannot be reached: {error}"
            raise TransientDownloadError(msg) from error
        whole = False
        try:
            data = take(answer)
            whole = True
        except (HTTPError, OSError) as error:
            msg = f"{url} came only in part: {error}"
            raise TransientDownloadError(msg) from error
        finally:
            # A connection with half an answer in it is of no further use.
            answer.release_conn() if whole else answer.close()
        return data

    def _request(self, url: str, headers: Mapping[str, str]) -> Any:
        options = self._options
        if self._pool is None:
            self._pool = new_pool(
                url,
                connections=1,
                connect_timeout_s=options.connect_timeout_s,
                stall_timeout_s=options.stall_timeout_s,
            )
        return self._pool.request(
            "GET",
            url,
            headers={
                "User-Agent": user_agent(),
                "Accept-Encoding": "identity",
                **options.headers,
                **headers,
            },
            preload_content=False,
            decode_content=False,
            # A signature is for one address.
            redirect=not options.headers,
        )


def refusal(answer: Any, url: str) -> DownloadError:
    """Return the error that an answer without the wanted content means."""
    words = f"{url}: the server answered {answer.status} {answer.reason or ''}".rstrip()
    return (DownloadError if answer.status in _FINAL else TransientDownloadError)(words)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransientDownloadError) and not isinstance(error, ChangedError)
