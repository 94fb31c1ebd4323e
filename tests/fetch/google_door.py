"""Google Cloud Storage: fake-gcs-server behind a door that knows tokens, permissions and generations as the real one.

The answers of the door are those of the real store; source: Cloud Storage JSON API, "HTTP status and error codes".
"""

import base64
import http.client
import http.server
import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request

ACCOUNT = "reader@project.iam.gserviceaccount.com"
# What the metadata server of the tests gives.
NODE_TOKEN = "ya29.node"


def start(place, files):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    store = subprocess.Popen([f"{place}/gcs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    behind = urllib.parse.urlsplit(store.stdout.readline().strip())
    fill(behind.geturl(), files)

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    class Door(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            # /storage/v1/b/BUCKET/o/OBJECT
            bucket, name = url.path.split("/")[4], urllib.parse.unquote(url.path.partition("/o/")[2])
            permission = "storage.objects.get" if name else "storage.objects.list"
            who = caller(self.headers.get("Authorization"), key.public_key())
            if who is None:
                return self.refuse(401, "authError", "Invalid Credentials")
            if bucket != "public" and who == "Anonymous caller":
                return self.refuse(401, "required", denied(who, permission))
            if bucket == "forbidden":
                return self.refuse(403, "forbidden", denied(who, permission))
            connection = http.client.HTTPConnection(behind.hostname, behind.port)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            wanted = urllib.parse.parse_qs(url.query).get("ifGenerationMatch")
            if wanted and answer.headers.get("X-Goog-Generation", wanted[0]) != wanted[0]:
                return self.refuse(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
            self.send_response(answer.status)
            for header, value in answer.getheaders():
                if header.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                    self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def refuse(self, status, reason, message):
            error = {"code": status, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}
            body = json.dumps({"error": error}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = {
        "type": "service_account",
        "client_email": ACCOUNT,
        "private_key_id": "1",
        "private_key": private.decode(),
    }
    return {
        "endpoint": f"http://127.0.0.1:{server.server_address[1]}",
        "key": json.dumps(account),
        "token": NODE_TOKEN,
    }


def denied(who, permission):
    return (
        f"{who} does not have {permission} access to the Google Cloud Storage object. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )


def caller(authorization, public):
    """Who it is; None when it is nobody that is known."""
    if authorization is None:
        return "Anonymous caller"
    token = authorization.removeprefix("Bearer ")
    return "The node" if token == NODE_TOKEN else signer(token, public)


def signer(token, public):
    """The service account of a self-signed token (AIP-4111)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    decode = lambda part: base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    try:
        head, claims, signature = token.split(".")
        public.verify(decode(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(decode(claims))
    except (ValueError, InvalidSignature):
        return None
    is_right = claims["iss"] == claims["sub"] == ACCOUNT and claims["iat"] <= time.time() + 10 < claims["exp"]
    return ACCOUNT if is_right and "cloud-platform" in claims["scope"] else None


def fill(url, files):
    def post(path, body, kind="application/json"):
        request = urllib.request.Request(url + path, data=body, headers={"Content-Type": kind})
        urllib.request.urlopen(request, timeout=10).read()

    for bucket in ["models", "public", "hollow", "forbidden"]:
        post("/storage/v1/b?project=p", json.dumps({"name": bucket}).encode())
    for bucket, tops in [("models", ""), ("public", "iris/"), ("forbidden", "code/")]:
        for name, body in files.items():
            if name.startswith(tops):
                name = urllib.parse.quote(name, safe="")
                post(f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", body, "application/octet-stream")
    # Fetched in chunks.
    vast = bytes(range(251)) * (1 << 17)
    post("/upload/storage/v1/b/models/o?uploadType=media&name=vast%2Fweights.bin", vast, "application/octet-stream")
    import gzip

    packed = gzip.compress(b"words " * 100, mtime=0)
    name = "packed%2Fwords.txt"
    post(f"/upload/storage/v1/b/models/o?uploadType=media&contentEncoding=gzip&name={name}", packed, "text/plain")
