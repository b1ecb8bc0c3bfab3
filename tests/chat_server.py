"""A real server on this machine that answers as an OpenAI-compatible one does, or in any other way it is told to."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """What it is to answer, and what it was asked.

    Attributes:
        requests: (path, headers, body as sent) of every request.
        says: the comment; ``answer`` (status, headers, body) stands in place of it where it is set.
        gate: while clear, answers wait.
    """

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/v1"
        self.requests = []
        self.says = "B is right."
        self.answer = None
        self.gate = threading.Event()
        self.gate.set()

    def reply(self):
        if self.answer is not None:
            return self.answer
        said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.says}}]}
        return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()

    @property
    def asked(self):
        """The body of the latest request."""
        return json.loads(self.requests[-1][2])


@contextmanager
def serving():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            chat.requests.append((self.path, dict(self.headers), body))
            chat.gate.wait()
            status, headers, sent = chat.reply()
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)
            except ConnectionError:
                pass  # the other side has read enough

        do_GET = do_POST

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # closing waits for them
    chat = ChatServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        chat.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
