"""DCMTK's archive on loopback: the old PACS, with little beyond what the standard demands."""

import contextlib
import io
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.presentation import build_context

from tests.support.real_parts import part_missing

PROGRAM = Path("/usr/bin/dcmqrscp")
CALLED = "OLDPACS"
START_SECONDS = 10

_CONFIGURATION = """NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{called} {folder} RW (9, 1024mb) ANY
AETable END
"""


@dataclass(frozen=True)
class Dcmqrscp:
    """A running archive."""

    dicom_port: int
    called: str = CALLED

    def store(self, content: bytes) -> None:
        """One DICOM file, by C-STORE, in the transfer syntax that it has."""
        dataset = pydicom.dcmread(io.BytesIO(content))
        context = build_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = AE("MODALITY").associate("127.0.0.1", self.dicom_port, [context], ae_title=CALLED)
        assert association.is_established
        assert association.send_c_store(dataset).Status == 0
        association.release()


@contextlib.contextmanager
def running_dcmqrscp() -> Iterator[Dcmqrscp]:
    if not PROGRAM.exists():
        part_missing("dcmqrscp", f"{PROGRAM} not installed (Debian: dcmtk)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="dcmqrscp-") as folder, Path(folder, "output").open("wb") as output:
        storage = Path(folder, "storage")
        storage.mkdir()
        configuration = Path(folder, "dcmqrscp.cfg")
        configuration.write_text(_CONFIGURATION.format(port=port, called=CALLED, folder=storage))
        command = [PROGRAM, "--config", configuration, "+xr"]  # takes and gives RLE beside the uncompressed ones
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(port, process)
            yield Dcmqrscp(port)
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)  # a foreign process tells nobody when it is ready
    raise RuntimeError("dcmqrscp did not start")
