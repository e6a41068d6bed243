"""Three web servers that say who they are, on 127.0.0.11 to 127.0.0.13, port 8080. Ends with Ctrl-C."""

import http.server
import threading


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"{self.server.name}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


for name, address in [("small-1", "127.0.0.11"), ("small-2", "127.0.0.12"), ("large-1", "127.0.0.13")]:
    server = http.server.ThreadingHTTPServer((address, 8080), Backend)
    server.name = name
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("small-1, small-2 and large-1 are listening", flush=True)
threading.Event().wait()
