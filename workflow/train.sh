#!/usr/bin/env bash
# One run as one job: train.sh RESULT FOLDER SECONDS COMMAND...
#
# COMMAND is `fsft train` with FOLDER as its results folder; what it writes there is copied to RESULT, whole or not at
# all. While another job has the run, this one looks again every SECONDS.
set -uo pipefail
result=$1 folder=$2 seconds=$3
shift 3

trap : TERM  # whoever stops this job stops COMMAND too, which saves first
mkdir -p "$folder"
in_use=4 stopped=143

"$@" >> "$folder/log.txt" 2>&1
status=$?
while [ $status = $in_use ]; do  # a driver that was killed left a job behind
    sleep "$seconds"
    "$@" >> "$folder/log.txt" 2>&1
    status=$?
done

# Stopped, saved, and not cancelled: Slurm is to put the same job back into its queue.
if [ $status = $stopped ] && [ "$(squeue -h -o %T -j "${SLURM_JOB_ID:-none}" 2>/dev/null)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
if [ $status != 0 ]; then
    tail -n 3 "$folder/log.txt"
    exit $status
fi
cp "$folder/$(basename "$result")" "$result.tmp" && mv "$result.tmp" "$result"
