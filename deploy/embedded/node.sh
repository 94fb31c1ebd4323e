# Node: registry, containerd, kubelet, kube-proxy, scheduler and cluster DNS.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

# Folders outside ours that containerd, kubelet and the network plugins make.
system_folders=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers /etc/cni)

# Make sure that the machine can hold the node, before anything starts.
prepare_node() {
    local folder
    if [[ ! -f $state/made ]]; then
        refuse_other_kubelet
        for folder in "${system_folders[@]}"; do
            [[ -e $folder ]] || printf '%s\n' "$folder"
        done >"$state/made"
    fi
    prepare_network
    mkdir -p "$state"/{containerd,cni,kubelet/logs,kubelet/volume-plugins}
    start_registry
    pause_image=$(image_pause)
    render containerd.toml "$state/containerd/containerd.toml"
    render bridge.conflist "$state/cni/10-bridge.conflist"
    render kubelet.yaml "$state/kubelet/kubelet.yaml"
    render kube-proxy.yaml "$state/kube-proxy.yaml"
    render Corefile "$state/Corefile"
    start containerd containerd --config "$state/containerd/containerd.toml"
}

refuse_other_kubelet() {
    local cgroups
    cgroups=$(find /sys/fs/cgroup -maxdepth 2 -name 'kubepods*')
    [[ -z $cgroups ]] || fail "another kubelet runs pods on this machine (${cgroups%%$'\n'*}); stop it, or use --control-plane-only"
    ! iptables-save 2>/dev/null | grep -q KUBE- ||
        fail "another kube-proxy has chains in iptables on this machine; stop it and remove them, or use --control-plane-only"
}

start_registry() {
    mkdir -p "$cache/registry"
    render registry.yml "$state/registry.yml"
    if ! process_of registry >/dev/null && curl -s -o /dev/null "http://$registry/v2/"; then
        fail "something else answers on $registry, where the registry belongs: stop it (ss -ltnp shows it)"
    fi
    start registry docker-registry serve "$state/registry.yml"
    await registry curl -sf "http://$registry/v2/"
}

start_node() {
    progress "starting the node of '$name'"
    await containerd test -S "$state/containerd/containerd.sock"
    start kube-scheduler "$program/kube-scheduler" --kubeconfig "$state/kubeconfig/kube-scheduler" \
        --authentication-kubeconfig "$state/kubeconfig/kube-scheduler" \
        --authorization-kubeconfig "$state/kubeconfig/kube-scheduler" \
        --bind-address 127.0.0.1 --secure-port "$scheduler_port" --leader-elect=false
    start kubelet "$program/kubelet" --config "$state/kubelet/kubelet.yaml" \
        --kubeconfig "$state/kubeconfig/kubelet" --hostname-override "$name" --node-ip "$node_address" \
        --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki"
    start kube-proxy "$program/kube-proxy" --config "$state/kube-proxy.yaml" --oom-score-adj 0
    kubectl apply --filename "$embedded/config/coredns-rbac.yaml" >/dev/null
    start coredns "$program/coredns" -conf "$state/Corefile"
    await kubelet kubectl wait --for condition=Ready --timeout 1s "node/$name"
    await kube-scheduler curl -sfk "https://127.0.0.1:$scheduler_port/readyz"
    await kube-proxy curl -sf "http://$node_address:$proxy_health_port/healthz"
    await coredns curl -sf "http://$node_address:$dns_ready_port/ready"
}
