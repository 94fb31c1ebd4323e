{{/* The reference of a program's image: mooring.image (list $ .Values.operator) */}}
{{- define "mooring.image" -}}
{{- $root := index . 0 -}}{{- $program := index . 1 -}}
{{- $base := printf "%s/%s" $root.Values.image.registry $program.repository -}}
{{- if $program.digest -}}{{ $base }}@{{ $program.digest }}
{{- else -}}{{ $base }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Labels of every object: mooring.labels (list $ "gateway") */}}
{{- define "mooring.labels" -}}
{{- $root := index . 0 -}}
{{ include "mooring.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* Labels that select the pods of a program: mooring.selector (list $ "gateway") */}}
{{- define "mooring.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: mooring
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* What Pod Security "restricted" asks of a pod. */}}
{{- define "mooring.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What it asks of a container, and a file system that nobody writes to. */}}
{{- define "mooring.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Our own token, where client libraries look for it. Mounted by name and not by itself, so that no container has it that
somebody else puts into the pod; it is good for an hour, and the kubelet renews it. */}}
{{- define "mooring.token" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- define "mooring.tokenMount" -}}
- {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{/* The probes of the admin port. */}}
{{- define "mooring.probes" -}}
startupProbe:
  httpGet: {path: /live, port: admin}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /live, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /ready, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
{{- end }}

{{- define "mooring.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the pods of a program may run: mooring.placement .Values.operator */}}
{{- define "mooring.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Kind and metadata of the role of a program, in the one namespace that is served or for all: mooring.role (list $ "gateway") */}}
{{- define "mooring.role" -}}
{{- $root := index . 0 }}
kind: {{ ternary "Role" "ClusterRole" (ne $root.Values.namespace "") }}
metadata:
  {{- include "mooring.roleMetadata" . | nindent 2 }}
{{- end }}

{{/* The same of its binding, with the reference. */}}
{{- define "mooring.roleBinding" -}}
{{- $root := index . 0 }}
{{- $kind := ternary "Role" "ClusterRole" (ne $root.Values.namespace "") }}
kind: {{ $kind }}Binding
metadata:
  {{- include "mooring.roleMetadata" . | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ $kind }}, name: {{ include "mooring.roleName" . }}}
{{- end }}

{{- define "mooring.roleMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "mooring.roleName" . }}
{{- with $root.Values.namespace }}
namespace: {{ . }}
{{- end }}
labels: {{- include "mooring.labels" . | nindent 2 }}
{{- end }}

{{- define "mooring.roleName" -}}
{{- $root := index . 0 -}}
{{ if $root.Values.namespace }}mooring-{{ index . 1 }}-endpoints{{ else }}{{ $root.Release.Name }}-{{ index . 1 }}{{ end }}
{{- end }}

{{/* Something, when there is to be a webhook. Its configuration belongs to no namespace, so an operator of one has none. */}}
{{- define "mooring.hasWebhook" -}}
{{- if and .Values.webhook.enabled (not .Values.namespace) }}yes{{ end }}
{{- end }}

{{/* The ValidatingWebhookConfiguration, whose name the whole cluster shares. */}}
{{- define "mooring.webhook" -}}
{{ .Release.Name }}-{{ .Release.Namespace }}
{{- end }}
