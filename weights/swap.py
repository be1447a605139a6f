"""Put new files into a weight set: python weights/swap.py SET FOLDER_WITH_THE_PARTS."""

import hashlib
import json
import sys
from pathlib import Path

place, source = Path(__file__).parent / sys.argv[1] / "set.json", Path(sys.argv[2])
info = json.loads(place.read_text("utf-8"))
for entry in info["files"].values():
    data = (source / entry["file"]).read_bytes()
    (place.parent / entry["file"]).write_bytes(data)
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
place.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8")
