"""Endpoints and deployments as the scenes make them, and requests to them."""

import base64
import http.client
import json
import subprocess
import time

from .cluster import PROJECT, Failed, run, until

KINDS = "onlineendpoints,onlinedeployments"


def endpoint(name, traffic):
    return {"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": name},
            "spec": {"traffic": traffic, "limits": {"requestsPerSecond": 100000}}}


def deployment(endpoint_name, name, image, instances=1):
    """A custom container that is up at once and answers at once."""
    route = lambda path: {"port": 8080, "path": path}  # noqa: E731
    return {
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": f"{endpoint_name}-{name}"},
        "spec": {
            "endpointName": endpoint_name, "deploymentName": name, "instanceCount": instances,
            "environment": {"image": image, "inferenceConfig": {
                "livenessRoute": route("/live"), "readinessRoute": route("/ready"), "scoringRoute": route("/predict")}},
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "2", "memory": "256Mi"}},
            "requestSettings": {"maxConcurrentRequestsPerInstance": 32, "maxQueueWaitMs": 4000, "requestTimeoutMs": 5000},
            "livenessProbe": {"initialDelaySeconds": 1, "periodSeconds": 10, "timeoutSeconds": 10},
            "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 10},
        },
    }


def sample(cluster):
    """deploy/samples/sklearn, with the image that serves it."""
    text = cluster.kubectl("kustomize", "deploy/samples/sklearn")
    return text.replace("image: python-sklearn\n", f"image: {cluster.sklearn}\n")


def request():
    """What the sample is asked."""
    return (PROJECT / "deploy/samples/sklearn/request.json").read_text()


def wait_ready(cluster, namespace, *things, seconds=180):
    cluster.kubectl("--namespace", namespace, "wait", "--for=condition=Ready", f"--timeout={seconds}s", *things)


def key(cluster, namespace, name="iris"):
    secret = cluster.get("--namespace", namespace, "secret", f"{name}-keys")
    return base64.b64decode(secret["data"]["primaryKey"]).decode()


def ask(cluster, namespace, body="{}", name="iris"):
    """The code and the text of one answer, through the gateway's Service; no code when nobody answered."""
    connection = http.client.HTTPConnection(cluster.gateway(), timeout=30)
    headers = {"Host": f"{name}.{namespace}.svc.cluster.local", "Authorization": f"Bearer {key(cluster, namespace, name)}",
               "Content-Type": "application/json"}
    try:
        connection.request("POST", "/score", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return None, str(error)
    finally:
        connection.close()


def predict(cluster, namespace, body="{}", seconds=30):
    """Asks until the answer is good; how many were not."""
    bad = []

    def is_good():
        code, text = ask(cluster, namespace, body)
        if code != 200:
            bad.append(f"{code} {text.strip()[:200]}")
        return code == 200
    try:
        until(f"a prediction of {namespace}", is_good, seconds)
    except Failed as failure:
        raise Failed(f"{failure}: {bad[-1]}") from None
    return bad


class Load:
    """Requests in an open loop through the gateway's Service, from here. A request counts as failed with any answer but
    200, and without an answer, also when its connection was refused or ended; oha opens a new connection, as any client
    does, only for the request after that."""

    def __init__(self, cluster, namespace, rate, body="{}"):
        command = [run("tests/bench/oha").strip(), "--no-tui", "--output-format", "json", "-z", "3600s", "-q", str(rate), "-c", "32"]
        command += ["-m", "POST", "-d", body, "-H", f"Host: iris.{namespace}.svc.cluster.local", "-H", "Content-Type: application/json"]
        command += ["-t", "30s", "-H", f"Authorization: Bearer {key(cluster, namespace)}", f"http://{cluster.gateway()}/score"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(3)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()

    def stop(self):
        """Sent and failed requests, and why they failed."""
        time.sleep(3)
        self.process.send_signal(2)
        out, error = self.process.communicate(timeout=60)
        try:
            result = json.loads(out)
        except ValueError:
            raise Failed(f"the load ended early: {error[-500:]}") from None
        # Those that were under way when it ended.
        causes = {cause: count for cause, count in result["errorDistribution"].items() if "deadline" not in cause}
        codes = result["statusCodeDistribution"]
        causes |= {code: count for code, count in codes.items() if code != "200"}
        return sum(codes.values()) + sum(result["errorDistribution"].values()), sum(causes.values()), causes
