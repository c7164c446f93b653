#!/bin/bash
#SBATCH --nodes=4 --ntasks-per-node=1 --cpus-per-task=16 --signal=TERM@120 --requeue
# Cluster training under Slurm: all-reduce, one worker on each node. Submit from the repository root:
#
#   sbatch scripts/cluster/slurm.sh [FLAG...]
#
# Arguments are passed on to run_train.py; LIBRISPEECH, FEATURES and RUN_DIR as in run_libri_ds2_train.sh.
# Two minutes before the time limit Slurm sends SIGTERM: all workers stop after the same update, the chief saves, and
# the requeued job resumes there.
WS_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed 's/$/:2222/' | paste -sd,)
export WS_HOSTS PS_HOSTS=
srun --kill-on-bad-exit=1 bash -c 'exec scripts/run_libri_ds2_train_dist.sh worker "$SLURM_PROCID" "$@"' task "$@"
