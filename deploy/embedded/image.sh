# Images: built with buildah, layer by layer from its cache, and pushed to the
# cluster's registry.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

recipes=$(dirname "$embedded")/images
debian_suite=bookworm
debian_packages=ca-certificates,tzdata

usage_image() {
    cat <<'USAGE'
Build images and push them to the cluster's registry, started when it is down.
Prints each pushed image on stdout, as 127.0.0.1:5000/NAME@sha256:...

usage: deploy/cluster image build --tag NAME:TAG [--file DOCKERFILE] [--target STAGE]
           [--build-arg KEY=VALUE]... [--build-context NAME=FOLDER]... CONTEXT
       deploy/cluster image base

commands:
  build   build a Dockerfile; layers that did not change come from the cache
  base    build those of the base images whose recipe changed: base/debian,
          base/runtime and base/python-sklearn (recipes in deploy/images)

examples:
  deploy/cluster image base
  deploy/cluster image build --tag mooring:dev --file deploy/Dockerfile .
USAGE
}

command_image() {
    case ${1-} in
    build) image_build "${@:2}" ;;
    base) image_base "${@:2}" ;;
    -h | --help) usage_image ;;
    *) fail "image: unknown command '${1-}'; see deploy/cluster image --help" ;;
    esac
}

image_build() {
    local tag='' context='' arguments=()
    while (($#)); do
        case $1 in
        --tag | -t) has_value "$@"; tag=$2; shift ;;
        --tag=*) tag=${1#*=} ;;
        --file | -f | --target | --build-arg | --build-context)
            has_value "$@"
            arguments+=("$1" "$2")
            shift
            ;;
        --file=* | --target=* | --build-arg=* | --build-context=*) arguments+=("$1") ;;
        -h | --help) usage_image; return ;;
        -*) fail "image build: unknown option '$1'; see deploy/cluster image --help" ;;
        *)
            [[ -z $context ]] || fail "image build: two contexts, '$context' and '$1'; give one folder"
            context=$1
            ;;
        esac
        shift
    done
    [[ $tag =~ ^[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9._-]+$ ]] ||
        fail "image build: --tag NAME:TAG is missing or malformed: '$tag'"
    [[ -d $context ]] || fail "image build: the context '$context' is no folder"
    open_registry
    build_and_push "$tag" "${arguments[@]}" "$context"
}

# Build the images that are not in the registry with the recipe they have now.
image_base() {
    local debian_recipe
    (($# == 0)) || fail "image base takes no arguments"
    open_registry
    require_packages mmdebstrap:mmdebstrap
    exec 8>"$cache/images.lock"
    flock 8
    debian_recipe=$(recipe debian "$debian_suite $debian_packages")
    base_image debian "$debian_recipe" build_debian
    base_image runtime "$(recipe runtime "$debian_recipe")" build_recipe runtime
    base_image python-sklearn "$(recipe python-sklearn "$debian_recipe")" build_recipe python-sklearn
}

# Print the image that holds a pod's network, built when it is new.
image_pause() {
    local folder tag
    folder=$(dirname "$(readlink -f "$(command -v busybox)")")
    tag=base/pause:$(recipe pause "$(sha256sum "$folder/busybox")")
    [[ -n $(digest_of "$tag") ]] ||
        build_and_push "$tag" --build-context "busybox=$folder" "$recipes/pause" >/dev/null
    printf '%s/%s\n' "$registry" "$tag"
}

# A hash of recipe $1 and of $2, whatever else the image is made from.
recipe() {
    (cd "$recipes/$1" && find . -type f | sort | xargs sha256sum && printf '%s' "$2") | sha256sum | cut -c1-16
}

# Print base image $1, made by the command after $2 unless the registry has it
# with recipe $2, which is a tag there.
base_image() {
    local image=base/$1 tag=$2
    shift 2
    if [[ -z $(digest_of "$image:$tag") ]]; then
        progress "building $image"
        "$@" >/dev/null
        push "$image:latest" "$image:$tag" >/dev/null
    fi
    printf '%s/%s@%s\n' "$registry" "$image" "$(digest_of "$image:$tag")"
}

build_recipe() {
    build_and_push "base/$1:latest" "$recipes/$1"
}

build_debian() (
    context=$(mktemp -d)
    trap 'rm -rf "$context"' EXIT
    mmdebstrap --quiet --variant=minbase --include="$debian_packages" "$debian_suite" "$context/root.tar" >&2 ||
        fail "mmdebstrap could not make a Debian $debian_suite; its message is above"
    build_and_push base/debian:latest --file "$recipes/debian/Dockerfile" "$context"
)

# Set up what `image` needs: the full cluster's registry, up.
open_registry() {
    local existing name=mooring mode
    require_registry_packages
    ((EUID == 0)) || fail "building images needs root"
    lock_instances
    for existing in "$states"/*/instance; do
        [[ ! -f $existing || $(<"$existing") != full* ]] || name=$(basename "$(dirname "$existing")")
    done
    create_instance "$name" full
    start_registry
    exec 9>&-
}

# buildah with our storage: the machine's own stays as it is.
storage() {
    buildah --root "$cache/buildah" --runroot /run/mooring-buildah --storage-driver overlay \
        --storage-opt overlay.skip_mount_home=true "$@"
}

# Build image $1 with the arguments that follow, push it and print it.
build_and_push() {
    local tag=$1 log=$state/logs/image-${1//[:\/]/-}.log trust=() file
    shift
    # Steps that fetch something trust whom the machine trusts.
    for file in /etc/ssl/certs /etc/pip.conf; do
        [[ ! -e $file ]] || trust+=(--volume "$file:$file:ro")
    done
    if ! storage build --layers --force-rm --isolation chroot --tls-verify=false "${trust[@]}" \
        --tag "$registry/$tag" "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "buildah could not build $tag: the above are the last lines of $log"
    fi
    push "$tag" "$tag"
}

# Push local image $1 as $2, unless the registry has just that, and print it.
push() {
    local image digest
    image=$(storage inspect --type image --format '{{.FromImageID}}' "$registry/$1")
    if [[ $(config_of "$2") != "sha256:$image" ]]; then
        storage push --quiet --tls-verify=false "$image" "docker://$registry/$2" >&2 ||
            fail "buildah could not push $2 to $registry; its message is above"
    fi
    digest=$(digest_of "$2")
    printf '%s/%s@%s\n' "$registry" "${2%:*}" "$digest"
}

manifest_types='application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json'

# The digest of image $1, NAME:TAG, in the registry; empty when it is not there.
digest_of() {
    curl -sfI -H "Accept: $manifest_types" "http://$registry/v2/${1%:*}/manifests/${1##*:}" |
        tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" { print $2 }' || true
}

# The digest of the configuration of image $1 in the registry, which names the
# image wherever it is stored.
config_of() {
    curl -sf -H "Accept: $manifest_types" "http://$registry/v2/${1%:*}/manifests/${1##*:}" |
        jq -r .config.digest || true
}
