"""An S3 server on this machine that is busy: it answers some requests with errors, as the real one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server

ANSWERS = (("503 Slow Down", "SlowDown"), ("500 Internal Server Error", "InternalError"))


class FaultyServer(ThreadedMotoServer):
    """Like moto's.

    Args:
        every: Every so many requests one is answered with an error, throttling and failure in turn; 0: none.

    Attributes:
        refused: No file whose name holds this text can be written; "": all can.
        num_errors: Errors that were answered.
    """

    def __init__(self, every: int = 0) -> None:
        super().__init__("127.0.0.1", 0, verbose=False)
        self.every, self.refused = every, ""
        self.num_requests = self.num_errors = 0
        self._lock = threading.Lock()

    def _server_entry(self) -> None:
        app = DomainDispatcherApplication(create_backend_app)

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            error = self._error(environ)
            if error is None:
                return app(environ, start_response)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code = error
            start_response(status, [("Content-Type", "application/xml")])
            return [f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>try again</Message></Error>".encode()]

        self._server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
        self._server_ready_event.set()
        self._server.serve_forever()

    def _error(self, environ: dict[str, Any]) -> tuple[str, str] | None:
        with self._lock:
            self.num_requests += 1
            writes = environ["REQUEST_METHOD"] in ("PUT", "POST")
            if self.refused and writes and self.refused in environ["PATH_INFO"]:
                self.num_errors += 1
                return ANSWERS[1]
            if self.every and self.num_requests % self.every == 0:
                self.num_errors += 1
                return ANSWERS[self.num_errors % 2]
            return None
