"""Movies from S3: public buckets, buckets with credentials, and other servers that speak S3.

Reading an object is an HTTPS request, so all that is special is its address and, where the
bucket is not public, the signature (AWS Signature Version 4), which botocore makes from the
credentials it finds in the usual places: environment, ``~/.aws``, the machine's role.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.transfer import TransferOptions
from idrstream.errors import ConfigError, MissingToolError

AWS_ENDPOINT = "https://s3.amazonaws.com"
_ALWAYS = {"x-amz-checksum-mode": "ENABLED"}


class S3Transport(HttpTransport):
    """Moves objects of a bucket.

    Parameters
    ----------
    root : str
        ``s3://bucket`` or ``s3://bucket/prefix``.
    options : TransferOptions, optional
        Limits.
    endpoint : str, optional
        Address of the server; by default ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or
        Amazon's.
    anonymous : bool
        Do not sign: for public buckets.
    region : str, optional
        Region to sign for; by default as botocore finds it, then ``us-east-1``.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If `root` is no bucket, or no credentials are found.
    MissingToolError
        If requests are to be signed and botocore is not installed.
    """

    def __init__(
        self,
        root: str,
        options: TransferOptions | None = None,
        *,
        endpoint: str | None = None,
        anonymous: bool = True,
        region: str | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        parts = urlsplit(root)
        if parts.scheme != "s3" or not parts.netloc or parts.query:
            msg = f"{root!r} is not an s3://bucket/prefix address"
            raise ConfigError(msg)
        server = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3")
        server = server or os.environ.get("AWS_ENDPOINT_URL") or AWS_ENDPOINT
        folder = f"{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        super().__init__(
            f"{server.rstrip('/')}/{quote(folder, safe='/')}/",
            options,
            headers=_unsigned if anonymous else Signer(region),
            name="s3",
            sleep=sleep,
        )


class Signer:
    """Signs requests with the credentials of the usual places.

    Parameters
    ----------
    region : str, optional
        Region to sign for.

    Raises
    ------
    MissingToolError
        If botocore is not installed.
    ConfigError
        If there are no credentials.
    """

    def __init__(self, region: str | None = None) -> None:
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
        self._region = region or session.get_config_variable("region") or "us-east-1"

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
