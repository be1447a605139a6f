#!/usr/bin/env bash
# Extract every photo below a folder into a folder of clips, and keep a record.
#
#   examples/batch.sh PHOTOS OUT
#
# Run it again after an interruption: photos that are done are skipped.
set -euo pipefail

photos=${1:?usage: $0 PHOTOS OUT}
out=${2:?usage: $0 PHOTOS OUT}
mkdir -p "$out"

# One clip a photo, the folder tree kept; one line of JSON a photo.
status=0
blurvid extract "$photos" -o "$out" --format mp4 --skip-existing --json >>"$out/record.jsonl" || status=$?

# Exit code 3 says that some photos could not be read; the others are done.
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
    exit "$status"
fi

python3 - "$out/record.jsonl" <<'PYTHON'
import json
import pathlib
import sys

lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
records = {}
for record in map(json.loads, lines):
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
