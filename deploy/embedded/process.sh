# Processes: each component is started once, recorded, watched and stopped.
# shellcheck shell=bash disable=SC2034,SC2154 # part of deploy/cluster

# The start of process $1 in clock ticks after boot; fails when there is none.
start_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra stat <<<"${stat##*) }"
    [[ ${stat[0]} != Z ]] && printf '%s\n' "${stat[19]}"
}

# The process of component $1 when it runs. A process number can be given to
# another program later, so boot and start time must be the recorded ones too.
process_of() {
    local process start boot
    [[ -f $state/processes/$1 ]] || return 1
    read -r process start boot <"$state/processes/$1"
    [[ $boot == "$(</proc/sys/kernel/random/boot_id)" && $(start_of "$process") == "$start" ]] || return 1
    printf '%s\n' "$process"
}

# Start component $1 as the command that follows, unless it runs.
start() {
    local component=$1 process
    shift
    ! process_of "$component" >/dev/null || return 0
    printf '\n== %(%FT%T%z)T starting: %s\n' -1 "$*" >>"$state/logs/$component.log"
    setsid "$@" </dev/null >>"$state/logs/$component.log" 2>&1 9>&- &
    process=$!
    disown "$process"
    printf '%s %s %s\n' "$process" "$(start_of "$process" || echo gone)" \
        "$(</proc/sys/kernel/random/boot_id)" >"$state/processes/$component"
}

# Wait until the command after $1 succeeds, for at most a minute; component $1
# must stay alive meanwhile.
await() {
    local component=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        process_of "$component" >/dev/null || fail_with_log "$component" "$component ended while starting"
        ((SECONDS < deadline)) || fail_with_log "$component" "$component was not ready after 60 s: $* never succeeded"
        sleep 0.1
    done
}

fail_with_log() {
    progress "last lines of $state/logs/$1.log:"
    tail -n 20 "$state/logs/$1.log" | cut -c1-500 >&2
    fail "$2; the log above says why. Then: deploy/cluster down --name $name"
}

# Stop component $1 when it runs: politely at first when $2 says so.
stop() {
    local process tries
    if process=$(process_of "$1"); then
        if [[ ${2-} == politely ]]; then
            kill -TERM "$process" 2>/dev/null || true
            for ((tries = 0; tries < 30; tries++)); do
                process_of "$1" >/dev/null || break
                sleep 0.1
            done
        fi
        kill -KILL "$process" 2>/dev/null || true
        while process_of "$1" >/dev/null; do sleep 0.05; done
    fi
    rm -f "$state/processes/$1"
}
