"""One store for the tests: see `stores --help`."""

import base64
import datetime
import gzip
import hashlib
import http.server
import io
import ipaddress
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse
import zipfile

REGION = "us-east-1"


def packed(entries, mode):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
            elif content:
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.CHRTYPE
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return stream.getvalue()


def archives():
    """The same files in each kind of archive, by its ending."""
    import zstandard

    files = {
        "MLmodel": b"flavors: {}\n",
        "sub/empty.txt": b"",
        "sub/folder/weights.bin": bytes(range(256)) * 64,
    }
    tar, zipped = packed(files.items(), "w"), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return {"tar": tar, "tar.gz": gzip.compress(tar), "tar.zst": zstandard.compress(tar), "zip": zipped.getvalue()}


ARCHIVES = archives()

FILES = {
    "iris/model/model.pkl": b"pickle" * 1000,
    "iris/model/MLmodel": b"flavors: {}\n",
    "iris/model/empty.txt": b"",
    "iris/model/sub/folder/weights.bin": bytes(range(256)) * 64,
    "iris/model/a b+c%20d.txt": b"space, plus, percent\n",
    "iris/model/\u00fcn\u00ef.txt": b"not ASCII\n",
    "iris/model/marker/": b"",
    "iris/model-2/other.txt": b"of another model\n",
    "iris/modelling.txt": b"of another model\n",
    **{f"iris/model.{kind}": body for kind, body in ARCHIVES.items()},
    "both/key": b"the object\n",
    "both/key/below": b"below the key\n",
    "markers/": b"",
    "markers/inner/": b"",
    "climbing/../escape.txt": b"out\n",
    "absolute//etc/passwd": b"out\n",
    "code/score.py": b"def init(): pass\n",
    "code/helper.py": b"",
    **{f"many/{number:04}.txt": str(number).encode() for number in range(1205)},
}


def s3(port, key="admin", secret="admin"):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=REGION,
    )


def start_moto():
    # Signatures and policies are checked after so many requests: never, until `reset-auth` says otherwise.
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "inf"
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    return port


def fill(client, bucket, acl):
    client.create_bucket(Bucket=bucket, ACL=acl)
    for key, body in FILES.items():
        client.put_object(Bucket=bucket, Key=key, Body=body, ACL=acl)


def open_store():
    port = start_moto()
    client = s3(port)
    fill(client, "models", "public-read")
    client.create_bucket(Bucket="hollow", ACL="public-read")
    client.create_bucket(Bucket="private")
    client.create_bucket(Bucket="uploads")
    client.put_object(Bucket="private", Key="model.pkl", Body=b"secret")
    return {"endpoint": f"http://127.0.0.1:{port}"}


