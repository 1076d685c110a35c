"""A server that says that it is healthy, and answers no other request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def hanging_mlflow() -> Iterator[str]:
    """Run the server in threads of this process, and yield its URI."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            if self.path != "/health":
                is_over.wait()
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST = do_PUT = do_PATCH = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            is_over.set()
            server.shutdown()
            thread.join()
