"""A handler that answers as the health check of a tracking server."""

from http.server import BaseHTTPRequestHandler


class Health(BaseHTTPRequestHandler):
    """Answers /<code>/health with this status code."""

    def do_GET(self) -> None:
        parts = self.path.split("/")
        self.send_response(int(parts[1]) if parts[2:] == ["health"] else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