def locked_store():
    import boto3
    import requests

    port = start_moto()
    endpoint = f"http://127.0.0.1:{port}"
    client = s3(port)
    fill(client, "models", "private")
    # Nobody but its owner may read it.
    client.create_bucket(Bucket="forbidden")
    client.create_bucket(Bucket="uploads")
    admin = {"aws_access_key_id": "admin", "aws_secret_access_key": "admin", "region_name": REGION}
    iam, sts = (boto3.client(service, endpoint_url=endpoint, **admin) for service in ["iam", "sts"])
    iam.create_user(UserName="reader")
    allow = lambda action, resource: {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{resource}"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            allow("s3:ListBucket", "models"),
            allow("s3:GetObject", "models/iris/*"),
            allow("s3:ListBucket", "uploads"),
            allow("s3:*", "uploads/*"),
        ],
    }
    iam.put_user_policy(UserName="reader", PolicyName="read-iris", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    iam.put_role_policy(RoleName="reader", PolicyName="read-iris", PolicyDocument=json.dumps(policy))
    session = sts.assume_role(RoleArn=role, RoleSessionName="node")["Credentials"]
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    return {
        "endpoint": endpoint,
        "accessKeyId": key["AccessKeyId"],
        "secretAccessKey": key["SecretAccessKey"],
        "role": role,
        "session": {
            "AccessKeyId": session["AccessKeyId"],
            "SecretAccessKey": session["SecretAccessKey"],
            "Token": session["SessionToken"],
        },
    }


def certificate(name, key, extension, issuer=None):
    """A certificate of `key`, signed by `issuer`, which is a certificate and its key, or by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256())


def pem(certificate, key):
    """Both as text."""
    from cryptography.hazmat.primitives import serialization

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def of_loopback(issuer=None):
    """A certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return pem(certificate("127.0.0.1", key, address, issuer), key)


def authority():
    """The certificate of an authority that nobody knows, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return certificate("authority", key, x509.BasicConstraints(ca=True, path_length=0)), key


def tls_store():
    signed, private = of_loopback()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(private + signed)
        file.flush()
        context.load_cert_chain(file.name)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/downgrade":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:1/model.bin")
                self.end_headers()
            else:
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"model")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return {"endpoint": f"https://127.0.0.1:{server.server_address[1]}", "certificate": signed.decode()}


def azure_store():
    import azurite

    return azurite.start(os.environ["PLACE"], FILES)


def azure_tokens_store():
    import azurite

    return azurite.start_with_tokens(os.environ["PLACE"], *of_loopback(), FILES)


def gcs_store():
    import google_door

    return google_door.start(os.environ["PLACE"], FILES)


def nginx_store():
    import nginx

    issuer = authority()
    return nginx.start(pem(*issuer)[0], *of_loopback(issuer), FILES)


def registry_store():
    """Three registries over one folder: one for everybody, one that wants a password, one that wants a token."""
    folder = tempfile.TemporaryDirectory()
    at = lambda name: os.path.join(folder.name, name)
    with open(at("htpasswd"), "w") as file:
        # `S3CR3T`, by bcrypt.
        file.write("reader:$2b$05$LtwaoDBHzXIPo62apjgjzOqNxHnhx30IqAV.2cuw2/Wt0.st/S6ES\n")
    realm, issued = token_service()
    with open(at("certificate.pem"), "wb") as file:
        file.write(issued)
    auths = {
        "endpoint": {},
        "basic": {"htpasswd": {"realm": "tests", "path": at("htpasswd")}},
        "token": {"token": {"realm": realm, "service": "tests", "issuer": "tests", "rootcertbundle": at("certificate.pem")}},
    }
    processes, store = [folder], {}
    for name, auth in auths.items():
        process, store[name] = start_registry(at("storage"), at(f"{name}.yaml"), auth)
        processes.append(process)
    store["digests"] = push_artifacts(store["endpoint"])
    return store, processes


def start_registry(storage, path, auth):
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": storage}},
        "http": {"addr": "127.0.0.1:0"},
        "auth": auth,
    }
    with open(path, "w") as file:
        json.dump({key: value for key, value in config.items() if value}, file)
    command = ["docker-registry", "serve", path]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = []
    for line in process.stderr:
        log.append(line.decode())
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", log[-1]):
            # Nobody reads more of it, and a full pipe would stop the registry.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[1]
    sys.exit("docker-registry did not start: " + "".join(log))


def token_service():
    """Gives tokens as the distribution specification says; the url, and the certificate of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issued = certificate("tests", key, x509.BasicConstraints(ca=True, path_length=None))
    der = base64.b64encode(issued.public_bytes(serialization.Encoding.DER)).decode()

    def signed(account, scope):
        access = []
        # Everybody may pull models/single, and the reader all but models/private, and push to uploads.
        if found := re.fullmatch(r"repository:(uploads/[^:]+):pull,push", scope or ""):
            if account == "reader":
                access = [{"type": "repository", "name": found[1], "actions": ["pull", "push"]}]
        elif found := re.fullmatch(r"repository:([^:]+):pull", scope or ""):
            if found[1] == "models/single" or (account == "reader" and not found[1].startswith("models/private")):
                access = [{"type": "repository", "name": found[1], "actions": ["pull"]}]
        now = int(time.time())
        claims = {"iss": "tests", "sub": account, "aud": "tests", "nbf": now - 60, "exp": now + 600, "access": access}
        text = b".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in ({"typ": "JWT", "alg": "RS256", "x5c": [der]}, claims)
        )
        signature = base64.urlsafe_b64encode(key.sign(text, padding.PKCS1v15(), hashes.SHA256())).rstrip(b"=")
        return (text + b"." + signature).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            credentials = self.headers.get("Authorization")
            password = "Basic " + base64.b64encode(b"reader:S3CR3T").decode()
            is_known = credentials in (None, password) and query.get("service") == "tests"
            self.answer(is_known, "token", "reader" if credentials else "", query.get("scope"))

        def do_POST(self):
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = dict(urllib.parse.parse_qsl(form))
            wanted = {"grant_type": "refresh_token", "refresh_token": "S3CR3T-identity", "service": "tests"}
            is_known = wanted.items() <= form.items() and form.get("client_id")
            self.answer(is_known, "access_token", "reader", form.get("scope"))

        def answer(self, is_known, name, account, scope):
            refusal = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
            body = json.dumps({name: signed(account, scope)} if is_known else refusal).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    realm = f"http://127.0.0.1:{server.server_address[1]}/token"
    return realm, issued.public_bytes(serialization.Encoding.PEM)


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"
BIG = bytes(range(251)) * (20 << 20 >> 8)


