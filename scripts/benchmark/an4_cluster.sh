#!/usr/bin/env bash
# The same updates on one device and in a cluster: AN4 by its recipe, a parameter server and two workers against one
# process, then run_test.py on the cluster's run. Arguments are passed on to run_train.py.
#
#   MODEL        ds2 or las                                                   (ds2)
#   RUNS         where the two runs go: RUNS/MODEL-one and RUNS/MODEL-cluster ($HOME/runs/an4-cluster)
#   AN4, FEATURES, NUM_PS, NUM_WORKERS   of run_an4_MODEL_train.sh and run_cluster_local.sh
#
# The whole recipe takes 35 minutes on two cores, MODEL=las with -rl 3 -k 0.8 -p 32 20, -n 128 -rl 2 -p 15 ten.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

model=${MODEL:-ds2} runs=${RUNS:-$HOME/runs/an4-cluster}
recipe=$ROOT/scripts/run_an4_${model}_train.sh
[ -f "$recipe" ] || fail "MODEL=$model: no recipe $(basename "$recipe"); give ds2 or las"
find_python
export PYTHON FEATURES=${FEATURES:-$HOME/features/an4-fbank-40}

say 'one device'
RUN_DIR=$runs/$model-one "$recipe" "$@"
say 'a cluster'
RUN_DIR=$runs/$model-cluster "$ROOT/scripts/run_cluster_local.sh" "$recipe" "$@"
for run in one cluster; do
  printf '%-8s %s\n' "$run" "$(cat "$runs/$model-$run/checkpoints/best.json")"
done
say "run_test.py on the cluster's run"
"$PYTHON" "$ROOT/run_test.py" -s "$runs/$model-cluster" -t "$FEATURES/dev-clean.json"
