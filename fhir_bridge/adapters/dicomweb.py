"""A PACS by DICOMweb: QIDO-RS to find and list, WADO-RS to retrieve a study as one stream (PS3.18 §10.4, §10.6)."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from fhir_bridge.adapters.multipart_stream import (
    MAX_PART_BYTES,
    BrokenMultipart,
    TruncatedMultipart,
    boundary_of,
    parts,
)
from fhir_bridge.adapters.study_files import Header, StudyFiles, stripped
from fhir_bridge.errors import Refused, Unavailable
from fhir_bridge.study import InstanceRef, StudyQuery

_PEER = "DICOMweb server"
_JSON = "application/dicom+json"
# `transfer-syntax=*` = as stored: a PACS asked to transcode may fail on an instance, or leave it out
_STUDY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PAGE = 1000
_MAX_LISTED = 100_000
_MAX_JSON_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
# characters that some servers compare as they arrive, undecoded (Debian's Orthanc)
_UNDECODED = "*^/?,"

_SOP_CLASS, _SOP_INSTANCE, _ACCESSION, _MODALITY = "00080016", "00080018", "00080050", "00080060"
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"


@dataclass(frozen=True, slots=True)
class BearerToken(AuthBase):
    """Credentials of RFC 6750 §2.1."""

    token: str = field(repr=False)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


@dataclass(frozen=True, slots=True)
class DicomWeb:
    """The port `ImageArchive` over a DICOMweb server. One attempt a call: trying again is the job's affair. Thread-safe.

    Raises Unavailable `archive.unavailable`, `archive.unauthorized`, `archive.truncated`, `archive.incomplete`,
    `archive.storage-failed`; Refused `archive.query-empty`, `archive.corrupt`, `archive.foreign-instance`,
    `archive.conflicting-instances`, `archive.too-large`.
    """

    base_url: str  # the DICOMweb root, "https://pacs/dicom-web"
    auth: AuthBase | tuple[str, str] | None = field(default=None, repr=False)
    timeout_seconds: float = 60  # without a byte
    deadline_seconds: float = 3600  # for one study
    verify: bool | str = True  # or a file of CA certificates
    max_instance_bytes: int = MAX_PART_BYTES

    def find_studies(self, query: StudyQuery) -> tuple[str, ...]:
        query = stripped(query)
        if query.study_instance_uid:
            return self._find_studies(f"StudyInstanceUID={quote(query.study_instance_uid, '')}", query)
        spellings = dict.fromkeys(quote(query.accession, safe) for safe in ("", _UNDECODED))
        answers = (self._find_studies(f"AccessionNumber={spelling}", query) for spelling in spellings)
        return next(filter(None, answers), ())

    def list_instances(self, study_instance_uid: str) -> tuple[InstanceRef, ...]:
        fields = f"includefield={_MODALITY}&includefield={_SERIES_UID}"
        listed: dict[str, InstanceRef] = {}
        for item in self._search(f"studies/{quote(study_instance_uid, '')}/instances", fields, _SOP_INSTANCE):
            uid = _value(item, _SOP_INSTANCE)
            listed[uid] = InstanceRef(uid, _value(item, _SOP_CLASS), _value(item, _SERIES_UID), _value(item, _MODALITY))
        return tuple(listed.values())

    def retrieve(self, study_instance_uid: str, into: Path) -> tuple[Path, ...]:
        """One stream, straight to files; whole by its closing delimiter and by the SOP Instance UIDs that QIDO-RS lists."""
        listed = self.list_instances(study_instance_uid)
        with StudyFiles(into, study_instance_uid) as files:
            with self._get(f"studies/{quote(study_instance_uid, '')}", _STUDY) as response:
                if response.status_code != HTTPStatus.NOT_FOUND:
                    self._receive(response, files, len(listed))
            return files.finish(listed)

    def ping(self) -> None:
        """Asks for one study, whichever. Raises as the others do, and Unavailable where nothing speaks DICOMweb."""
        with self._get("studies?limit=1", _JSON) as response:
            if response.status_code == HTTPStatus.NOT_FOUND:
                raise _unavailable("no QIDO-RS at this URL (HTTP 404)")
            self._items(response)

    def _find_studies(self, condition: str, query: StudyQuery) -> tuple[str, ...]:
        items = self._search("studies", condition, _STUDY_UID)
        headers = (Header(InstanceRef(""), _value(item, _STUDY_UID), _value(item, _ACCESSION)) for item in items)
        return tuple(sorted({header.study_instance_uid for header in headers if header.answers(query)}))

    def _search(self, path: str, parameters: str, key: str) -> Iterator[Mapping[str, Any]]:
        """QIDO-RS, page by page until an empty one: a server may give fewer than asked, and say so or not (PS3.18 §8.3.4.4)."""
        seen: set[str] = set()
        received = 0
        while True:
            with self._get(f"{path}?{parameters}&limit={_PAGE}&offset={received}", _JSON) as response:
                page = self._items(response)
            fresh = [item for item in page if _value(item, key) not in seen]
            if not fresh:  # the end, or a server that knows no offset
                return
            yield from fresh
            seen.update(_value(item, key) for item in fresh)
            received += len(page)
            if received > _MAX_LISTED:
                raise Refused("archive.too-large", _PEER, f"more than {_MAX_LISTED} results")

    def _items(self, response: requests.Response) -> list[Mapping[str, Any]]:
        if response.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            return []
        body = bytearray()
        for chunk in self._chunks(response):
            body += chunk
            if len(body) > _MAX_JSON_BYTES:
                raise Refused("archive.too-large", _PEER, "a page of results over the limit")
        try:
            items = json.loads(body)
        except ValueError:
            raise _unavailable("the answer to a query is not JSON") from None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise _unavailable("the answer to a query is not a list of results")
        return items

    def _receive(self, response: requests.Response, files: StudyFiles, listed: int) -> None:
        try:
            boundary = boundary_of(response.headers.get("Content-Type", ""))
            for number, part in enumerate(parts(self._chunks(response), boundary, self.max_instance_bytes), start=1):
                if number > 2 * listed:  # an instance may come twice; an endless stream may not
                    raise Unavailable("archive.incomplete", _PEER, "more instances than are listed")
                files.add([part])
        except TruncatedMultipart as error:
            raise Unavailable("archive.truncated", _PEER, str(error)) from None
        except BrokenMultipart as error:
            raise _unavailable(f"the answer to a retrieval is broken: {error}") from None

    @contextmanager
    def _get(self, path: str, accept: str) -> Iterator[requests.Response]:
        """One GET. Leaves 200, 204 and 404 to the caller; everything else is an error."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}  # a PACS that gzips pixels takes ten times as long
        auth = HTTPBasicAuth(*(part.encode() for part in self.auth)) if isinstance(self.auth, tuple) else self.auth
        with requests.Session() as session:
            session.trust_env = False  # no proxy and no .netrc that nobody told us of
            try:
                response = session.get(
                    f"{self.base_url.rstrip('/')}/{path}",
                    auth=auth,
                    headers=headers,
                    timeout=self.timeout_seconds,
                    verify=self.verify,
                    stream=True,
                    allow_redirects=False,  # neither credentials nor accession numbers go anywhere else
                )
            except requests.RequestException as error:
                raise _unavailable(type(error).__name__) from None
            with response:
                _check_status(response)
                yield response

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives. A connection that breaks is a truncated answer; one that trickles meets the deadline."""
        end = time.monotonic() + self.deadline_seconds
        try:
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                yield chunk
                if time.monotonic() > end:
                    raise _unavailable(f"slower than {self.deadline_seconds:g} s")
        except urllib3.exceptions.ReadTimeoutError:
            raise _unavailable(f"silent for {self.timeout_seconds:g} s") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable("archive.truncated", _PEER, type(error).__name__) from None


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
        return
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise Unavailable("archive.unauthorized", _PEER, f"HTTP {status}: our credentials are not accepted")
    if status == HTTPStatus.PARTIAL_CONTENT:
        raise Unavailable("archive.incomplete", _PEER, "HTTP 206: the server sends a part only")
    seconds = response.headers.get("Retry-After", "")
    retry_after = float(seconds) if seconds.isdecimal() else None  # the other form, a date, is left to our own backoff
    raise Unavailable("archive.unavailable", _PEER, f"HTTP {status}", retry_after)


def _unavailable(explanation: str) -> Unavailable:
    return Unavailable("archive.unavailable", _PEER, explanation)


def _value(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute of the DICOM JSON model (PS3.18 §F.2); empty where there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""
