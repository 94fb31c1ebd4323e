"""A server on port 8080 that fails in the way that the variable FAULT names; without it, a healthy one.

exit:N               exits with code N after two lines of log
signal:NAME          is killed by SIGSEGV, SIGABRT or SIGKILL; NAME is SEGV, ABRT or KILL
memory               takes memory until the limit of its container ends it
not-live             answers 500 on /live, 200 elsewhere
not-ready            answers 500 on /ready, 200 elsewhere
slow-start:SECONDS   answers 503 everywhere for so long, then as a healthy one
disk:MEBIBYTES       writes so much to /tmp, and is healthy
secrets              logs each line of SECRETS_TO_PRINT many times, the last in a traceback, and exits with 1

It dies at once on SIGTERM, so that tests need not wait for a grace period.
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MEBIBYTE = 1024 * 1024
MOST_MEMORY = 4096  # MiB: without a limit the machine itself would run out
WRONG_FAULT = 64


def say(line):
    print(line, flush=True)


def exit_with(code):
    code = int(code)
    say("loading the model")
    say(f"the model is broken: exiting with code {code}")
    sys.exit(code)


def die_by(name):
    """Be killed by a signal, as seen from outside.

    The kernel spares the first process of a container from signals that come
    from inside, so a child dies, and this process ends as a shell or an init would.
    """
    number = {"SEGV": signal.SIGSEGV, "ABRT": signal.SIGABRT, "KILL": signal.SIGKILL}[name]
    say(f"about to die by SIG{name}")
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), number)
        signal.pause()
    _, status = os.waitpid(child, 0)
    os._exit(128 + os.WTERMSIG(status))


def take_memory():
    say("loading the model into memory")
    taken = []
    for _ in range(MOST_MEMORY):
        taken.append(b"\1" * MEBIBYTE)
    sys.exit(f"took {MOST_MEMORY} MiB and no limit stopped it")


def print_secrets():
    # A container's two streams are read apart, and could change places: the traceback comes last in one.
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    secrets = [line for line in os.environ["SECRETS_TO_PRINT"].splitlines() if line]
    for attempt in range(100):
        for secret in secrets:
            say(secret)
            say(f"attempt {attempt}: the store refused token={secret}, trying again")
    raise PermissionError(f"the store refused {secrets[-1]}")


def serve(code_of):
    """Answer every request with what `code_of` makes of its path."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            code = code_of(self.path.partition("?")[0])
            body = b"ok" if code == 200 else b"not ok"
            self.send_response(code)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    Server(("", 8080), Handler).serve_forever()


def healthy():
    serve(lambda _: 200)


def fail_on(failing):
    serve(lambda path: 500 if path == failing else 200)


def start_slowly(seconds):
    ready = time.monotonic() + float(seconds)
    serve(lambda _: 200 if time.monotonic() >= ready else 503)


def fill_disk(mebibytes):
    count = int(mebibytes)
    threading.Thread(target=healthy, daemon=True).start()
    block = os.urandom(MEBIBYTE)
    with open("/tmp/filled", "wb") as file:
        for _ in range(count):
            file.write(block)
    say(f"wrote {count} MiB to /tmp")
    threading.Event().wait()


FAULTS = {
    "": healthy,
    "disk": fill_disk,
    "exit": exit_with,
    "memory": take_memory,
    "not-live": lambda: fail_on("/live"),
    "not-ready": lambda: fail_on("/ready"),
    "secrets": print_secrets,
    "signal": die_by,
    "slow-start": start_slowly,
}
VALUED = {"disk", "exit", "signal", "slow-start"}


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    fault, _, value = os.environ.get("FAULT", "").partition(":")
    if fault not in FAULTS or bool(value) != (fault in VALUED):
        say(f"FAULT={os.environ['FAULT']} is no fault that this server knows")
        sys.exit(WRONG_FAULT)
    FAULTS[fault](*([value] if value else []))


main()
