"""What the settings are made of: lists, addresses, times, and the table that refuses unknown keys."""

import re
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hl7_listener.charset import codec_named


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


_SOURCE = re.compile(r"[A-Z][A-Z0-9]{2}-\d{1,3}(\.\d{1,2})?")
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]  # a list in TOML, comma-separated on the command line


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("no such time zone") from None
    return name


def base_url(url: str) -> str:
    """The URL. Raises ValueError where it is no base URL, without quoting it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets that are no IPv6 address, a port that is no number
        usable = False
    if not usable or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("a base URL is http(s)://host[:port]/path, without credentials or query")
    return url


def _base_url(url: str) -> str:
    return base_url(url) if url else url


def _charset(name: str) -> str:
    if name:
        codec_named(name)  # ValueError: not a known character set
    return name


def _sources(sources: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [source for source in sources if not _SOURCE.fullmatch(source)]:
        raise ValueError(f"expected fields such as OBR-18 or ZAC-2.1; not so: number {sources.index(wrong[0]) + 1}")
    return sources


def _ae_title(title: str) -> str:
    if title and not re.fullmatch(r"(?=.*[^ ])[ -\[\]-~]{1,16}", title):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters, none of them a backslash")
    return title.strip()


AeTitle = Annotated[str, AfterValidator(_ae_title)]  # PS3.5 table 6.2-1
FieldSources = Annotated[Words, AfterValidator(_sources)]
Charset = Annotated[str, AfterValidator(_charset)]
TimeZone = Annotated[str, AfterValidator(_zone)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A table of the file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
