# Status: what of an instance runs, and where its things are.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

components() {
    printf '%s\n' etcd kube-apiserver kube-controller-manager
    [[ $mode == control-plane ]] ||
        printf '%s\n' registry containerd kube-scheduler kubelet kube-proxy coredns
}

all_running() {
    local component
    for component in $(components); do
        process_of "$component" >/dev/null || return 1
    done
}

component_address() {
    case $1 in
    etcd) printf 'http://127.0.0.1:%s' "$etcd_port" ;;
    kube-apiserver) printf 'https://%s:%s' "$api_address" "$api_port" ;;
    kube-controller-manager) printf 'https://127.0.0.1:%s' "$controllers_port" ;;
    registry) printf 'http://%s' "$registry" ;;
    containerd) printf 'unix://%s' "$state/containerd/containerd.sock" ;;
    kube-scheduler) printf 'https://127.0.0.1:%s' "$scheduler_port" ;;
    kubelet) printf 'https://%s:%s' "$node_address" "$kubelet_port" ;;
    kube-proxy) printf 'http://%s:%s' "$node_address" "$proxy_health_port" ;;
    coredns) printf 'dns://%s:53' "$node_address" ;;
    esac
}

# Lines of: component, process or -, address.
component_lines() {
    local component
    for component in $(components); do
        printf '%s %s %s\n' "$component" "$(process_of "$component" || echo -)" "$(component_address "$component")"
    done
}

status_text() {
    local component process address
    printf '%-24s %-6s %-8s %s\n' COMPONENT STATE PROCESS ADDRESS
    while read -r component process address; do
        printf '%-24s %-6s %-8s %s\n' "$component" \
            "$([[ $process == - ]] && echo down || echo up)" "$process" "$address"
    done < <(component_lines)
    printf '\nkubeconfig: %s\naudit log:  %s\nlogs:       %s\n' \
        "$state/kubeconfig/admin" "$state/audit/audit.log" "$state/logs"
    [[ $mode == control-plane ]] || printf 'registry:   %s\n' "$registry"
}

status_json() {
    require_packages jq:jq
    component_lines | jq --raw-input --slurp --arg name "$name" --arg mode "$mode" --arg state "$state" \
        --arg registry "$registry" '{
        name: $name, mode: $mode,
        components: (split("\n") | map(select(. != "") | split(" ") | {
            name: .[0], up: (.[1] != "-"), process: (if .[1] == "-" then null else .[1] | tonumber end), address: .[2]
        })),
        kubeconfig: ($state + "/kubeconfig/admin"), auditLog: ($state + "/audit/audit.log"), logs: ($state + "/logs")
    } + (if $mode == "full" then { registry: $registry } else {} end)'
}