# Images by name, layer by layer: files with their content, links with their target, devices with nothing.
IMAGES = {
    "image": [
        [
            ("bin/sh", "/bin/busybox"),
            ("dev/null", None),
            ("etc/models/passwd", b"root"),
            ("models/", None),
            ("models/model.pkl", b"old"),
            ("models/gone.txt", b"gone"),
            ("models/kept.txt", b"kept"),
            ("models/link.txt", "kept.txt"),
            ("models/absolute.txt", "/models/kept.txt"),
            ("models/sub/a.txt", b"a"),
            ("modelsextra/b.txt", b"b"),
        ],
        [("models/model.pkl", b"new"), ("models/.wh.gone.txt", b""), ("models/sub/b.txt", b"b")],
        [("./models/sub/.wh..wh..opq", b""), ("./models/sub/c.txt", b"c"), ("./etc/.wh.passwd", b"")],
    ],
    "image-anew": [[("models/a.txt", b"a")], [(".wh.models", b""), ("models/b.txt", b"b")]],
    "image-hollow": [[("etc/passwd", b"root")]],
    "image-climbing": [[("models/../escape", b"out")]],
    "image-linked": [[("etc/passwd", b"root"), ("models/passwd", "/etc/passwd")]],
    "image-whiteout": [[("models/a.txt", b"a")], [("models/.wh...", b"")]],
    "image-device": [[("models/null", None)]],
}


