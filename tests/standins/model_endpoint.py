"""A loopback endpoint that speaks chat completions: each officer of the company says one thing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS: dict[str, dict[str, Any]] = {
    "chief financial officer": {"npv_usd": 1.0, "payback_years": None, "rationale": "thin"},
    "chief technology officer": {
        "delivery_risk": 0.5, "expected_weeks": 9.0, "riskiest_component": "all", "rationale": "unclear",
    },
    "chief executive officer": {"decision": "reject", "score": 0.1, "rationale": "not now"},
}  # fmt: skip


class _Completions(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    decision = "reject"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = json.dumps(request["messages"][0])
        answer = dict(next(said for who, said in ANSWERS.items() if who in asked))
        if "decision" in answer:
            answer["decision"] = self.decision
        message = {"role": "assistant", "content": json.dumps(answer)}
        body = json.dumps({
            "id": "c1", "object": "chat.completion", "created": 1_760_000_000, "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Approving(_Completions):
    decision = "approve"


@contextmanager
def model_endpoint(*, approving: bool = False) -> Iterator[str]:
    """Serve the endpoint; gives its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Approving if approving else _Completions)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
