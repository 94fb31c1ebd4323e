"""`helm install` and the sample applied in the same second."""

import collections
import statistics
import subprocess
import time

from . import objects
from .cluster import PROJECT, SYSTEM, Failed, say

NAMESPACE = "mooring-sample"
# The API server does not know the kind, or knows it and does not serve it yet: the definition is some seconds old.
TOO_EARLY = {"no matches for kind": "definitions are not there yet", "could not find the requested resource": "definitions are not served yet"}


def reasons(text):
    """Why kubectl applied something not; a reason that no one may meet is told as it is."""
    for line in text.splitlines():
        known = [reason for words, reason in TOO_EARLY.items() if words in line]
        if known or line.lower().startswith(("error", "unable")):
            yield known[0] if known else line


def apply_until_accepted(cluster, sample, seconds=120):
    """Applies the sample until all of it is stored; the reasons why it was not."""
    refused, deadline = collections.Counter(), time.monotonic() + seconds
    while (result := cluster.try_kubectl("--namespace", NAMESPACE, "apply", "--filename", "-", text=sample)).returncode:
        refused.update(set(reasons(result.stderr)) or {result.stderr.strip()})
        if time.monotonic() > deadline:
            raise Failed(f"the sample was not accepted within {seconds} s: {result.stderr}")
    return refused


def once(cluster):
    sample = objects.sample(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE)
    command = cluster.chart_command("install", "--create-namespace", "--wait", "--timeout", "5m")
    begin = time.monotonic()
    helm = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    refused = apply_until_accepted(cluster, sample)
    accepted = time.monotonic() - begin
    error = helm.communicate()[1]
    if helm.returncode:
        raise Failed(f"helm install failed: {error}")
    installed = time.monotonic() - begin
    objects.wait_ready(cluster, NAMESPACE, "onlineendpoint/iris", "onlinedeployment/iris-blue")
    ready = time.monotonic() - begin
    bad = objects.predict(cluster, NAMESPACE, objects.request())
    say(f"  accepted after {accepted:.1f} s, installed after {installed:.1f} s, ready after {ready:.1f} s; "
        f"refused: {dict(refused)}; predictions that were asked in vain: {bad}")
    restarts = [pod for pod in cluster.get("--namespace", SYSTEM, "pods")["items"]
                if any(it["restartCount"] for it in pod["status"].get("containerStatuses", []))]
    if restarts:
        raise Failed(f"restarted: {[pod['metadata']['name'] for pod in restarts]}")
    return ready, refused, bad


def run(cluster, arguments):
    times, refused, wrong, vain = [], collections.Counter(), [], 0
    for turn in range(arguments.times):
        is_new = turn >= arguments.times - arguments.new
        say(f"install {turn + 1} of {arguments.times}{', on a new cluster' if is_new else ''}")
        if is_new:
            cluster.renew()
        else:
            cluster.wipe()
        try:
            ready, reasons_now, bad = once(cluster)
        except Failed as failure:
            say(f"  FAILED: {failure}")
            cluster.show()
            wrong.append(str(failure))
            continue
        times.append(ready)
        refused.update(reasons_now)
        vain += len(bad)
    others = {reason: count for reason, count in refused.items() if reason not in TOO_EARLY.values()}
    summary = (f"{len(times)} of {arguments.times} reached Ready" + (f" within {max(times):.0f} s (median {statistics.median(times):.0f} s)" if times else "")
               + f"; applies that were refused, by reason: {dict(refused)}; first predictions in vain: {vain}")
    if wrong or others or vain:
        raise Failed(f"{summary}; {wrong}")
    return summary
