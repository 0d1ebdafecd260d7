//! An application that writes: at its start to both streams, and for each request what it was asked for.

use super::Host;

const PROGRAM: &str = r#"
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/health":
            print("asked for", self.path, flush=True)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass

print("hello from", os.environ["CUTOVER_VERSION"], flush=True)
print("be warned", file=sys.stderr, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Writes the application with its configuration; `more` may hold further sections.
pub fn write(host: &Host, more: &str) {
    host.write("talker.py", PROGRAM);
    let text = format!(
        "name = \"shop\"\ncommand = [\"python3\", \"talker.py\"]\n[health]\ninterval = \"50ms\"\nrise = 1\n{more}\n"
    );
    host.write("cutover.toml", &text);
}
