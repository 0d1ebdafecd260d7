"""After the bake: of the copies that were made before deployments the newest three are kept."""

import os
from pathlib import Path

copies = sorted(Path(os.environ["DATABASE"]).parent.glob("before-*.backup"), key=lambda copy: copy.stat().st_mtime)
for copy in copies[:-3]:
    copy.unlink()
print(f"{len(copies[:-3])} of {len(copies)} copies were removed")
