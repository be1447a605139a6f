#!/usr/bin/env bash
# Extract every photo below a folder into a folder of clips, and keep a record.
#
#   examples/batch.sh PHOTOS OUT [OPTION...]
#
# Run it again after an interruption or a kill: photos that are done are skipped, what was left
# half done is made anew. In a job array each job does its share:
#
#   examples/batch.sh PHOTOS OUT --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
set -euo pipefail

photos=${1:?usage: $0 PHOTOS OUT [OPTION...]}
out=${2:?usage: $0 PHOTOS OUT [OPTION...]}
shift 2
mkdir -p "$out"
# Jobs of an array do not write to one file.
record=$out/record${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}.jsonl

if [ -s "$record" ] && [ -n "$(tail -c 1 "$record")" ]; then
    echo >>"$record" # the last line was cut short
fi

# One clip a photo, the folder tree kept; one line of JSON a photo.
status=0
blurvid extract "$photos" -o "$out" --skip-existing --json "$@" >>"$record" || status=$?

# Exit code 3 says that some photos could not be read; the others are done.
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
    exit "$status"
fi

python3 - "$record" <<'PYTHON'
import json
import pathlib
import sys

lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
records = {}
for line in lines:
    try:
        record = json.loads(line)
    except ValueError:
        continue  # cut short, by a full disk or a kill
    if not record.get("skipped"):
        records[record["input"]] = record  # the latest word on each photo
records = list(records.values())
done = [r for r in records if "seconds" in r]
print(f"{len(done)} photos, {sum(r['seconds'] for r in done):.1f} s in the network")
for record in records:
    if "error" in record:
        print(f"not done: {record['input']}: {record['error']}")
PYTHON
exit "$status"
