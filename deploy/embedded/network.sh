# Network: addresses, routes and kernel settings of the full cluster's node.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

# What starting changes in the kernel, also what kubelet and kube-proxy change.
changed_settings=(
    net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables
    vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes
)

setting_file() {
    printf '/proc/sys/%s' "${1//.//}"
}

prepare_network() {
    local setting file
    # Kernels that have these built in know no such module.
    modprobe -aq br_netfilter overlay 2>/dev/null || true
    [[ -f $state/settings ]] || for setting in "${changed_settings[@]}"; do
        file=$(setting_file "$setting")
        [[ ! -f $file ]] || printf '%s %s\n' "$file" "$(<"$file")"
    done >"$state/settings"
    set_kernel net.ipv4.ip_forward 1
    # Without it, answers between two pods would skip the service translation.
    set_kernel net.bridge.bridge-nf-call-iptables 1
    ip address replace "$node_address/32" dev lo
    # The route is chosen before a service address is translated to a pod's.
    ip route replace "$service_range" dev lo src "$node_address"
    ip route replace unreachable "$cluster_range" metric 4000
}

set_kernel() {
    local file
    file=$(setting_file "$1")
    [[ $(cat "$file" 2>/dev/null) == "$2" ]] || printf '%s' "$2" >"$file" ||
        fail "the kernel setting $1 could not be set to $2"
}

remove_network() {
    local file value
    remove_chains
    ip link delete "$bridge" 2>/dev/null || true
    ip route delete "$service_range" dev lo 2>/dev/null || true
    ip route delete unreachable "$cluster_range" metric 4000 2>/dev/null || true
    ip address delete "$node_address/32" dev lo 2>/dev/null || true
    [[ ! -f $state/settings ]] || while read -r file value; do
        [[ ! -f $file || $(<"$file") == "$value" ]] || printf '%s' "$value" >"$file"
    done <"$state/settings"
}

# All chains and rules of kube-proxy, kubelet and the network plugins; a full
# cluster starts only when the machine has none of them.
remove_chains() {
    local family rules
    for family in iptables ip6tables; do
        rules=$("$family-save" 2>/dev/null) || continue
        ! grep -qE '(KUBE|CNI)-' <<<"$rules" || grep -vE '(KUBE|CNI)-' <<<"$rules" | "$family-restore"
    done
}
