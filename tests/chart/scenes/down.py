"""No operator answers, but the webhook is registered."""

import json
import time

from . import objects
from .cluster import Failed, say

NAMESPACE = "mooring-a"
KIND = "widgets.lifecycle.test"
# Of each of five kinds of objects; each of them is made, changed, told a status and deleted.
EACH = 11


def definition():
    """A kind that has nothing to do with ours."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": KIND},
            "spec": {"group": "lifecycle.test", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
                     "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]}}


def others(image):
    """Kind, whether it has a status of its own, and the object, for each of what others have in a cluster."""
    labels = {"app": "lifecycle"}
    pod = {"containers": [{"name": "main", "image": image, "resources": {"requests": {"cpu": "1m"}}}],
           # It is to be stored, not to run.
           "nodeSelector": {"lifecycle.test/nowhere": "true"}}
    return (
        ("namespace", "v1", "Namespace", {}, {"phase": "Active"}),
        ("pod", "v1", "Pod", {"spec": pod}, {"message": "told"}),
        ("deployment", "apps/v1", "Deployment",
         {"spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}, {"replicas": 0}),
        ("configmap", "v1", "ConfigMap", {"data": {"a": "b"}}, None),
        (KIND, "lifecycle.test/v1", "Widget", {"spec": {"size": 1}}, {"size": 1}),
    )


class Attempts:
    def __init__(self, cluster):
        self.cluster, self.count, self.wrong = cluster, 0, []

    def try_to(self, *arguments, text=None):
        self.count += 1
        result = self.cluster.try_kubectl("--namespace", NAMESPACE, *arguments, text=text)
        if result.returncode:
            self.wrong.append(f"{' '.join(arguments)}: {result.stderr.strip()[:300]}")


def everything_else(attempts, image):
    for number in range(EACH):
        for kind, version, name, content, status in others(image):
            thing = f"{kind}/lifecycle-{number}"
            document = {"apiVersion": version, "kind": name, "metadata": {"name": f"lifecycle-{number}"}, **content}
            attempts.try_to("create", "--filename", "-", text=json.dumps(document))
            attempts.try_to("patch", thing, "--type=merge", "--patch", json.dumps({"metadata": {"labels": {"changed": "yes"}}}))
            if status is not None:
                attempts.try_to("patch", thing, "--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
            attempts.try_to("delete", thing, "--wait=false", "--grace-period=0" if kind == "pod" else "--grace-period=-1")


def ours(attempts):
    """What the webhook is not asked about: notes, statuses, deletions."""
    for thing in ("onlineendpoint/iris", "onlinedeployment/iris-blue"):
        attempts.try_to("label", thing, "changed=yes")
        attempts.try_to("patch", thing, "--subresource=status", "--type=merge", "--patch", json.dumps({"status": {"observedGeneration": 1}}))
    # A scale is not asked about: an autoscaler has to go on.
    attempts.try_to("scale", "onlinedeployment/iris-blue", "--replicas=3")
    attempts.try_to("delete", "onlinedeployment/iris-spare", "--timeout=60s")
    # One with traffic too: a guard that nobody answers for keeps nobody.
    attempts.try_to("delete", "onlinedeployment/other-blue", "--timeout=60s")
    attempts.try_to("delete", "onlineendpoint/other", "--timeout=60s")


def run(cluster, arguments):
    image = cluster.abrupt()
    cluster.wipe()
    cluster.chart("install", "--create-namespace", "--wait", "--timeout", "5m")
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.apply(objects.endpoint("iris", {"blue": 100}), objects.endpoint("other", {"blue": 100}),
                  objects.deployment("iris", "blue", image, 2), objects.deployment("iris", "spare", image),
                  objects.deployment("other", "blue", image), namespace=NAMESPACE)
    objects.wait_ready(cluster, NAMESPACE, "onlinedeployment", "--all")
    objects.wait_ready(cluster, NAMESPACE, "onlineendpoint", "--all")
    objects.predict(cluster, NAMESPACE)
    cluster.kubectl("apply", "--filename", "-", text=json.dumps(definition()))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{KIND}", "--timeout=30s")
    attempts = Attempts(cluster)
    try:
        with objects.Load(cluster, NAMESPACE, arguments.rate) as load:
            cluster.operators(0)
            changed = cluster.try_kubectl("--namespace", NAMESPACE, "patch", "onlinedeployment/iris-blue", "--type=merge",
                                          "--patch", json.dumps({"spec": {"resources": {"limits": {"memory": "300Mi"}}}}))
            if "failed calling webhook" not in changed.stderr:
                raise Failed(f"the webhook is not asked, so this shows nothing: {changed.stdout}{changed.stderr}")
            begin = time.monotonic()
            everything_else(attempts, image)
            ours(attempts)
            say(f"  {attempts.count} requests to the API server took {time.monotonic() - begin:.0f} s")
            sent, failed, causes = load.stop()
        cluster.operators(2)
        objects.wait_ready(cluster, NAMESPACE, "onlinedeployment", "--all")
    finally:
        cluster.try_kubectl("delete", "crd", KIND, "--ignore-not-found")
    summary = (f"{attempts.count - len(attempts.wrong)} of {attempts.count} requests to the API server were fine without an operator; "
               f"scoring: {sent} requests, {failed} failed {causes or ''}")
    if attempts.wrong or failed:
        raise Failed(f"{summary}; {attempts.wrong}")
    return summary
