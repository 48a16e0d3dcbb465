#!/usr/bin/env bash
# A fleet on a Slurm cluster: one job learns, and an array of jobs plays for it over a shared folder.
#
#   bash slurm.sh                                      submits both, with what is set below
#   RECIPE=connect_four WORKERS=200 bash slurm.sh      the same with other values
#   sbatch --array=1-50 slurm.sh worker                fifty more workers, at any time
#
# Workers may be killed at any moment, and so may the learner. Whatever meets its time limit or is preempted is queued
# again and goes on. At the end of the run the learner and the workers end by themselves. Nothing here needs root.
#
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

LOCKSTEP=${LOCKSTEP:-lockstep}          # the program, on a path that all nodes see
RECIPE=${RECIPE:-othello}               # what is learned
RUN=${RUN:-$PWD/runs/$RECIPE}           # the folder of the run, which the learner alone uses
PLACE=${PLACE:-folder:$PWD/fleet}       # where learner and workers meet: another folder that all nodes see
WORKERS=${WORKERS:-20}                  # how many workers
LOGS=${LOGS:-$PWD/logs}                 # what the jobs say
TRAIN=${TRAIN:-}                        # more arguments of lockstep train, such as "--no-play --set run.lag=2"
export LOCKSTEP RECIPE RUN PLACE WORKERS LOGS TRAIN

# Runs a program until it ends, and queues this job again if Slurm has asked it to stop before.
requeued() {
    local asked=0 code=0 child
    "$@" &
    child=$!
    trap 'asked=1; kill -TERM "$child" 2>/dev/null || true' TERM
    # A signal ends the waiting, not the program, which saves or hands in first.
    while :; do
        code=0
        wait "$child" || code=$?
        kill -0 "$child" 2>/dev/null || break
    done
    if [ "$asked" = 1 ]; then
        # In an array the number of one job may be that of the array.
        if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
            scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
        else
            scontrol requeue "$SLURM_JOB_ID"
        fi
    fi
    return "$code"
}

case "${1:-submit}" in
submit)
    mkdir -p "$LOGS"
    sbatch --job-name=lockstep-learner --output="$LOGS/learner-%j.log" "$0" learner
    sbatch --job-name=lockstep-worker --output="$LOGS/worker-%A-%a.log" --array="1-$WORKERS" "$0" worker
    ;;
learner)
    # The same command begins the run and goes on with it.
    # shellcheck disable=SC2086
    requeued "$LOCKSTEP" train "$RECIPE" --run "$RUN" --fleet "$PLACE" --threads "$SLURM_CPUS_PER_TASK" $TRAIN
    ;;
worker)
    # A learner may wait in the queue for long: here for up to a day.
    requeued "$LOCKSTEP" worker --fleet "$PLACE" --threads "$SLURM_CPUS_PER_TASK" --wait 1440 \
        --name "$(hostname)-${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
    ;;
*)
    echo "usage: $0 [submit|learner|worker]" >&2
    exit 2
    ;;
esac
