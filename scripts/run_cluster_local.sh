#!/usr/bin/env bash
# Runs a whole cluster on this machine: scripts/run_cluster_local.sh COMMAND...
# COMMAND is run_train.py with its flags, or a recipe that passes flags on to it:
#
#   scripts/run_cluster_local.sh scripts/run_an4_ds2_train.sh -p 3
#
#   NUM_PS       parameter servers; 0: the workers all-reduce      (1)
#   NUM_WORKERS  workers                                           (2)
#   GRACE_SECS   seconds for the other tasks to exit after the chief (30)
#
# Log lines are prefixed with the task that wrote them. The exit status is the chief's.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

num_ps=${NUM_PS:-1} num_workers=${NUM_WORKERS:-2} grace_secs=${GRACE_SECS:-30}
[ $# -gt 0 ] || fail "usage: $(basename "$0") COMMAND...; for example scripts/run_an4_ds2_train.sh"
[[ $num_ps =~ ^[0-9]+$ && $num_workers =~ ^[1-9][0-9]*$ ]] ||
  fail "NUM_PS=$num_ps NUM_WORKERS=$num_workers: both must be counts, with at least one worker"
find_python
[[ $1 != *.py ]] || set -- "$PYTHON" "$@"

# free_hosts NUMBER: prints host:port,… with free ports.
free_hosts() {
  "$PYTHON" - "$1" <<'END'
import socket, sys
sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(int(sys.argv[1]))]
print(','.join(f'127.0.0.1:{each.getsockname()[1]}' for each in sockets))
END
}

prefix_lines() {
  local line
  while IFS= read -r line; do printf '[%s] %s\n' "$1" "$line"; done
}

# start JOB INDEX: starts a task in the background; its process id is $!.
start() {
  "${command[@]}" --job_name "$1" --task_index "$2" > >(prefix_lines "$1 $2") 2>&1 &
}

IFS=, read -ra hosts <<<"$(free_hosts $((num_ps + num_workers)))"
join() { local IFS=,; echo "$*"; }
ps_hosts=$(join "${hosts[@]:0:num_ps}") ws_hosts=$(join "${hosts[@]:num_ps}")
command=("$@" --ws_hosts "$ws_hosts")
[ "$num_ps" = 0 ] || command+=(--ps_hosts "$ps_hosts")

pids=()
stop() {
  trap - EXIT INT TERM
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
}
trap stop EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM

for ((i = 0; i < num_ps; i++)); do
  start ps "$i"
  pids+=($!)
done
for ((i = num_workers - 1; i >= 0; i--)); do
  start worker "$i"
  pids+=($!)
done
status=0
wait "${pids[-1]}" || status=$?
# the other tasks exit by themselves when the run is complete, and wait for a new chief when it is not
end=$((SECONDS + grace_secs))
for pid in "${pids[@]}"; do
  while [ "$status" = 0 ] && [ $SECONDS -lt $end ] && kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
done
stop
exit "$status"
