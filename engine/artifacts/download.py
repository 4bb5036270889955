"""Downloads of the files listed in `downloads.json`: over HTTPS only, with a size limit and a checked SHA-256.

The part of an interrupted download is kept and resumed. Nothing here runs without `--download`, and nothing at all with
`--offline`.
"""

from __future__ import annotations

import errno
import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from engine.artifacts.atomic import file_lock
from engine.artifacts.folders import downloads_dir, is_offline
from engine.artifacts.model_spec import sha256_of
from engine.errors import ModelError, OptionError, OutputError

MANIFEST = Path(__file__).resolve().with_name("downloads.json")
MOST_BYTES = 512 * 1024 * 1024
"""Size limit of a file whose size the manifest does not state."""

_TIMEOUT_S = 30.0
_CHUNK_BYTES = 256 * 1024
_TRIES = 4
_FIRST_WAIT_S = 1.0
_NO_NETWORK = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Opener = Callable[[urllib.request.Request, float], Any]
"""Opens a request with a timeout in seconds; returns the same as `urllib.request.urlopen`."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file of the manifest; size and SHA-256 are None where they are not known."""

    name: str
    url: str
    size_bytes: int | None
    sha256: str | None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise ModelError(f"{self.name}: {self.url} is not an https address")
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise ModelError(f"'{self.name}' is not the plain name of a file")
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise ModelError(f"{self.name}: '{self.sha256}' is not a SHA-256, which has 64 hexadecimal digits")

    @property
    def most_bytes(self) -> int:
        """Size limit of the download."""
        return self.size_bytes or MOST_BYTES


class _Broken(Exception):
    """The connection failed or ended; the message gives the reason, `retry` states whether to try again."""

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.retry = retry


class _Unwanted(Exception):
    """The server offers another file than the expected one; a retry does not help."""


