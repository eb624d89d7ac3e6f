"""Other MLLP servers in Python with the least handler that answers AA, for benchmarks/mllp_acknowledgements.py. They keep nothing.

    python benchmarks/mllp_peers.py hl7apy | hl7

Prints `ready mllp=HOST:PORT`. `hl7apy` is its MLLPServer, which ends the connection after each message; the answer is written by
hand, since its own parser takes 13 ms. `hl7` is python-hl7's asyncio server with its parser and its `create_ack`; it runs under an
interpreter that has that package, which is no part of ours.
"""

import asyncio
import socket
import sys

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def hl7apy_server() -> None:
    """MLLPServer with one handler."""
    from hl7apy.mllp import AbstractHandler, MLLPServer

    class Acknowledge(AbstractHandler):  # type: ignore[misc]
        def reply(self) -> str:
            header = self.incoming_message.split("\r", 1)[0].split("|")
            return f"\x0bMSH|^~\\&|PEER||||20260302||ACK|1|P|2.3.1\rMSA|AA|{header[9]}\r\x1c\r"

    port = free_port()
    MLLPServer.request_queue_size = 128  # its 5 would make 16 clients wait for the network's retries
    server = MLLPServer(HOST, port, dict.fromkeys(("ORM^O01", "ORM^O01^ORM_O01"), (Acknowledge,)))
    print(f"ready mllp={HOST}:{port}", flush=True)
    server.serve_forever()


async def hl7_server() -> None:
    """start_hl7_server, as its documentation shows it."""
    from hl7.mllp import start_hl7_server

    async def answer(reader, writer) -> None:  # type: ignore[no-untyped-def]
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await start_hl7_server(answer, host=HOST, port=0, limit=2**24)
    port = server.sockets[0].getsockname()[1]
    print(f"ready mllp={HOST}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "hl7apy":
        hl7apy_server()
    else:
        asyncio.run(hl7_server())
