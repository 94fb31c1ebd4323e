"""From one version to another one and back, under load."""

import json
import pathlib
import shutil
import tempfile
import time

from . import objects
from .cluster import PROJECT, SYSTEM, Failed, run as run_command, say

NAMESPACE, SAMPLE = "mooring-a", "mooring-sample"
PROGRAMS = ("operator", "gateway", "fetch")
NEXT = "99.0.0"


def relabelled(cluster, folder):
    """Images of the same programs with other digests, and the chart with another version."""
    shutil.copytree(PROJECT / "charts/mooring", folder / "chart")
    about = folder / "chart/Chart.yaml"
    lines = [f"{line.split(':')[0]}: {NEXT}" if line.startswith(("version:", "appVersion:")) else line for line in about.read_text().splitlines()]
    about.write_text("\n".join(lines) + "\n")
    changes = {}
    for program in PROGRAMS:
        values = cluster.values[program]
        recipe = folder / program
        recipe.mkdir()
        reference = f"{cluster.values['image']['registry']}/{values['repository']}@{values['digest']}"
        (recipe / "Dockerfile").write_text(f"FROM {reference}\nLABEL version={NEXT}\n")
        changes[program] = {"digest": built(f"mooring/{program}:next", recipe)}
    return folder / "chart", changes


def older_version(cluster, checkout):
    """The images and the chart of an older checkout."""
    run_command("cargo", "build", "--quiet", "--locked", "--release", "--bins", folder=checkout)
    target = run_command("cargo", "metadata", "--format-version=1", "--no-deps", folder=checkout)
    target = pathlib.Path(json.loads(target)["target_directory"]) / "release"
    runtime = next(line for line in run_command("deploy/cluster", "image", "base").splitlines() if "/base/runtime@" in line)
    changes = {}
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            shutil.copy2(target / f"mooring-{program}", folder)
        for program in PROGRAMS:
            digest = built(f"mooring/{program}:older", checkout, "--file", str(checkout / "deploy/Dockerfile"), "--target", program,
                           "--build-arg", f"RUNTIME_IMAGE={runtime}", "--build-context", f"binaries={folder}")
            changes[program] = {"digest": digest}
    return checkout / "charts/mooring", changes


def built(tag, context, *options):
    printed = run_command("deploy/cluster", "image", "build", "--tag", tag, *options, str(context))
    return printed.strip().split("@")[1]


def untouched(cluster):
    """What must stay as it is: pods of models, what their Deployments are, definitions and objects."""
    def items(kind):
        return [it for namespace in (NAMESPACE, SAMPLE) for it in cluster.get("--namespace", namespace, kind)["items"]]

    def name(it):
        return f"{it['kind']} {it['metadata'].get('namespace', '')}/{it['metadata']['name']}"

    found = {}
    for it in items("deployments"):
        found[name(it)] = (it["metadata"]["uid"], it["metadata"]["generation"], it["spec"]["template"])
    for it in items("replicasets"):
        found[name(it)] = (it["metadata"]["uid"], it["metadata"]["labels"]["pod-template-hash"], it["spec"]["replicas"])
    for it in items("pods"):
        restarts = [each["restartCount"] for each in it["status"].get("containerStatuses", [])]
        found[name(it)] = (it["metadata"]["uid"], it["metadata"]["labels"].get("pod-template-hash"), restarts)
    for it in items(objects.KINDS):
        found[name(it)] = (it["metadata"]["uid"], it["metadata"]["generation"], it["spec"])
    for it in cluster.get("crds")["items"]:
        found[name(it)] = (it["metadata"]["uid"], it["status"]["storedVersions"])
    return found


def ready(cluster):
    for namespace, body in ((NAMESPACE, "{}"), (SAMPLE, objects.request())):
        objects.wait_ready(cluster, namespace, "onlineendpoint", "--all")
        objects.wait_ready(cluster, namespace, "onlinedeployment", "--all")
        objects.predict(cluster, namespace, body)


def pods_of(cluster):
    return {it["metadata"]["name"] for it in cluster.get("--namespace", SYSTEM, "pods")["items"]}


def same(before, after, when):
    differs = {name: (before.get(name), after.get(name)) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if differs:
        raise Failed(f"{when}: not as it was: {differs}")


def run(cluster, arguments):
    image = cluster.abrupt()
    cluster.wipe()
    with tempfile.TemporaryDirectory() as made:
        here = (PROJECT / "charts/mooring", {})
        if arguments.older:
            first, second = older_version(cluster, arguments.older.resolve()), here
        else:
            first, second = here, relabelled(cluster, pathlib.Path(made))
        begin = lambda verb, version: cluster.chart(  # noqa: E731
            verb, "--create-namespace" if verb == "install" else "--install", "--wait", "--timeout", "10m", chart=version[0], changes=[version[1]])
        begin("install", first)
        for namespace in (NAMESPACE, SAMPLE):
            cluster.kubectl("create", "namespace", namespace)
        # One with a model, and so with the storage initializer of this version in its pods; one that is asked a lot.
        cluster.kubectl("--namespace", SAMPLE, "apply", "--filename", "-", text=objects.sample(cluster))
        cluster.apply(objects.endpoint("iris", {"fast": 100}), objects.deployment("iris", "fast", image, 2), namespace=NAMESPACE)
        ready(cluster)
        before, pods = untouched(cluster), pods_of(cluster)
        with objects.Load(cluster, NAMESPACE, arguments.rate) as load:
            steps = (("upgrade", lambda: begin("upgrade", second)),
                     ("rollback", lambda: cluster.helm("rollback", "mooring", "--wait", "--timeout", "10m")),
                     ("upgrade once more", lambda: begin("upgrade", second)),
                     ("downgrade", lambda: begin("upgrade", first)))
            for when, step in steps[:2] if arguments.short else steps:
                started = time.monotonic()
                step()
                # The last of the old ones end, and the new ones look at everything once.
                time.sleep(20)
                same(before, untouched(cluster), when)
                now = pods_of(cluster)
                if pods & now:
                    raise Failed(f"{when}: pods of the operator or the gateway are still those of before: {sorted(pods & now)}")
                pods = now
                say(f"  {when} took {time.monotonic() - started:.0f} s")
                ready(cluster)
            sent, failed, causes = load.stop()
    changes = "1 upgrade and its rollback" if arguments.short else "2 upgrades and 2 ways back"
    summary = f"{sent} requests, {failed} failed {causes or ''}; 0 pods, templates, objects and definitions changed by {changes}"
    if failed:
        raise Failed(summary)
    return summary
