#!/bin/bash
# A Slurm job that runs a raytrain command, and continues it each time that Slurm starts the job again:
#
#   sbatch raytrain.sbatch compare quick                             # without a command: compare
#   sbatch --nodes=4 --exclusive raytrain.sbatch tune --grid lr      # one Ray over four whole nodes
#
# Replace REPLACE-ME in this file. Options of sbatch on the command line take precedence over the lines below.
# raytrain must be installed on a disk that all nodes see, and the run folders must lie on such a disk too.
#
# Tested with stand-ins for srun, ray and scontrol (tests/cluster/test_template.py). Not tried on a real Slurm.
#
#SBATCH --job-name=raytrain
#SBATCH --partition=REPLACE-ME
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#
# Slurm starts the job again after a preemption or the loss of a node.
#SBATCH --requeue
# 300 s before its time is over, this script (B:) gets the signal USR1, and asks Slurm for another start. Without B:,
# Slurm would signal every process of the job's steps, Ray's own among them. TERM is what scancel sends: a job that
# somebody has cancelled saves its trials and stays away.
#SBATCH --signal=B:USR1@300

source REPLACE-ME/.venv/bin/activate || exit
export RAYTRAIN_OUT="${RAYTRAIN_OUT:-$SLURM_SUBMIT_DIR/runs}"
unset RAY_ADDRESS
[ $# -gt 0 ] || set -- compare

pid_file="$(mktemp)" || exit # receives the process id of raytrain, which runs on the node of this script
trap 'rm -f "$pid_file"' EXIT
command='echo $$ > "$0" && exec raytrain "$@"'

time_is_over=no
signalled=no
stop_raytrain() { # it saves its trials, and ends with 143
    signalled=yes
    kill -TERM "$(cat "$pid_file")"
}
trap 'time_is_over=yes; stop_raytrain' USR1
trap stop_raytrain TERM INT

if [ "$SLURM_JOB_NUM_NODES" = 1 ]; then
    bash -c "$command" "$pid_file" "$@" & # raytrain starts a Ray of its own
else
    # `ray symmetric-run` starts Ray on every node, runs the command on the first, then stops Ray.
    # It stops every Ray process of yours on these nodes, so the nodes must be this job's alone: --exclusive.
    # Who knows the token can use this Ray, which listens on the network of the nodes.
    export RAY_AUTH_MODE=token
    [ -s ~/.ray/auth_token ] || (umask 077 && mkdir -p ~/.ray && openssl rand -hex 32 > ~/.ray/auth_token) || exit
    address="$(hostname -I | cut -d ' ' -f 1):$((20000 + SLURM_JOB_ID % 10000))"
    srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
        --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
        -- bash -c "$command" "$pid_file" "$@" --address auto &
fi
job=$!

while # a signal interrupts `wait`
    signalled=no
    wait "$job"
    code=$?
    [ "$signalled" = yes ] && kill -0 "$job" 2> /dev/null
do :; done

case "$time_is_over $code" in
    "yes 0" | "yes 4" | "yes 5") ;; # it has ended all the same: all, some or no trials ended well
    yes*) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
