# Instances: each running cluster has a folder of state, and ports of its own.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

# Addresses lie in 198.18.0.0/15, which is reserved for tests: no real network
# has them, and a route keeps them from ever leaving this machine.
cluster_range=198.18.0.0/15
pod_range=198.18.0.0/17
node_address=198.18.128.1
service_range=198.19.0.0/16
first_service_address=198.19.0.1
bridge=mooring0
registry=127.0.0.1:5000

first_port=26400
ports_each=12

# Allow one `up` or `down` at a time, so that no two pick the same ports. Started
# components do not inherit the lock, descriptor 9.
lock_instances() {
    mkdir -p "$states"
    exec 9>"$states/lock"
    if ! flock --nonblock 9; then
        progress "waiting for another deploy/cluster up or down to end"
        flock 9
    fi
}

# Set the variables of instance $1, which must exist.
open_instance() {
    [[ -f $states/$1/instance ]] || fail "there is no cluster '$1': run deploy/cluster up --name $1"
    local base_port
    name=$1
    state=$states/$name
    read -r mode base_port <"$state/instance"
    etcd_port=$base_port
    etcd_peer_port=$((base_port + 1))
    api_port=$((base_port + 2))
    controllers_port=$((base_port + 3))
    scheduler_port=$((base_port + 4))
    kubelet_port=$((base_port + 5))
    kubelet_health_port=$((base_port + 6))
    proxy_health_port=$((base_port + 7))
    proxy_metrics_port=$((base_port + 8))
    dns_health_port=$((base_port + 9))
    dns_ready_port=$((base_port + 10))
    api_address=127.0.0.1
    [[ $mode == control-plane ]] || api_address=$node_address
}

# Open instance $1 of mode $2, made when it is new.
create_instance() {
    [[ $1 =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
        fail "'$1' is no cluster name: use up to 32 of a-z, 0-9 and -"
    if [[ ! -f $states/$1/instance ]]; then
        [[ $2 == control-plane ]] || refuse_second_full_instance
        mkdir -p "$states/$1"/{logs,processes}
        printf '%s %s\n' "$2" "$(free_base_port)" >"$states/$1/instance"
    fi
    open_instance "$1"
    [[ $mode == "$2" ]] ||
        fail "cluster '$1' exists in mode $mode, not $2: take it down first, or give another --name"
    [[ -z ${program-} ]] || printf '%s\n' "$program" >"$state/program"
}

refuse_second_full_instance() {
    local other
    for other in "$states"/*/instance; do
        [[ ! -f $other || $(<"$other") != full* ]] ||
            fail "a full cluster already exists: '$(basename "$(dirname "$other")")'; a machine holds one, take that down first"
    done
}

# The first port of a block that no instance has and nothing listens on.
free_base_port() {
    local base taken
    taken=$(
        cat "$states"/*/instance 2>/dev/null | cut -d' ' -f2
        ss -Hltn | awk '{ sub(/.*:/, "", $4); print $4 }'
    )
    for ((base = first_port; base < 32000; base += ports_each)); do
        if ! awk -v first="$base" -v count="$ports_each" \
            '$1 >= first && $1 < first + count { found = 1 } END { exit !found }' <<<"$taken"; then
            printf '%s\n' "$base"
            return
        fi
    done
    fail "no $ports_each free ports in a row between $first_port and 32000"
}

# Write template $1 to $2, with each @variable@ replaced by its value.
render() {
    local text
    text=$(<"$embedded/config/$1")
    while [[ $text =~ @([a-z_]+)@ ]]; do
        text=${text//"${BASH_REMATCH[0]}"/"${!BASH_REMATCH[1]}"}
    done
    printf '%s\n' "$text" >"$2"
}
