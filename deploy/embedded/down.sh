# Down: stop what an instance started, and leave nothing of it behind.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

take_down() {
    local component
    if [[ ! -f $states/$1/instance ]]; then
        progress "there is no cluster '$1': nothing to stop"
        return
    fi
    open_instance "$1"
    progress "stopping '$name'"
    for component in kubelet kube-proxy coredns kube-scheduler containerd kube-controller-manager kube-apiserver etcd; do
        stop "$component"
    done
    # An image may be on its way to the registry, whose store outlives it.
    stop registry politely
    [[ $mode == control-plane ]] || remove_node
    rm -rf "${state:?}"
}

# All that containers are made of. It must work without containerd, which may
# have died or never have started.
remove_node() {
    [[ -f $state/made ]] || return 0
    stop_containers
    unmount_below "$state"
    remove_network
    remove_system_files
}

# What went to folders outside ours; and those folders, if they are new and
# nothing else came to use them.
remove_system_files() {
    local file folder container listening
    listening=$(ss -Hxl)
    for file in /run/containerd/s/*; do
        grep -qF "$file " <<<"$listening" || rm -f "$file"
    done
    for file in /var/lib/cni/results/mooring-*-eth0; do
        container=${file#*/mooring-}
        rm -f "$file" "/var/lib/cni/results/cni-loopback-${container%-eth0}-lo"
    done
    rm -f /var/lib/kubelet/device-plugins/kubelet.sock
    find /var/log/containers -maxdepth 1 -type l -lname "$state/*" -delete 2>/dev/null || true
    while read -r folder; do
        [[ $folder != /etc/cni ]] || rm -f /etc/cni/net.d/cni.lock
        find "$folder" -depth -type d -empty -delete 2>/dev/null || true
    done <"$state/made"
}

stop_containers() {
    local shims tries
    shims=$(shim_processes)
    # Shims first: they would report each container's end, and wait for that.
    [[ -z $shims ]] || xargs -r kill -KILL <<<"$shims" 2>/dev/null || true
    for ((tries = 0; tries < 100; tries++)); do
        find /sys/fs/cgroup -path '*/kubepods*' -name cgroup.procs -exec cat {} + 2>/dev/null |
            sort -u | grep -v '^0$' | xargs -r kill -KILL 2>/dev/null || true
        remove_cgroups
        [[ -n $(find /sys/fs/cgroup -maxdepth 2 -name kubepods) ]] || break
        sleep 0.1
    done
}

# Shims do not descend from containerd, but name its socket.
shim_processes() {
    local file arguments
    for file in /proc/[0-9]*/cmdline; do
        arguments=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
        [[ $arguments != *containerd-shim*"-address $state/containerd/containerd.sock "* ]] || basename "$(dirname "$file")"
    done
}

remove_cgroups() {
    find /sys/fs/cgroup -depth -path '*/kubepods*' -type d -exec rmdir {} + 2>/dev/null || true
}

# Mounts of containers, volumes and network namespaces, the innermost first.
unmount_below() {
    local point
    awk -v folder="$1/" 'index($5, folder) == 1 { print $5 }' /proc/self/mountinfo | tac | while read -r point; do
        umount "$point" 2>/dev/null || umount --lazy "$point" || progress "could not unmount $point"
    done
}

purge_caches() {
    local other
    for other in "$states"/*/instance; do
        [[ ! -f $other ]] || fail "cluster '$(basename "$(dirname "$other")")' still uses the caches: take it down first"
    done
    progress "removing the caches of clusters in $cache"
    unmount_below "$cache/buildah"
    rm -rf "$cache"/{embedded,registry,buildah,tools,go-bin,images.lock} /run/mooring-buildah
}
