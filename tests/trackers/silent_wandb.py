"""A server that begins runs of W&B and then never answers again; prints its port."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = {
    "id": "x",
    "name": "made",
    "displayName": "made",
    "description": "",
    "config": "{}",
    "sweepName": None,
    "project": {"id": "p", "name": "made", "entity": {"id": "e", "name": "us"}},
    "historyLineCount": 0,
}
VIEWER = {"id": "v", "entity": "us", "username": "us", "email": "", "flags": "{}", "teams": {"edges": []}}
ANSWERS = {
    "Viewer": {"viewer": VIEWER},
    "RunResumeStatus": {"model": None},
    "UpsertBucket": {"upsertBucket": {"bucket": BUCKET, "inserted": True}},
}


class Handler(BaseHTTPRequestHandler):
    """Answers what begins a run, and keeps every other connection."""

    def do_POST(self) -> None:
        """Answer the question, or wait."""
        asked = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = json.loads(asked).get("operationName") if self.path == "/graphql" else None
        if name not in ANSWERS:
            threading.Event().wait()
        content = json.dumps({"data": ANSWERS[str(name)]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)  # noqa: T201
    server.serve_forever()
