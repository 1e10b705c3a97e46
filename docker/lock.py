"""Turn pip's installation report on standard input into pinned requirements on standard output."""

import json
import sys

OWN = "kdsearch-hpo"

installed = (entry["metadata"] for entry in json.load(sys.stdin)["install"])
pins = {meta["name"].lower(): meta["version"].partition("+")[0] for meta in installed}
print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items()) if name != OWN))
