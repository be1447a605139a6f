#!/usr/bin/env bash
# Train the motion model on from its released weights, for a GPU of 15 minutes.
#
#   examples/train_motion.sh WINDOWS STILLS OUT [OPTION...]
#
# WINDOWS is a folder of windows made by `blurvid synth` or of videos of seven frames each, STILLS a
# folder or tar of sharp photos. OUT then holds what to bring home: `weights/` (motion.safetensors,
# restore.safetensors, set.json), `log.jsonl`, `scores.jsonl` (validation on clips that are held
# out) and `state.pt`, from which the same command goes on after an interruption.
#
# From nothing, with the released recipe:    INIT= LR=5e-4 examples/train_motion.sh ...
# On a CPU:    examples/train_motion.sh ... --batch 4 --crop 128 --minutes 120
set -euo pipefail

windows=${1:?usage: $0 WINDOWS STILLS OUT [OPTION...]}
stills=${2:?usage: $0 WINDOWS STILLS OUT [OPTION...]}
out=${3:?usage: $0 WINDOWS STILLS OUT [OPTION...]}
shift 3
minutes=${MINUTES:-10} # the rest is for loading, flow (once: it is cached) and the last scores
lr=${LR:-2e-4}         # a second run begins where the first one's cosine was at about a third
init=${INIT-motion}

start=(--resume) # goes on where a run is there, and begins where there is none
[ -z "$init" ] || start+=(--init "$init")

# The clips that the release was validated on; with others, scores would be of what was trained on.
# Leave HELD_OUT empty for clips of your own: every eighth is held out then.
held=${HELD_OUT-highway_driving dog_soccer fps50_paris_walk davis_dog kitten nus7_garden woman_running robotarm}
names=$(printf '"%s",' $held)
[ -z "$held" ] || set -- --set "paths.held_out=[${names%,}]" "$@"

# PNGs and videos are read by all cores; each thread of torch is one of them.
blurvid train --model motion --data "$windows" --data "$stills" --out "$out" "${start[@]}" \
    --minutes "$minutes" --lr "$lr" --set save_minutes=1 "$@"

tail -n 1 "$out/scores.jsonl"
