"""Stands between the bridge and a real server, and makes the trouble that a test asks for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from tests.support.scripted_http import Asked, Scripted, ScriptedServer
from tests.support.serve_process import unlistened_port

Trouble = Callable[[Asked], Scripted | None]

_PASSED_ON = ("accept", "authorization", "cache-control", "content-type", "if-match", "if-none-exist", "prefer")
_PASSED_BACK = ("Content-Type", "ETag", "Location")
_TIMEOUT_SECONDS = 60


def no_trouble(_: Asked) -> Scripted | None:
    """Everything goes through."""
    return None


def hung_up(_: Asked) -> Scripted:
    """The connection ends without an answer."""
    raise ConnectionResetError


class Proxy:
    """`trouble` is asked first; what it answers with None goes to the real server. `url` stands for the real one, whose links lead here."""

    def __init__(self, target: str) -> None:
        self.trouble: Trouble = no_trouble
        self._target = target
        self._port = unlistened_port()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{urlsplit(self._target).path}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = ScriptedServer(self._answer, self._port)

    def stop(self) -> None:
        """Nobody listens any more, and open connections are over."""
        self._server.answer = hung_up
        self._server.close()

    def _answer(self, asked: Asked) -> Scripted:
        return self.trouble(asked) or self.forward(asked)

    def forward(self, asked: Asked) -> Scripted:
        """What the real server answers."""
        origin, ours = ("://".join(urlsplit(url)[:2]) for url in (self._target, self.url))
        headers = {name: asked.headers[name] for name in _PASSED_ON if name in asked.headers}
        answer = requests.request(
            asked.method, f"{origin}{asked.path}", data=asked.body, headers=headers | {"Accept-Encoding": "identity"},
            timeout=_TIMEOUT_SECONDS, allow_redirects=False,
        )  # fmt: skip
        body = answer.content.replace(origin.encode(), ours.encode())
        return Scripted(answer.status_code, body, {k: answer.headers[k] for k in _PASSED_BACK if k in answer.headers})


@contextmanager
def proxy_for(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.stop()
