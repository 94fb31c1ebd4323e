# Control plane: etcd, API server and controller manager, ready for clients.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

start_control_plane() {
    make_certificates
    progress "starting etcd, the API server and the controller manager of '$name'"
    start_etcd
    await etcd curl -sf "http://127.0.0.1:$etcd_port/health"
    start_api_server
    await kube-apiserver kubectl get --raw /readyz
    # Without the built-in roles, which the API server makes first, it would end.
    start_controller_manager
    await kube-controller-manager kubectl get serviceaccount default
}

kubectl() {
    "$program/kubectl" --kubeconfig "$state/kubeconfig/admin" --cache-dir "$state/kubectl" "$@"
}

# Objects of a test cluster need not outlive a crash of the machine.
start_etcd() {
    start etcd "$program/etcd" --name "$name" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-cluster "$name=http://127.0.0.1:$etcd_peer_port"
}

start_api_server() {
    local certificates=$state/certificates
    mkdir -p "$state/audit"
    start kube-apiserver "$program/kube-apiserver" \
        --bind-address "$api_address" --secure-port "$api_port" --advertise-address "$node_address" \
        --etcd-servers "http://127.0.0.1:$etcd_port" \
        --tls-cert-file "$certificates/kube-apiserver.crt" --tls-private-key-file "$certificates/kube-apiserver.key" \
        --client-ca-file "$certificates/ca.crt" \
        --kubelet-client-certificate "$certificates/kube-apiserver-kubelet-client.crt" \
        --kubelet-client-key "$certificates/kube-apiserver-kubelet-client.key" \
        --kubelet-certificate-authority "$certificates/ca.crt" --kubelet-preferred-address-types InternalIP \
        --requestheader-client-ca-file "$certificates/ca.crt" --requestheader-allowed-names front-proxy-client \
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
        --requestheader-extra-headers-prefix X-Remote-Extra- \
        --proxy-client-cert-file "$certificates/front-proxy-client.crt" \
        --proxy-client-key-file "$certificates/front-proxy-client.key" \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-signing-key-file "$certificates/service-accounts.key" \
        --service-account-key-file "$certificates/service-accounts.key" \
        --service-cluster-ip-range "$service_range" \
        --runtime-config admissionregistration.k8s.io/v1beta1=true --feature-gates MutatingAdmissionPolicy=true \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
        --audit-policy-file "$embedded/config/audit-policy.yaml" --audit-log-path "$state/audit/audit.log" \
        --audit-log-maxsize 10000
}

start_controller_manager() {
    local certificates=$state/certificates kubeconfig=$state/kubeconfig/kube-controller-manager
    start kube-controller-manager "$program/kube-controller-manager" \
        --bind-address 127.0.0.1 --secure-port "$controllers_port" --leader-elect=false \
        --kubeconfig "$kubeconfig" --authentication-kubeconfig "$kubeconfig" --authorization-kubeconfig "$kubeconfig" \
        --use-service-account-credentials --service-account-private-key-file "$certificates/service-accounts.key" \
        --root-ca-file "$certificates/ca.crt" \
        --cluster-signing-cert-file "$certificates/ca.crt" --cluster-signing-key-file "$certificates/ca.key" \
        --kube-api-qps 200 --kube-api-burst 400
}
