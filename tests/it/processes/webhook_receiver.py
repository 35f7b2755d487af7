"""A webhook that verifies each request and writes it to a file, one JSON object a line.

Usage: webhook_receiver.py PORT FILE SECRET
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

PORT, FILE, SECRET = sys.argv[1:]
WEBHOOK, LOCK = Webhook(SECRET), Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        kept = {"id": headers.get("webhook-id")}
        try:
            kept["event"] = WEBHOOK.verify(body, headers)
        except WebhookVerificationError as error:
            kept["error"] = str(error)
        with LOCK, open(FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        self.send_response(204 if "event" in kept else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(PORT)), Receiver)
print("ready", flush=True)
server.serve_forever()
