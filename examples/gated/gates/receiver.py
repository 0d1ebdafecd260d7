"""Stands for a chat or a pipeline that is told by hooks: prints what it gets. `python3 gates/receiver.py [PORT]`"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reason = f": {told['reason']}" if told["reason"] else ""
        print(f"{self.path}  {told['gate']}: {told['service']} {told['version']} is {told['status']}{reason}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8099), Receiver)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
