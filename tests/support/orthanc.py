"""A real PACS on loopback: Debian's Orthanc with its DICOMweb plugin, and DCMTK to fill it."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.support.real_parts import part_missing

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STORESCU = Path("/usr/bin/storescu")  # a virtual environment with pynetdicom has another program of this name
START_SECONDS = 30

_CONFIGURATION = {
    "Name": "test-pacs",
    "HttpBindAddresses": ["127.0.0.1"],
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": True,
    "RegisteredUsers": {"bridge": "secret"},
    "DicomAet": "PACS",
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowFind": True,
    "DicomAlwaysAllowGet": True,
    "UnknownSopClassAccepted": True,
    "OverwriteInstances": True,
    "StableAge": 2,
    "SyncStorageArea": False,
    "HttpCompressionEnabled": False,  # else it gzips pixels: ten times as slow
    "WebDavEnabled": False,
    "OrthancExplorerEnabled": False,
    "SaveJobs": False,
    "MaximumPduLength": 131072,
    "Plugins": [str(PLUGIN)],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
}


@dataclass(frozen=True)
class Orthanc:
    """A running server."""

    process: subprocess.Popen[bytes]
    http_port: int
    dicom_port: int

    auth = ("bridge", "secret")
    called = "PACS"  # its AE title

    @property
    def dicomweb_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def store(self, content: bytes) -> None:
        """One DICOM file, by Orthanc's own REST interface."""
        url = f"http://127.0.0.1:{self.http_port}/instances"
        requests.post(url, data=content, auth=self.auth, timeout=60).raise_for_status()

    def receive(self, folder: Path) -> None:
        """All files of a folder, by C-STORE."""
        command = [STORESCU, "+sd", "+r", "-aec", "PACS", "127.0.0.1", str(self.dicom_port), folder]
        subprocess.run(command, check=True, capture_output=True, timeout=300)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running_orthanc(storage: Path | None = None, **options: object) -> Iterator[Orthanc]:
    """Orthanc on two free ports until the end; empty, or with what an earlier one left in `storage`. `options` as in its configuration."""
    missing = [str(path) for path in (PROGRAM, PLUGIN, STORESCU) if not path.exists()]
    if missing:
        part_missing("Orthanc", f"{', '.join(missing)} not installed (Debian: orthanc orthanc-dicomweb dcmtk)")
    http_port, dicom_port = _free_ports()
    with tempfile.TemporaryDirectory(prefix="orthanc-") as folder, Path(folder, "output").open("wb") as output:
        configuration = _CONFIGURATION | {
            "StorageDirectory": str(storage or f"{folder}/storage"),
            "IndexDirectory": str(storage or f"{folder}/storage"),
            "TemporaryDirectory": folder,
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            **options,
        }
        file = Path(folder, "orthanc.json")
        file.write_text(json.dumps(configuration))
        # TCP_NODELAY: each message of an association waits 40 ms otherwise
        environment = {**os.environ, "TCP_NODELAY": "1"}
        process = subprocess.Popen([PROGRAM, file], stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            for port in (http_port, dicom_port):  # they open at different times
                _wait_for(port, process)
            yield Orthanc(process, http_port, dicom_port)
        finally:
            process.kill()
            process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)  # a foreign process tells nobody when it is ready
    raise RuntimeError("Orthanc did not start")
