"""A bucket of Google Cloud Storage on this machine, for child processes whose TensorFlow opens gs:// paths.

TensorFlow's file system has Google's host names built in, but goes through a proxy if the environment names one, and
trusts the certificates it names. So this is a proxy that is those hosts, with an emulator of Google's JSON API behind.
"""

import contextlib
import functools
import io
import logging
import pathlib
import re
import ssl
import tempfile
import threading
import time
from http import server

import trustme
from gcp_storage_emulator import server as emulator
from gcp_storage_emulator import storage
from gcp_storage_emulator.handlers import buckets, objects

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
NAME = "bucket"
# An upload of no bytes is None to the emulator, which it then wants to measure.
_read_data = emulator._read_data
emulator._read_data = lambda *args: b"" if (read := _read_data(*args)) is None else read
for logger in ("gcp_storage_emulator", "api"):  # an object that is not there is an error to it
    logging.getLogger(logger).setLevel(logging.CRITICAL)


class Bucket:
    """The bucket gs://bucket, as a test sees it.

    Attributes:
      url: "gs://bucket", without a slash at the end.
      environment: the variables that make a child process see it.
      requests: "METHOD path?query" of every request so far; a path has %2F for the slashes of objects' names.
    """

    url = f"gs://{NAME}"

    def __init__(self):
        self.environment = {}
        self.requests = []
        self._lock = threading.Lock()
        self._storage = storage.Storage(use_memory_fs=True)
        buckets.create_bucket(NAME, self._storage)
        self.mend()

    def names(self, prefix=""):
        """Returns the names of the objects that begin with `prefix`, sorted."""
        with self._lock:
            return sorted(name for name in self._storage.objects.get(NAME, {}) if name.startswith(prefix))

    def read(self, name):
        """Returns an object's bytes; KeyError where there is none."""
        with self._lock:
            return self._storage.get_file(NAME, self._storage.objects.get(NAME, {})[name]["name"])

    def write(self, name, content):
        """Makes or replaces an object."""
        with self._lock:
            made = objects._make_object_resource("", NAME, name, "application/octet-stream", str(len(content)))
            self._storage.create_file(NAME, name, bytes(content), objects._checksums(bytes(content), made))

    def delete(self, name):
        """Removes an object; KeyError where there is none."""
        with self._lock:
            self._storage.delete_file(NAME, self._storage.objects.get(NAME, {})[name]["name"])

    def fail(self, count, status=503, match=""):
        """Answers the next `count` requests in which the regular expression is found with this HTTP status."""
        self._faults.append([count, status, match])

    def cut(self):
        """Answers nothing from now on: connections are closed at once."""
        self._is_cut = True

    def slow(self, seconds):
        """Delays every answer by so much."""
        self._delay_seconds = seconds

    def mend(self):
        """Ends what `fail`, `cut` and `slow` began."""
        self._faults, self._is_cut, self._delay_seconds = [], False, 0

    def _answer(self, handler):
        """Writes the answer to a request which `handler` has read; returns False where there shall be none."""
        time.sleep(self._delay_seconds)
        if self._is_cut:
            return False
        request = f"{handler.command} {handler.path}"
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault[0] > 0 and re.search(fault[2], request):
                    fault[0] -= 1
                    handler.write(fault[1], b"")
                    return True
            if handler.path == f"/storage/v1/b/{NAME}/storageLayout":
                handler.write(200, b"{}")  # what the emulator lacks; asked before a directory is renamed
                return True
            handler.storage = self._storage
            emulator.Router(handler).handle(handler.command)
            return True


class _Handler(server.BaseHTTPRequestHandler):
    """A connection to the proxy: CONNECT and TLS, then requests to the host that was asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, bucket, tls, *args):
        self._bucket, self._tls = bucket, tls
        super().__init__(*args)

    def handle(self):
        with contextlib.suppress(OSError):  # a child may be killed while it asks
            super().handle()

    def do_CONNECT(self):
        if self._bucket._is_cut or self.path not in [f"{host}:443" for host in HOSTS]:
            self.close_connection = True
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.connection = self._tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")

    def do_GET(self):
        if "Transfer-Encoding" in self.headers:
            del self.headers["Content-Length"]  # TensorFlow sends both, the emulator would take the wrong one
        body = emulator._read_raw_data(self) or b""
        del self.headers["Transfer-Encoding"], self.headers["Content-Length"]
        self.headers["Content-Length"] = str(len(body))
        # The emulator gets what has been read and fills what is yet to be written: it never waits for a child.
        connection = self.rfile, self.wfile
        self.rfile, self.wfile = io.BytesIO(body), io.BytesIO()
        is_answered, written = self._bucket._answer(self), self.wfile.getvalue()
        self.rfile, self.wfile = connection
        self.close_connection |= not is_answered
        self.wfile.write(written)
        self.wfile.flush()

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def write(self, status, content):
        """Writes a whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_header(self, keyword, value):
        # Where to send an upload to: the emulator knows no TLS.
        super().send_header(keyword, value.replace("http://", "https://", 1) if keyword == "Location" else value)

    def handle_expect_100(self):
        is_wanted = super().handle_expect_100()
        self.wfile.flush()
        return is_wanted

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve():
    """Yields a Bucket that is there until the block ends, and empty at first."""
    bucket = Bucket()
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(tls)
    with tempfile.TemporaryDirectory() as directory:
        certificates = pathlib.Path(directory) / "authority.pem"
        authority.cert_pem.write_to_path(str(certificates))
        proxy = server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, bucket, tls))
        proxy.daemon_threads, proxy.block_on_close = True, False
        bucket.environment = _environment(f"http://127.0.0.1:{proxy.server_port}", str(certificates))
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield bucket
        finally:
            proxy.shutdown()
            thread.join()
            proxy.server_close()


def _environment(proxy, certificates):
    # Lower case would win over upper case in libcurl, and gRPC would take it for its own; empty is unset to both.
    others = ("https_proxy", "http_proxy", "all_proxy", "ALL_PROXY", "grpc_proxy", "no_proxy")
    return {
        **dict.fromkeys(others, ""),
        "HTTPS_PROXY": proxy,
        "NO_PROXY": "127.0.0.1,localhost",
        "CURL_CA_BUNDLE": certificates,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",  # without one TensorFlow asks Google's metadata server
        "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "0",  # to any other pause TensorFlow adds up to a second, by chance
        "GCS_RETRY_CONFIG_MAX_RETRIES": "5",
    }
