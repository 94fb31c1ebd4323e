"""A random walk of install, upgrade, rollback and uninstall with live objects, whose users go on working meanwhile."""

import collections
import json
import random
import time

from . import objects
from .cluster import SYSTEM, Failed, say, until

NAMESPACES = ("mooring-a", "mooring-b")
# Every so many steps all has to be right again.
SETTLE = 10
# A user tries this long to have a change accepted.
PATIENCE = 90
# What a webhook may say while a step changes its pods: nobody answers for it.
AWAY = "failed calling webhook"


class Walk:
    def __init__(self, cluster, steps, seed):
        self.cluster, self.steps = cluster, steps
        self.random = random.Random(seed)
        self.image = cluster.abrupt()
        self.values = {}
        self.done, self.changes = collections.Counter(), collections.Counter()
        self.refused = collections.Counter()
        self.longest = 0.0
        self.settled = self.extras = 0
        # Uid and spec of each object, as its user left it; and the uids of the definitions and of the instances' Deployments.
        self.expected, self.fixed = {}, {}

    # Steps of helm.

    def any_values(self):
        pick = self.random.choice
        return {
            "namespace": pick(["", "", NAMESPACES[0]]),
            "log": {"format": pick(["json", "text"]), "filter": pick(["info", "debug", "warn"])},
            "operator": {"replicas": pick([1, 2, 3]), "concurrency": pick([1, 16])},
            "webhook": {"enabled": pick([True, True, False]), "trafficGuard": pick(["deny", "warn", "off"]),
                        "certificatePeriod": pick(["720h", "1h"])},
            "gateway": {"replicas": pick([1, 2, 3]), "accessLog": pick([True, False]), "drainSeconds": pick([5, 300]),
                        "shutdownDelaySeconds": pick([1, 5]), "service": {"type": pick(["ClusterIP", "NodePort"])},
                        "resources": pick([{}, {"requests": {"cpu": "10m"}}])},
            "networkPolicy": {"enabled": pick([True, False])},
            "monitoring": {"dashboard": {"enabled": pick([True, False])}},
        }

    def waits(self):
        return ("--wait", "--timeout", "5m") if self.random.random() < 0.25 else ()

    def install(self):
        self.values = self.any_values()
        self.cluster.chart("install", "--create-namespace", *self.waits(), changes=[self.values])

    def upgrade(self):
        self.values = self.any_values()
        self.cluster.chart("upgrade", *self.waits(), changes=[self.values])

    def rollback(self):
        history = json.loads(self.cluster.helm("history", "mooring", "--output", "json"))
        revision = self.random.choice(sorted(it["revision"] for it in history))
        self.cluster.helm("rollback", "mooring", str(revision), *self.waits())
        self.values = json.loads(self.cluster.helm("get", "values", "mooring", "--output", "json"))

    def uninstall(self):
        self.cluster.helm("uninstall", "mooring", *self.waits())
        self.values = None

    def step(self):
        choices = ["install"] if self.values is None else self.random.choices(
            ["upgrade", "rollback", "uninstall"], [50, 30, 20])
        getattr(self, choices[0])()
        self.done[choices[0]] += 1
        return choices[0]

    # What users do.

    def served(self):
        return [it for it in NAMESPACES if self.values["namespace"] in ("", it)]

    def accepted(self, namespace, *arguments, text=None):
        """Tries until it is accepted. Only a webhook that is being replaced may say no, and only for a while."""
        begin = time.monotonic()
        while (result := self.cluster.try_kubectl("--namespace", namespace, *arguments, text=text)).returncode:
            if self.values is None or AWAY not in result.stderr:
                raise Failed(f"refused with {self.values}: {arguments}: {result.stderr.strip()}")
            self.refused[result.stderr.strip().rsplit(": ", 1)[-1]] += 1
            if time.monotonic() - begin > PATIENCE:
                raise Failed(f"refused for {PATIENCE} s with {self.values}: {arguments}: {result.stderr.strip()}")
            time.sleep(0.5)
        self.longest = max(self.longest, time.monotonic() - begin)

    def change(self):
        namespace = self.random.choice(NAMESPACES)
        has_green = (namespace, "OnlineDeployment", "iris-green") in self.expected
        extras = sorted(name for place, kind, name in self.expected if place == namespace and name.startswith("extra"))
        kind = self.random.choice(["traffic", "scale", "label", "new", "drop", "green"])
        if kind == "traffic":
            share = self.random.choice([0, 10, 50]) if has_green else 0
            patch = {"spec": {"traffic": {"blue": 100 - share, "green": share or None}}}
            self.accepted(namespace, "patch", "onlineendpoint/iris", "--type=merge", "--patch", json.dumps(patch))
        elif kind == "scale":
            self.accepted(namespace, "scale", "onlinedeployment/iris-blue", f"--replicas={self.random.choice([1, 2])}")
        elif kind == "label":
            self.accepted(namespace, "label", "onlinedeployment/iris-blue", f"step={sum(self.done.values())}", "--overwrite")
        elif kind == "new":
            self.extras += 1
            self.accepted(namespace, "apply", "--filename", "-", text=json.dumps(objects.endpoint(f"extra-{self.extras}", {})))
        elif kind == "drop" and extras:
            self.accepted(namespace, "delete", f"onlineendpoint/{self.random.choice(extras)}", "--timeout=60s")
        elif kind == "green" and has_green:
            # As the guard asks for it: first the traffic goes.
            patch = {"spec": {"traffic": {"blue": 100, "green": None}}}
            self.accepted(namespace, "patch", "onlineendpoint/iris", "--type=merge", "--patch", json.dumps(patch))
            self.accepted(namespace, "delete", "onlinedeployment/iris-green", "--timeout=60s")
        elif kind == "green":
            self.accepted(namespace, "apply", "--filename", "-", text=json.dumps(objects.deployment("iris", "green", self.image)))
        else:
            return
        self.changes[kind] += 1
        self.expected = self.stored()

    # What has to be true.

    def stored(self):
        return {(it["metadata"]["namespace"], it["kind"], it["metadata"]["name"]): (it["metadata"]["uid"], it["spec"])
                for kind in objects.KINDS.split(",") for it in self.cluster.read(f"/apis/mooring.dev/v1alpha1/{kind}")["items"]}

    def held(self):
        """Uids of the definitions and of the Deployments that hold the instances of blue."""
        items = self.cluster.read("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
        uids = {it["metadata"]["name"]: it["metadata"]["uid"] for it in items if it["spec"]["group"] == "mooring.dev"}
        for namespace in NAMESPACES:
            uids[namespace] = self.cluster.read(f"/apis/apps/v1/namespaces/{namespace}/deployments/iris-blue")["metadata"]["uid"]
        return uids

    def check(self):
        found = self.stored()
        if found != self.expected:
            differs = {name: (self.expected.get(name), found.get(name)) for name in self.expected.keys() | found.keys()
                       if self.expected.get(name) != found.get(name)}
            raise Failed(f"objects are lost or changed: {differs}")
        if self.held() != self.fixed:
            raise Failed(f"definitions or Deployments are lost or new: {self.fixed} became {self.held()}")

    def settle(self):
        begin = time.monotonic()
        self.cluster.ready()
        for namespace in self.served():
            until(f"status in {namespace} is right", lambda place=namespace: not self.unsettled(place), 180, 1)
            bad = objects.predict(self.cluster, namespace)
            if bad:
                say(f"  predictions in vain in {namespace}: {bad}")
        self.settled += 1
        say(f"  settled within {time.monotonic() - begin:.1f} s")

    def unsettled(self, namespace):
        """Objects whose status is not of what their users want, or not Ready."""
        late = []
        for it in self.cluster.get("--namespace", namespace, objects.KINDS)["items"]:
            status = it.get("status", {})
            ready = [each for each in status.get("conditions", []) if each["type"] == "Ready"]
            is_ready = bool(ready) and ready[0]["status"] == "True"
            if status.get("observedGeneration") != it["metadata"]["generation"] or not (is_ready or it["metadata"]["name"].startswith("extra")):
                late.append(it["metadata"]["name"])
        return late

    # The whole of it.

    def begin(self):
        self.cluster.wipe()
        # First: where one namespace alone is served, the rights for it are in it.
        for namespace in NAMESPACES:
            self.cluster.kubectl("create", "namespace", namespace)
        self.install()
        for namespace in NAMESPACES:
            for thing in (objects.endpoint("iris", {"blue": 100}), objects.deployment("iris", "blue", self.image),
                          objects.deployment("iris", "green", self.image)):
                self.accepted(namespace, "apply", "--filename", "-", text=json.dumps(thing))
        # With the rights for one namespace alone, and for all.
        for served in (NAMESPACES[0], ""):
            self.values["namespace"] = served
            self.cluster.chart("upgrade", changes=[self.values])
            self.settle()
        self.expected, self.fixed = self.stored(), self.held()

    def go(self):
        self.begin()
        is_due = False
        for number in range(1, self.steps + 1):
            begin = time.monotonic()
            did = self.step()
            self.check()
            for _ in range(self.random.choice([0, 1, 1, 2])):
                self.change()
            if number % 10 == 0 or time.monotonic() - begin > 30:
                say(f"  step {number} of {self.steps}: {did} took {time.monotonic() - begin:.1f} s")
            is_due = is_due or number % SETTLE == 0
            if is_due and self.values is not None:
                self.settle()
                self.check()
                is_due = False
        if self.values is None:
            self.install()
        self.settle()
        self.check()
        self.end()

    def end(self):
        """Everything can be deleted, and nothing stays but what is said to stay."""
        for namespace in NAMESPACES:
            self.accepted(namespace, "patch", "onlineendpoint/iris", "--type=merge", "--patch", json.dumps({"spec": {"traffic": None}}))
            self.accepted(namespace, "delete", "onlinedeployments,onlineendpoints", "--all", "--timeout=120s")
            self.cluster.kubectl("delete", "namespace", namespace, "--timeout=180s")
        self.cluster.helm("uninstall", "mooring", "--wait", "--timeout", "3m")
        ours = lambda: {it for it in self.cluster.traces() if it[0] != "CustomResourceDefinition"}  # noqa: E731
        # What every namespace has, the definitions' group, and what the operator made for itself in its own namespace.
        allowed = {("Namespace", "<none>", SYSTEM), ("ConfigMap", SYSTEM, "kube-root-ca.crt"), ("ServiceAccount", SYSTEM, "default"),
                   ("APIService", "<none>", "v1alpha1.mooring.dev"),
                   ("Lease", SYSTEM, "mooring-operator"), ("Secret", SYSTEM, "mooring-gateway-peers")}
        left = {}

        def is_clean():
            left["now"] = ours() - allowed
            return not left["now"]
        try:
            until("nothing is left", is_clean, 60, 1)
        except Failed:
            raise Failed(f"left after uninstall: {sorted(left['now'])}") from None


def run(cluster, arguments):
    walk = Walk(cluster, arguments.steps, arguments.seed)
    try:
        walk.go()
    except Failed as failure:
        raise Failed(f"seed {arguments.seed}, after {dict(walk.done)}: {failure}") from None
    return (f"seed {arguments.seed}: {sum(walk.done.values())} steps {dict(walk.done)}, {sum(walk.changes.values())} changes of objects "
            f"{dict(walk.changes)}, settled {walk.settled} times; no definition and no object lost, nothing stuck or left; "
            f"changes that had to wait, by what the webhook's caller said: {dict(walk.refused)}, {walk.longest:.1f} s at most")
