"""Namespaces with live objects are deleted."""

import time

from . import objects
from .cluster import Failed, say

NAMESPACE = "mooring-a"
LONGEST = 90


def fill(cluster, image):
    cluster.kubectl("create", "namespace", NAMESPACE)
    things = [objects.endpoint("iris", {"blue": 50, "green": 50}), objects.endpoint("empty", {})]
    cluster.apply(*things, *(objects.deployment("iris", name, image) for name in ("blue", "green")), namespace=NAMESPACE)
    objects.wait_ready(cluster, NAMESPACE, "onlineendpoint/iris", "onlinedeployment/iris-blue", "onlinedeployment/iris-green")
    objects.predict(cluster, NAMESPACE)


def gone(cluster, case):
    begin = time.monotonic()
    result = cluster.try_kubectl("delete", "namespace", NAMESPACE, f"--timeout={LONGEST}s")
    seconds = time.monotonic() - begin
    if result.returncode:
        namespace = cluster.try_kubectl("get", "namespace", NAMESPACE, "--output=jsonpath={.status.conditions}").stdout
        raise Failed(f"{case}: {result.stderr.strip()}: {namespace}")
    left = {it for it in cluster.things() if it[1] == NAMESPACE or it[2] == NAMESPACE}
    if left:
        raise Failed(f"{case}: left: {sorted(left)}")
    say(f"  {case}: gone within {seconds:.1f} s")
    return f"{case} {seconds:.1f} s"


def registered(cluster):
    """Whether the API server would ask the webhook."""
    items = cluster.get("validatingwebhookconfigurations")["items"]
    return any(it["metadata"]["name"].startswith("mooring") and it.get("webhooks") for it in items)


def run(cluster, arguments):
    image = cluster.abrupt()
    cluster.wipe()
    cluster.chart("install", "--create-namespace", "--wait", "--timeout", "5m")
    took = []
    fill(cluster, image)
    took.append(gone(cluster, "operator up"))
    if not arguments.short:
        # At once, while the operator is at work on them.
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.apply(objects.endpoint("iris", {"blue": 100}), objects.deployment("iris", "blue", image), namespace=NAMESPACE)
        took.append(gone(cluster, "objects of the same second"))
    fill(cluster, image)
    cluster.operators(0)
    if not registered(cluster):
        raise Failed("the webhook is not registered")
    took.append(gone(cluster, "operator down, webhook registered"))
    cluster.operators(2)
    if not arguments.short:
        fill(cluster, image)
        cluster.chart("upgrade", "--wait", "--timeout", "5m", changes=[{"webhook": {"enabled": False}}])
        cluster.operators(0)
        if registered(cluster):
            raise Failed("the webhook is registered still")
        took.append(gone(cluster, "operator down, no webhook"))
        cluster.operators(2)
    fill(cluster, image)
    cluster.helm("uninstall", "mooring", "--wait", "--timeout", "3m")
    took.append(gone(cluster, "chart uninstalled"))
    return f"{len(took)} of {len(took)} gone: {', '.join(took)}"
