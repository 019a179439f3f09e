"""The section of the settings about downloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import AfterValidator, BeforeValidator
from typing_extensions import Doc

from idrstream.config.options import STRICT, Power, Scope, as_tuple, valid_size
from idrstream.config.paths import (
    FilePaths,
    FolderOrAddress,
    FoldersOrAddresses,
    OptionalFile,
    Program,
)


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Accept text that a regular expression matches as a whole."""

    regex: str

    def __get_pydantic_core_schema__(self, _kind: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.str_schema(pattern=self.regex, strip_whitespace=True)


# Values that become words of ascp's command line: never an option, never a second address.
_AscpWord = Annotated[str, _Pattern(r"^[^\s@:-][^\s@:]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """``[download]``: where the movies come from."""

    __pydantic_config__ = STRICT

    method: Annotated[
        str,
        Doc(
            "auto: the sources of chain, one after another; aspera, https, ftp, s3: the archive; "
            "local: a mirror; omezarr: OME-Zarr on the web, S3 or a disk; or an installed plug-in."
        ),
    ] = "auto"
    chain: Annotated[
        tuple[Literal["local", "https", "aspera", "ftp", "s3"], ...],
        BeforeValidator(as_tuple),
        Doc(
            "auto: the sources in order, for example aspera,https; by default local, https, "
            "aspera, ftp, s3, as far as they are set."
        ),
    ] = ()
    https_root: Annotated[str, Doc("https: address of the folder above all studies.")] = (
        "https://ftp.ebi.ac.uk/pub/databases/IDR/"
    )
    ftp_root: Annotated[str, Doc("ftp: address of the folder above all studies.")] = (
        "ftp://ftp.ebi.ac.uk/pub/databases/IDR/"
    )
    s3_root: Annotated[str, Doc("s3: s3://bucket/prefix above all studies.")] = ""
    s3_endpoint: Annotated[str, Doc("s3: address of its server; Amazon's by default.")] = ""
    s3_anonymous: Annotated[bool, Doc("s3: the bucket is public; nothing is signed.")] = True
    connect_timeout_s: Annotated[float, Gt(0), Doc("Time limit of a connection.")] = 15.0
    stall_timeout_s: Annotated[float, Gt(0), Doc("Time limit without a byte.")] = 60.0
    total_timeout_s: Annotated[float, Gt(0), Doc("Time limit of a movie, attempts included.")] = (
        3600.0
    )
    download_attempts: Annotated[
        int, Ge(1), Doc("Attempts in a row without new bytes before a movie is given up.")
    ] = 5
    retry_wait_s: Annotated[
        float, Ge(0), Doc("Pause before the second attempt; it doubles. A mirror gets a fifth.")
    ] = 1.0
    longest_retry_wait_s: Annotated[float, Ge(0), Doc("Longest pause between two attempts.")] = 60.0
    connections_per_host: Annotated[int, Ge(1), Doc("Connections to one server at a time.")] = 4
    cool_down_s: Annotated[
        float, Ge(0), Doc("auto: seconds for which a source that failed is tried last.")
    ] = 600.0
    deep_verify: Annotated[bool, Doc("Decode every downloaded frame before it is used.")] = False
    sidecar: Annotated[
        bool, Doc("Write <movie>.source.json: address, size, version, SHA-256, time, source.")
    ] = True
    root: Annotated[FolderOrAddress, Doc("local: folder or file:// address of the mirror.")] = ""
    fetch: Annotated[
        Literal["auto", "frames", "file"],
        Doc("auto: whichever moves fewer bytes; frames: only the needed frames; file: the movie."),
    ] = "auto"
    aspera_path: Annotated[
        Program, Doc("aspera: the ascp program: a file, or a word looked up in PATH."), Power.RUNS
    ] = None
    aspera_key_path: Annotated[
        FilePaths,
        Doc("aspera: its private key, or several, of which the next is tried if one is refused."),
        Power.KEY,
    ] = None
    screens_path: Annotated[
        OptionalFile, Doc("The study's plates.tsv, which names the screen of each plate.")
    ] = None
    idr_index_name: Annotated[str, Doc("Folder of the study in the archive.")] = (
        "idr0013-neumann-mitocheck"
    )
    aspera_user: Annotated[_AscpWord, Doc("aspera: user at the server.")] = "fasp-public"
    aspera_host: Annotated[_AscpWord, Doc("aspera: the server.")] = "fasp.ebi.ac.uk"
    aspera_port: Annotated[int, Ge(1), Doc("aspera: its TCP and UDP port.")] = 33001
    aspera_rate: Annotated[_AscpWord, Doc("aspera: target rate, 300m for 300 Mb/s.")] = "300m"
    aspera_attempts: Annotated[int, Ge(1), Doc("aspera: attempts for one movie.")] = 5
    omezarr_plates: Annotated[
        OptionalFile, Doc("omezarr: table of plates with columns Plate and UUID, URL or Path.")
    ] = None
    omezarr_roots: Annotated[
        FoldersOrAddresses,
        Doc("omezarr: folders or addresses to look under, in turn; by default idr0013's."),
    ] = ()
    omezarr_pattern: Annotated[
        str, Doc("omezarr: path of a plate under a root, with columns in braces.")
    ] = "{UUID}/{UUID}.zarr"
    omezarr_endpoint_url: Annotated[
        str, Doc("omezarr: server of s3:// addresses; by default that of s3_endpoint.")
    ] = ""
    missing_chunks: Annotated[
        Literal["error", "fill"],
        Doc(
            "omezarr: a frame with a chunk that is not stored is left out (error), or the chunk "
            "has the fill value of the metadata (fill), as converters mean that write no zeros."
        ),
        Scope.RESULT,
    ] = "error"
    largest_file: Annotated[
        str | int | None,
        AfterValidator(valid_size),
        Doc("Largest movie file that is downloaded, whatever its server states."),
    ] = "20GB"
    complete_timeout_s: Annotated[
        float, Gt(0), Doc("Seconds without growth after which an incomplete movie is given up.")
    ] = 60.0
