"""Remove secrets from everything that is logged, raised, recorded or shown.

Passwords and keys reach messages inside addresses (``https://user:password@host``, signed query
strings), in output of programs, and in copies of settings. Every `IdrStreamError` and every
line of the log passes through `redact`.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from idrstream.visible import visible_record

HIDDEN = "***"

_SENSITIVE = (
    r"(?:pass(?:word|wd|phrase)?|secret|token|signature|credential|api[_-]?key|access[_-]?key"
    r"(?:[_-]?id)?|private[_-]?key|session[_-]?token|auth(?:orization)?)"
)
_PATTERNS = (
    # PEM blocks, whole
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]*KEY-----.*?(?:-----END [A-Z0-9 ]*KEY-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
    # scheme://user:password@host; the password may have an @
    (re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#'\"<>]+@"), rf"\1{HIDDEN}@"),
    # user:password@host of scp-like addresses
    (re.compile(r"(?<![\w/])([\w.-]+):[^\s:@/'\"]+@(?=[\w-]+(?:\.[\w-]+)+)"), rf"\1:{HIDDEN}@"),
    # ?X-Amz-Signature=..., &sig=..., &Key-Pair-Id=...
    (
        re.compile(
            rf"([?&;](?:[\w.-]*{_SENSITIVE}[\w.-]*|sig|key|key-pair-id|policy|code)=)[^&#\s'\"<>]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # Authorization: Bearer ...
    (re.compile(r"\b(Bearer|Basic|AWS4-HMAC-SHA256)\s+[A-Za-z0-9+/=._~:-]{6,}.*"), rf"\1 {HIDDEN}"),
    # ASPERA_SCP_PASS=..., "aws_secret_access_key": "...", --password ...
    (
        re.compile(
            rf"((?:[A-Za-z0-9_.-]*[_.-])?{_SENSITIVE}(?:[_.-][A-Za-z0-9_.-]*)?['\"]?\s*[=:]\s*)"
            r"(\"[^\"]*\"|'[^']*'|[^\s,;&'\"}}\])]+)",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"(--?(?:password|passphrase|token|secret)\s+)(\S+)", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # AWS access key ids
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), HIDDEN),
)


def redact(text: str) -> str:
    """Return a text with everything that looks like a secret replaced by ``***``.

    Parameters
    ----------
    text : str
        A message, an address, a traceback.

    Returns
    -------
    str
        Unchanged if it has no secret.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted(value: Any) -> Any:
    """Return a value with all texts in it redacted, also in lists, tuples and mappings."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (
            type(value)(redacted(item) for item in value) if type(value) in (list, tuple) else value
        )
    return value


class RedactingFilter(logging.Filter):
    """Redact log records and their tracebacks, and make them visible; a filter for handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record's message and traceback; every record is kept."""
        record.msg = visible_record(redact(record.getMessage()))
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = visible_record(redact(record.exc_text))
        return True
