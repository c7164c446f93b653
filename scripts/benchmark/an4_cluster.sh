#!/usr/bin/env bash
# Accuracy after the same number of updates on one device and in a cluster: AN4's recipe in one process, then with a
# parameter server and two workers, then run_test.py on the cluster's run. Arguments are passed on to run_train.py.
#
#   MODEL        ds2 or las                                                       (ds2)
#   RUNS         directory of the two runs, RUNS/MODEL-one and RUNS/MODEL-cluster ($HOME/runs/an4-cluster)
#   AN4, FEATURES, NUM_PS, NUM_WORKERS   of run_an4_MODEL_train.sh and run_cluster_local.sh
#
# On two cores the whole recipe takes 35 minutes, MODEL=las with -rl 3 -k 0.8 -p 32 takes 20, and -n 128 -rl 2 -p 15
# takes 10.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

model=${MODEL:-ds2} runs=${RUNS:-$HOME/runs/an4-cluster}
recipe=$ROOT/scripts/run_an4_${model}_train.sh
[ -f "$recipe" ] || fail "MODEL=$model: there is no recipe $(basename "$recipe"); give ds2 or las"
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
