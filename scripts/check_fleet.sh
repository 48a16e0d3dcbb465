#!/usr/bin/env bash
# Checks what docs/fleet has for clusters: check_fleet.sh LOCKSTEP, with the path of the program.
#
# slurm.sh runs with stand-ins for sbatch and scontrol: a learner and two workers share a small run over a folder. The
# learner is asked to stop once, as before its time limit, and is queued again. kubernetes.yaml is held against the schema.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 LOCKSTEP" >&2; exit 2; }
lockstep=$(realpath "$1")
here=$(realpath "$(dirname "$0")/..")
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT

bash -n "$here/docs/fleet/slurm.sh"

mkdir "$dir/bin" "$dir/jobs" "$dir/again"
# Notes each job with its number, its array and its command; an array has a line for each of its tasks.
cat >"$dir/bin/sbatch" <<'EOF'
#!/usr/bin/env bash
set -euo pipefail
array=() output=
while [[ $1 == --* ]]; do
    case "$1" in
    --array=*) span=${1#*=} && mapfile -t array < <(seq "${span%-*}" "${span#*-}") ;;
    --output=*) output=${1#*=} ;;
    --job-name=*) ;;
    *) echo "sbatch: $1?" >&2; exit 1 ;;
    esac
    shift
done
id=$((100 + $(find "$JOBS" -type f | wc -l)))
for task in "${array[@]:-}"; do
    log=${output//%[jA]/$id}
    printf '%s\n' "$id" "$task" "${log//%a/$task}" "$@" >"$JOBS/$id${task:+_$task}"
done
echo "Submitted batch job $id"
EOF
cat >"$dir/bin/scontrol" <<'EOF'
#!/usr/bin/env bash
[ "$1" = requeue ] && [ -f "$JOBS/$2" ] && touch "$JOBS/../again/$2"
EOF
chmod +x "$dir"/bin/*

export JOBS=$dir/jobs PATH=$dir/bin:$PATH SLURM_CPUS_PER_TASK=1
export LOCKSTEP=$lockstep RECIPE=tictactoe RUN=$dir/run PLACE=folder:$dir/place LOGS=$dir/logs WORKERS=2
# Long enough to be stopped in the middle.
export TRAIN="--no-play --set run.generations=12 --set run.games=200 --set run.grade_share=0"
cd "$dir"
bash "$here/docs/fleet/slurm.sh"

# Runs a job in the background, as a batch step does.
start() {
    local job
    mapfile -t job <"$JOBS/$1"
    export SLURM_JOB_ID=${job[0]}
    unset SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID
    [ -z "${job[1]}" ] || export SLURM_ARRAY_JOB_ID=${job[0]} SLURM_ARRAY_TASK_ID=${job[1]}
    bash "${job[@]:3}" >>"${job[2]}" 2>&1 &
}
fail() {
    echo "check_fleet: $1" >&2
    tail -n 20 "$LOGS"/* >&2
    exit 1
}
start 100
learner=$!
workers=()
for job in 101_1 101_2; do start $job && workers+=($!); done
for _ in $(seq 600); do grep -q '^generation 3/' "$LOGS/learner-100.log" && break || sleep 0.1; done
kill -TERM "$learner"
wait "$learner" || true
[ -f "$dir/again/100" ] || fail "the learner was not queued again"
start 100
wait $! || fail "the learner has failed"
for worker in "${workers[@]}"; do wait "$worker" || fail "a worker has failed"; done
grep -q '^Stopped and saved' "$LOGS/learner-100.log" || fail "the learner was not stopped"
grep -q '^Trained ' "$LOGS/learner-100.log" || fail "the run has not ended"
grep -h '^Handed in' "$LOGS"/worker-*

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q 'kubernetes-validate==1.*'
"$dir/venv/bin/kubernetes-validate" --strict "$here/docs/fleet/kubernetes.yaml"