def push_artifacts(registry):
    """Pushes as ORAS does; the digest of each manifest by its repository."""
    import requests

    session, digests = requests.Session(), {}
    digest_of = lambda body: "sha256:" + hashlib.sha256(body).hexdigest()

    def blob(repository, body, kind, annotations=None):
        begun = session.post(f"http://{registry}/v2/{repository}/blobs/uploads/", timeout=10)
        begun.raise_for_status()
        place = urllib.parse.urljoin(begun.url, begun.headers["Location"])
        put = session.put(place, params={"digest": digest_of(body)}, data=body or b"", timeout=60)
        put.raise_for_status()
        return descriptor(body, kind, annotations)

    def descriptor(body, kind, annotations=None):
        found = {"mediaType": kind, "digest": digest_of(body), "size": len(body)}
        return {**found, "annotations": annotations} if annotations else found

    def manifest(repository, reference, document):
        body = json.dumps({"schemaVersion": 2, **document}).encode()
        kind = document["mediaType"]
        url = f"http://{registry}/v2/{repository}/manifests/{reference or digest_of(body)}"
        session.put(url, data=body, headers={"Content-Type": kind}, timeout=10).raise_for_status()
        digests[repository] = digest_of(body)
        return descriptor(body, kind)

    def artifact(repository, layers, reference="1"):
        config = blob(repository, b"{}", "application/vnd.oci.empty.v1+json")
        layers = [blob(repository, body, kind, annotations) for body, kind, annotations in layers]
        return manifest(repository, reference, {"mediaType": OCI_MANIFEST, "config": config, "layers": layers})

    def file(title, body, **more):
        return (body, more.pop("kind", OCI_LAYER), {TITLE: title, **more})

    iris = {path.removeprefix("iris/model/"): body for path, body in FILES.items() if path.startswith("iris/model/")}
    artifact("models/iris", [file(title, body) for title, body in iris.items() if not title.endswith("/")])
    artifact("models/single", [file("model.pkl", b"pickle" * 1000)])
    for kind, body in ARCHIVES.items():
        artifact(f"models/archive.{kind}", [file(f"model.{kind}", body)])
    artifact("models/private", [file("model.pkl", b"pickle" * 1000)])
    artifact("models/nested", [file("sub/model.pkl", b"nested"), (b"{}", "application/json", {})])
    artifact("models/big", [file("model.bin", BIG)])
    artifact("models/climbing", [file("../escape", b"out"), file("model.pkl", b"in")])
    unpack = {"io.deis.oras.content.unpack": "true"}
    folder = packed([("folder/a.txt", b"a"), ("folder/sub/b.txt", b"b"), ("folder/.wh.a.txt", b"a name")], "w:gz")
    artifact("models/packed", [file("folder", folder, **unpack), file("folder/c.txt", b"c"), file("README.md", b"d")])
    artifact("models/packed-climbing", [file("folder", packed([("../escape", b"out")], "w:gz"), **unpack)])
    artifact("models/hollow", [(b"{}", "application/vnd.oci.empty.v1+json", {})])
    for name, layers in IMAGES.items():
        layers = [packed(entries, mode) for mode, entries in zip(["w:gz", "w"] * len(layers), layers)]
        kinds = ["application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER] * len(layers)
        artifact(f"models/{name}", [(layer, kind, {}) for layer, kind in zip(layers, kinds)])
    path = {"org.cncf.model.filepath": "weights/model.bin"}
    artifact("models/pack", [(b"weights", "application/vnd.cncf.model.weight.v1.raw", path)])
    weights = packed([("weights/model.bin", b"weights")], "w")
    artifact("models/pack-tar", [(weights, "application/vnd.cncf.model.weight.v1.tar", path)])
    for repository, system in [("models/platforms", "linux"), ("models/foreign", "windows")]:
        manifests = [
            {
                **artifact(repository, [file("model.so", architecture.encode())], reference=None),
                "platform": {"os": system, "architecture": architecture},
            }
            for architecture in ["riscv64", "amd64", "arm64"]
        ]
        manifest(repository, "1", {"mediaType": OCI_INDEX, "manifests": manifests})
    return digests


def main():
    stores = {
        "open": open_store,
        "locked": locked_store,
        "tls": tls_store,
        "azure": azure_store,
        "azure-tokens": azure_tokens_store,
        "gcs": gcs_store,
    }
    # With a folder and processes of their own.
    with_programs = {"nginx": nginx_store, "registry": registry_store}
    if make := with_programs.get(sys.argv[1]):
        store, (folder, *processes) = make()
    else:
        store = stores[sys.argv[1]]()
        folder, processes = None, []
    print(json.dumps(store), flush=True)
    sys.stdin.buffer.read()
    for process in processes:
        # Not killed: nginx ends its worker.
        process.terminate()
        process.wait()
    if folder:
        folder.cleanup()
    os._exit(0)


main()
