"""How ascp is called."""

from __future__ import annotations

from dataclasses import dataclass

from idrstream.errors import ConfigError


@dataclass(frozen=True, slots=True)
class AsperaOptions:
    """How to call ascp; the defaults are those of the public archive.

    Attributes
    ----------
    user, host, port : str, str, int
        The server; ``fasp-public@fasp.ebi.ac.uk``, TCP and UDP port 33001.
    rate : str
        Target rate as ascp writes it, for example ``300m`` for 300 Mb/s.
    timeout_s : float
        Time limit of one attempt.
    stall_s : float
        An attempt whose files do not grow for this long is stopped.
    attempts : int
        Attempts for one file, resumed from what is there.
    poll_s : float
        Time between two looks at the growing file.
    connections_per_host : int
        Transfers from the server at a time.
    deep : bool
        Decode every frame of a movie before it is accepted.
    sidecar : bool
        Write ``<name>.source.json``: address, size, SHA-256, time.
    """

    user: str = "fasp-public"
    host: str = "fasp.ebi.ac.uk"
    port: int = 33001
    rate: str = "300m"
    timeout_s: float = 3600.0
    stall_s: float = 90.0
    attempts: int = 5
    poll_s: float = 0.5
    connections_per_host: int = 4
    deep: bool = False
    sidecar: bool = True

    def __post_init__(self) -> None:
        for what, value in (("user", self.user), ("host", self.host), ("rate", self.rate)):
            if not value or value.startswith("-") or any(c.isspace() or c in "@:" for c in value):
                msg = f"aspera {what} {value!r} is not usable"
                raise ConfigError(msg)
        if self.attempts < 1:
            msg = f"aspera attempts must be at least 1, not {self.attempts}"
            raise ConfigError(msg)
