"""nginx, with which many serve their models: plain and by TLS, with passwords, refusals, compression and a slow way."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    log_format sent "$request_uri $status $body_bytes_sent";
    access_log {root}/access.log sent;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    default_type text/plain;
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    server {{
        listen {plain};
        listen {tls} ssl;
        ssl_certificate {root}/certificate.pem;
        ssl_certificate_key {root}/key.pem;
        location / {{ root {root}/files; }}
        location /private/ {{
            alias {root}/files/;
            auth_basic models;
            auth_basic_user_file {root}/passwords;
        }}
        location /forbidden/ {{ deny all; }}
        location /slow/ {{
            alias {root}/files/;
            limit_rate 4m;
        }}
        location /slow-without-tags/ {{
            alias {root}/files/;
            limit_rate 4m;
            etag off;
        }}
    }}
}}
"""


def start(authority, certificate, private, files):
    folder = tempfile.TemporaryDirectory(prefix="nginx-")
    # Its worker is another user.
    os.chmod(folder.name, 0o755)
    at = lambda name: os.path.join(folder.name, name)
    for name in files:
        if name.startswith("iris/") and not name.endswith("/"):
            write(at(f"files/{name}"), files[name])
    # Fetched in chunks.
    write(at("files/vast/weights.bin"), bytes(range(251)) * (1 << 17))
    write(at("certificate.pem"), certificate)
    write(at("key.pem"), private)
    write(at("passwords"), b"reader:{PLAIN}S3CR3T\n")
    # Bound here and handed over, so that no other program can take the ports in between.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    plain, tls = ["%s:%s" % listening.getsockname() for listening in sockets]
    write(at("nginx.conf"), CONFIGURATION.format(root=folder.name, plain=plain, tls=tls).encode())
    numbers = [listening.fileno() for listening in sockets]
    # Ends when this process does, which ends with its standard input.
    command = ["setpriv", "--pdeathsig", "TERM", "nginx", "-e", "stderr", "-c", at("nginx.conf")]
    process = subprocess.Popen(
        command,
        env={**os.environ, "NGINX": "".join(f"{number};" for number in numbers)},
        pass_fds=numbers,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = []
    for line in process.stderr:
        log.append(line)
        if "using the \"" in line:
            break
    else:
        sys.exit("nginx did not start: " + "".join(log))
    # Nobody reads the rest, which must not fill the pipe.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    store = {
        "endpoint": f"http://{plain}",
        "tls": f"https://{tls}",
        "certificate": authority.decode(),
        "files": at("files"),
        "log": at("access.log"),
    }
    return store, [folder, process]


def write(path, body):
    """Long ago, so that its time tells one version from another."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(body)
    os.utime(path, (time.time() - 3600,) * 2)
