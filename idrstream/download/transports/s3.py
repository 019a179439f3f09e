"""Movies from S3: public buckets, buckets with credentials, and other servers that speak S3.

Reading an object is an HTTPS request; only its address differs and, if the bucket is not public,
the signature (AWS Signature Version 4), which botocore makes from the credentials in the usual
places: environment, ``~/.aws``, the machine's role.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.transports.http import HttpTransport
from idrstream.errors import ConfigError, MissingToolError

AWS_ENDPOINT = "https://s3.amazonaws.com"
_ALWAYS = {"x-amz-checksum-mode": "ENABLED"}


class S3Transport(HttpTransport):
    """Transfers objects of a bucket.

    Parameters
    ----------
    root : str
        ``s3://bucket`` or ``s3://bucket/prefix``.
    settings : DownloadSettings, optional
        Limits, the server (``s3_endpoint``; by default ``AWS_ENDPOINT_URL_S3``,
        ``AWS_ENDPOINT_URL`` or Amazon's) and whether to sign (``s3_anonymous``).
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If `root` is not a bucket, or no credentials are found.
    MissingToolError
        If requests are to be signed and botocore is not installed.
    """

    def __init__(
        self,
        root: str,
        settings: DownloadSettings | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        settings = settings or DownloadSettings()
        parts = urlsplit(root)
        if parts.scheme != "s3" or not parts.netloc or parts.query:
            msg = f"{root!r} is not an s3://bucket/prefix address"
            raise ConfigError(msg)
        server = settings.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
        server = server or os.environ.get("AWS_ENDPOINT_URL") or AWS_ENDPOINT
        folder = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        super().__init__(
            f"{server.rstrip('/')}/{quote(folder, safe='/')}/",
            settings,
            headers=_unsigned if settings.s3_anonymous else Signer(),
            name="s3",
            sleep=sleep,
        )


class Signer:
    """Signs requests with the credentials of the usual places.

    Raises
    ------
    MissingToolError
        If botocore is not installed.
    ConfigError
        If there are no credentials.
    """

    def __init__(self) -> None:
        try:
            from botocore.session import Session
        except ImportError as error:
            msg = (
                "buckets with credentials need botocore: pip install 'idrstream[s3]' "
                "(public buckets do not: s3_anonymous = true)"
            )
            raise MissingToolError(msg) from error
        session = Session()
        self._credentials: Any = session.get_credentials()
        if self._credentials is None:
            msg = (
                "no AWS credentials were found in the environment, in ~/.aws or as this "
                "machine's role; for a public bucket set s3_anonymous = true"
            )
            raise ConfigError(msg)
        self._region = session.get_config_variable("region") or "us-east-1"

    def __call__(self, method: str, url: str) -> Mapping[str, str]:
        """Return the headers that sign a request."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, url, headers=dict(_ALWAYS))
        frozen = self._credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        return dict(request.headers.items())


def _unsigned(_method: str, _url: str) -> Mapping[str, str]:
    return _ALWAYS
