#!/usr/bin/env bash
# Deep Speech 2 on THCHS-30, on a cluster: run_thchs_ds2_train_dist.sh {ps,worker} INDEX [FLAG...]
# A parameter server and two workers on this machine, in three terminals and any order: ps 0, worker 0, worker 1.
# PS_HOSTS and WS_HOSTS name other machines (see common.sh); corpus, features and model are those of
# run_thchs_ds2_train.sh, and so are the variables.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

train_distributed run_thchs_ds2_train.sh "$@"
