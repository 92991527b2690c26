"""The start of a shell script that makes a root for the service to run in, in a new mount namespace.

It is an overlay over this machine's root whose upper layer is in memory: nothing of this machine is changed.
`/opt/streamfer/bin/streamfer`, where the unit and the image have the service, starts this checkout.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from tests.service import ROOT

SCRIPT = r"""
set -eu
W=$1 ROOT=$1/root
mount --make-rprivate /
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work" "$ROOT"
mount -t overlay overlay -o "lowerdir=/,upperdir=$W/upper,workdir=$W/work" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
mkdir -p "$ROOT/opt/streamfer/bin" "$ROOT/opt/python" "$ROOT/opt/source" "$ROOT/opt/site"
mount --bind "$2" "$ROOT/opt/source"
mount --bind "$3" "$ROOT/opt/python"
mount --bind "$4" "$ROOT/opt/site"
cat >"$ROOT/opt/streamfer/bin/streamfer" <<END
#!/bin/sh
export PYTHONPATH=/opt/source:/opt/source/plugins:/opt/site LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/$5 -B -c 'from streamfer.cli import main; main()' "\$@"
END
chmod 755 "$ROOT/opt/streamfer/bin/streamfer"
shift 5
"""


def in_namespaces(*kinds: str) -> list[str]:
    """A command that runs a shell script, its next argument, in new namespaces: mounts, processes, `kinds`.

    What `arguments` gives follows the script. All ends with this process.
    """
    new = ["unshare", "--mount", "--pid", *(f"--{kind}" for kind in kinds), "--fork", "--kill-child"]
    return ["setpriv", "--pdeathsig", "KILL", *new, "sh", "-c"]


def arguments(folder: Path) -> list[str]:
    """What SCRIPT takes: its name, and five values; `folder` is an empty directory."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return ["sandbox", str(folder), str(ROOT), sys.base_prefix, sysconfig.get_path("purelib"), python]
