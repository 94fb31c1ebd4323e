"""The cluster, its kubectl and helm, and what of ours is in it."""

import atexit
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
SYSTEM = "mooring-system"
RELEASE = "mooring"
# Namespaces that scenes make.
NAMESPACES = ("mooring-sample", "mooring-a", "mooring-b")
START = time.monotonic()


class Failed(Exception):
    """What must not happen."""


def say(text):
    print(f"{time.monotonic() - START:5.0f}s  {text}", file=sys.stderr, flush=True)


def attempt(*command, text=None, folder=PROJECT):
    return subprocess.run([str(part) for part in command], cwd=folder, input=text, capture_output=True, text=True)


def run(*command, text=None, folder=PROJECT):
    result = attempt(*command, text=text, folder=folder)
    if result.returncode:
        raise Failed(f"{' '.join(map(str, command))} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout


def until(what, true, seconds=120, pause=0.5):
    """Waits until `true()` says so, and returns what it said; `what` is told when it never does."""
    deadline = time.monotonic() + seconds
    while not (said := true()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return said


class Cluster:
    def __init__(self, name):
        self.name = name
        self.kubeconfig = run("deploy/cluster", "kubeconfig", "--path", "--name", name).strip()
        self.helm_program = run("deploy/cluster", "tool", "helm").strip()
        self.proxy, self.folder = None, tempfile.TemporaryDirectory()
        say("building and installing")
        self.install_plainly()
        self.values = json.loads(self.helm("get", "values", RELEASE, "--output", "json"))

    def install_plainly(self):
        """The chart by deploy/install, which builds what is missing."""
        printed = run("deploy/install", "--cluster", self.name)
        self.sklearn = dict(line.split("=", 1) for line in printed.splitlines())["MOORING_TEST_SKLEARN_IMAGE"]

    def abrupt(self):
        """The image of the small server that answers at once."""
        return run("deploy/cluster", "image", "build", "--tag", "test/abrupt:one", "--file", "tests/e2e/images/abrupt/Dockerfile",
                   "--build-arg", f"PYTHON_IMAGE={self.sklearn}", "--build-arg", "VERSION=one", "tests/e2e/images/abrupt").strip()

    def kubectl_command(self, *arguments):
        return ("deploy/cluster", "kubectl", "--name", self.name, *arguments)

    def kubectl(self, *arguments, text=None):
        return run(*self.kubectl_command(*arguments), text=text)

    def try_kubectl(self, *arguments, text=None):
        return attempt(*self.kubectl_command(*arguments), text=text)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def read(self, path):
        """An answer of the API server, without the costs of a kubectl."""
        if not self.proxy:
            process = subprocess.Popen(self.kubectl_command("proxy", "--port=0"), cwd=PROJECT, stdout=subprocess.PIPE, text=True)
            atexit.register(process.kill)
            self.proxy = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"http://{self.proxy}{path}", timeout=60) as answer:
            return json.load(answer)

    def apply(self, *objects, namespace):
        self.kubectl("--namespace", namespace, "apply", "--filename", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def helm_command(self, *arguments):
        return (self.helm_program, "--kubeconfig", self.kubeconfig, "--namespace", SYSTEM, *arguments)

    def helm(self, *arguments):
        return run(*self.helm_command(*arguments))

    def chart_command(self, verb, *arguments, chart="charts/mooring", changes=()):
        """The command of `helm install` or `helm upgrade`, with the images that were built and the values `changes`."""
        values = self.values
        for change in changes:
            values = merged(values, change)
        # An older chart refuses what it does not know yet.
        known = json.loads((PROJECT / chart / "values.schema.json").read_text())["properties"]
        values = {name: value for name, value in values.items() if name in known}
        file = pathlib.Path(self.folder.name) / "values.json"
        file.write_text(json.dumps(values))
        return self.helm_command(verb, RELEASE, chart, "--values", file, *arguments)

    def chart(self, verb, *arguments, chart="charts/mooring", changes=()):
        return run(*self.chart_command(verb, *arguments, chart=chart, changes=changes))

    def ready(self):
        """Waits for the operator and the gateway."""
        for program in ("operator", "gateway"):
            self.kubectl("--namespace", SYSTEM, "rollout", "status", f"deployment/mooring-{program}", "--timeout=180s")

    def operators(self, count):
        """As many operators; their own Deployment is told, and nothing else of the release."""
        self.kubectl("--namespace", SYSTEM, "scale", "deployment/mooring-operator", f"--replicas={count}")
        if count:
            self.ready()
            return
        selector = "app.kubernetes.io/component=operator"
        until("the operator ends", lambda: not self.get("--namespace", SYSTEM, "pods", "--selector", selector)["items"])

    def gateway(self):
        return self.get("--namespace", SYSTEM, "service", "mooring-gateway")["spec"]["clusterIP"]

    def things(self):
        """Kind, namespace and name of everything in the cluster but what it notes of itself."""
        kinds = self.kubectl("api-resources", "--verbs=list", "--output=name").split()
        kinds = [kind for kind in kinds if not kind.startswith(("events", "componentstatuses", "nodes", "csinodes", "endpointslices"))]
        columns = "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name"
        lines = self.kubectl("get", ",".join(kinds), "--all-namespaces", "--ignore-not-found", "--no-headers", "--output", columns)
        return {tuple(line.split()) for line in lines.splitlines()}

    def traces(self):
        """What in the cluster has our name, beside the node that may have it too."""
        return {it for it in self.things() if RELEASE in f"{it[1]}/{it[2]}" and it[1] != "kube-node-lease"}

    def wipe(self):
        """Removes everything of ours, and looks."""
        self.kubectl("delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=180s")
        self.helm("uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "3m")
        self.kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=180s")
        self.kubectl("delete", "--filename", "crds", "--ignore-not-found", "--timeout=180s")
        left = set()

        def is_clean():
            left.clear()
            left.update(self.traces())
            return not left
        try:
            until("everything of ours is gone", is_clean, seconds=60)
        except Failed as failure:
            raise Failed(f"{failure}; left: {sorted(left)}") from None

    def renew(self):
        """A new cluster in the place of this one."""
        self.proxy = None
        run("deploy/cluster", "down", "--name", self.name)
        run("deploy/cluster", "up", "--name", self.name)

    def show(self):
        """What helps to understand a failure."""
        for what in (("get", "pods", "--all-namespaces"), ("get", "onlineendpoints,onlinedeployments", "--all-namespaces"),
                     ("--namespace", SYSTEM, "logs", "deployment/mooring-operator", "--tail=20"),
                     ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp")):
            shown = self.try_kubectl(*what)
            print("\n".join((shown.stdout + shown.stderr).splitlines()[-40:]), file=sys.stderr)


def merged(values, changes):
    """The values with some of them changed, as helm merges them."""
    if not isinstance(values, dict) or not isinstance(changes, dict):
        return changes
    return {**values, **{name: merged(values.get(name), value) for name, value in changes.items()}}
