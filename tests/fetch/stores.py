"""One store for the tests: see `stores --help`."""

import datetime
import http.server
import ipaddress
import json
import logging
import os
import ssl
import sys
import tempfile
import threading

REGION = "us-east-1"

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
    client.put_object(Bucket="private", Key="model.pkl", Body=b"secret")
    return {"endpoint": f"http://127.0.0.1:{port}"}


def locked_store():
    import boto3
    import requests

    port = start_moto()
    endpoint = f"http://127.0.0.1:{port}"
    fill(s3(port), "models", "private")
    iam = boto3.client(
        "iam", endpoint_url=endpoint, aws_access_key_id="admin", aws_secret_access_key="admin", region_name=REGION
    )
    iam.create_user(UserName="reader")
    allow = lambda action, resource: {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{resource}"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [allow("s3:ListBucket", "models"), allow("s3:GetObject", "models/iris/*")],
    }
    iam.put_user_policy(UserName="reader", PolicyName="read-iris", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    return {
        "endpoint": endpoint,
        "accessKeyId": key["AccessKeyId"],
        "secretAccessKey": key["SecretAccessKey"],
    }


def tls_store():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(private + certificate)
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
    return {"endpoint": f"https://127.0.0.1:{server.server_address[1]}", "certificate": certificate.decode()}


def main():
    store = {"open": open_store, "locked": locked_store, "tls": tls_store}[sys.argv[1]]()
    print(json.dumps(store), flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


main()
