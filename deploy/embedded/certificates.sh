# Certificates: the cluster's authority, and who each component is.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

# OpenSSL's own configuration would add extensions that these must not have.
openssl_request() {
    openssl req -config <(printf '[req]\ndistinguished_name=name\n[name]\n') -x509 -nodes -days 3650 \
        -newkey ec -pkeyopt ec_paramgen_curve:P-256 "$@" 2>>"$state/logs/openssl.log" ||
        fail "could not make a certificate: see $state/logs/openssl.log"
}

# Make certificate $1 with subject $2 and extended key usage $3, for the
# addresses and names $4 when given; unless it exists.
certificate() {
    local file=$state/certificates/$1
    [[ ! -s $file.crt ]] || return 0
    openssl_request -CA "$state/certificates/ca.crt" -CAkey "$state/certificates/ca.key" \
        -keyout "$file.key" -out "$file.crt" -subj "$2" -addext "extendedKeyUsage=$3" \
        -addext basicConstraints=critical,CA:FALSE ${4:+-addext "subjectAltName=$4"}
}

# Make the client certificate of $1 with subject $2, and its kubeconfig.
kubeconfig() {
    certificate "$1" "$2" clientAuth
    [[ ! -s $state/kubeconfig/$1 ]] || return 0
    cat >"$state/kubeconfig/$1" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: $name
contexts:
  - name: $name
    context: { cluster: $name, user: $1 }
clusters:
  - name: $name
    cluster:
      server: https://$api_address:$api_port
      certificate-authority-data: $(base64 -w0 "$state/certificates/ca.crt")
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 "$state/certificates/$1.crt")
      client-key-data: $(base64 -w0 "$state/certificates/$1.key")
KUBECONFIG
}

# Make what is missing of the certificates and kubeconfigs.
make_certificates() (
    umask 077
    mkdir -p "$state/certificates" "$state/kubeconfig"
    cd "$state/certificates" || exit
    if [[ ! -s ca.crt ]]; then
        openssl_request -keyout ca.key -out ca.crt -subj "/CN=$name" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
    fi
    [[ -s service-accounts.key ]] || openssl genrsa -out service-accounts.key 2048 2>>"$state/logs/openssl.log"
    local service=kubernetes.default.svc
    certificate kube-apiserver /CN=kube-apiserver serverAuth \
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:$service,DNS:$service.cluster.local,IP:127.0.0.1,IP:$node_address,IP:$first_service_address"
    certificate kube-apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
    certificate front-proxy-client /CN=front-proxy-client clientAuth
    kubeconfig admin /O=system:masters/CN=admin
    kubeconfig kube-controller-manager /CN=system:kube-controller-manager
    [[ $mode == full ]] || return 0
    certificate kubelet-server "/CN=$name" serverAuth "DNS:$name,IP:$node_address"
    kubeconfig kubelet "/O=system:nodes/CN=system:node:$name"
    kubeconfig kube-scheduler /CN=system:kube-scheduler
    kubeconfig kube-proxy /CN=system:kube-proxy
    kubeconfig coredns /CN=system:coredns
)