def downloads() -> dict[str, Download]:
    """The files of the manifest by their names.

    Raises:
        ModelError: the manifest is missing or damaged.
    """
    try:
        files = json.loads(MANIFEST.read_text(encoding="utf-8"))["files"]
        return {
            name: Download(name=name, url=entry["url"], size_bytes=entry["size_bytes"], sha256=entry["sha256"])
            for name, entry in files.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{MANIFEST} cannot be read ({error!r}); install the program anew") from error


def fetch(
    name: str,
    *,
    sha256: str | None = None,
    notify: Callable[[str], None] = lambda _line: None,
    opener: Opener | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """The file of that name, fetched into the downloads folder unless it is there already.

    Args:
        name: a name in the manifest.
        sha256: the expected hash, for a file whose hash the manifest does not state.
        opener: opens requests; replaced in tests.

    Raises:
        OptionError: `sha256` is not a SHA-256, or differs from the manifest's.
        ModelError: it cannot be fetched; the message states its address and where to put it.
        OutputError: the downloads folder cannot be written.
    """
    known = downloads()
    if name not in known:
        raise ModelError(f"{name} is not a file that this program fetches; known: {', '.join(sorted(known))}")
    wanted, target = known[name], downloads_dir() / name
    if target.is_file():
        return target
    digest = _expected(wanted, sha256)
    if is_offline():
        raise ModelError(f"{name} is not here, and nothing is fetched with --offline: {by_hand(wanted, target)}")
    try:
        with file_lock(target.with_name(f"{name}.lock"), lambda: notify(f"another process fetches {name}; waiting")):
            if not target.is_file():
                _fetch_into(target, wanted, digest, opener=opener or _open, notify=notify, wait=wait)
    except OSError as error:
        raise OutputError(f"the folder {target.parent} cannot be written ({error.strerror or error})") from error
    return target


def by_hand(wanted: Download, target: Path) -> str:
    """Advice for a machine without a network."""
    return f"get {wanted.url} on another machine and put it at {target}"


def _expected(wanted: Download, given: str | None) -> str:
    """The hash that the file must have."""
    if given is not None:
        given = given.strip().lower()
        if not _SHA256.fullmatch(given):
            raise OptionError(f"--sha256 {given} is not a SHA-256: 64 hexadecimal digits were expected")
        if wanted.sha256 is not None and given != wanted.sha256:
            raise OptionError(f"--sha256 is not that of {wanted.name}, which is {wanted.sha256}")
    digest = wanted.sha256 or given
    if digest is None:
        raise ModelError(
            f"the SHA-256 of {wanted.name} is not known to this program, so it is not fetched unseen: look it up where "
            f"{wanted.url} is published, then python -m engine build --fetch-detector {wanted.name} --sha256 HEX"
        )
    return digest


def _fetch_into(
    target: Path,
    wanted: Download,
    digest: str,
    *,
    opener: Opener,
    notify: Callable[[str], None],
    wait: Callable[[float], None],
) -> None:
    # The hash is part of the name, so that the part of one file is never resumed as another.
    part = target.with_name(f"{target.name}.{digest[:12]}.part")
    for attempt in range(_TRIES):
        try:
            _load(part, wanted, opener)
            found = sha256_of(part)
            if found != digest:
                part.unlink()
                raise _Unwanted(f"the server sent another file (SHA-256 {found} instead of {digest})")
            part.replace(target)
            for stale in target.parent.glob(f"{target.name}.*.part"):
                stale.unlink()
            return
        except _Broken as broken:
            if attempt + 1 == _TRIES or not broken.retry:
                kept = f"; {part.stat().st_size} bytes are kept for the next attempt" if part.is_file() else ""
                advice = by_hand(wanted, target)
                raise ModelError(f"{wanted.name} could not be fetched ({broken}){kept}: {advice}") from None
            notify(f"fetching {wanted.name} broke off ({broken}); trying again")
            wait(_FIRST_WAIT_S * 2**attempt)
        except _Unwanted as error:
            raise ModelError(f"{wanted.name} was rejected: {error}; {by_hand(wanted, target)}") from None


def _load(part: Path, wanted: Download, opener: Opener) -> None:
    """One attempt: append to the part file what it lacks.

    Raises:
        _Broken: the connection failed or ended early.
        _Unwanted: the answer is too large, or is not the requested file.
    """
    have = part.stat().st_size if part.is_file() else 0
    if have > wanted.most_bytes:
        part.unlink()
        have = 0
    if have == wanted.size_bytes:
        return  # complete; the caller checks the hash
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "kcam-pose", "Accept-Encoding": "identity"})  # noqa: S310 - https only, see Download
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with opener(request, _TIMEOUT_S) as answer, part.open("ab") as stream:
            if answer.status == 200 and have:  # the server starts from the beginning
                stream.truncate(have := 0)
            elif have and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                raise _Unwanted("the server resumes at another place than the requested one")
            _copy(answer, stream, have, wanted)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the part is longer than the server's file
            part.unlink()
            raise _Broken("the part that was kept no longer fits") from None
        if 300 <= error.code < 400:
            raise _Unwanted("the server redirects to an address that is not https, or in a circle") from None
        kind = _Broken if error.code >= 500 or error.code in (408, 429) else _Unwanted
        # The server's own text is not repeated, because it is not trusted.
        raise kind(f"the server answers {error.code} {http.client.responses.get(error.code, '')}".strip()) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _Unwanted(f"the server's certificate is not valid ({_reason(error.reason)})") from None
        raise _Broken(_reason(error.reason), retry=False) from None  # no server was reached
    except (http.client.HTTPException, OSError) as error:
        if not _is_of_network(error):
            raise  # of the disk
        raise _Broken(_reason(error)) from None


def _copy(answer: Any, stream: IO[bytes], have: int, wanted: Download) -> None:
    length = str(answer.headers.get("Content-Length", ""))
    promised = have + int(length) if length.isascii() and length.isdigit() else None
    if promised is not None and promised > wanted.most_bytes:
        raise _Unwanted(f"it has {promised} bytes, {wanted.most_bytes} at most were expected")
    while chunk := answer.read(_CHUNK_BYTES):
        have += len(chunk)
        if have > wanted.most_bytes:
            stream.truncate(0)
            raise _Unwanted(f"it has more than the {wanted.most_bytes} bytes that were expected")
        stream.write(chunk)
    whole = promised if promised is not None else wanted.size_bytes
    if whole is not None and have < whole:
        raise _Broken(f"the connection ended after {have} of {whole} bytes")


def _is_of_network(error: Exception) -> bool:
    broken = (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
    return isinstance(error, broken) or getattr(error, "errno", None) in _NO_NETWORK


def _reason(error: object) -> str:
    """The reason of an exception, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


class HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects within HTTPS only."""

    def redirect_request(  # noqa: PLR0917 - urllib's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; None makes urllib raise an error with the code of the answer."""
        if urlsplit(newurl).scheme.lower() != "https":
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener(https: urllib.request.BaseHandler | None = None) -> urllib.request.OpenerDirector:
    """An opener for HTTPS addresses only: no plain HTTP, no FTP, no files."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        https or urllib.request.HTTPSHandler(),
        HttpsOnly(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        director.add_handler(handler)
    return director


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    return https_opener().open(request, timeout=timeout_s)
