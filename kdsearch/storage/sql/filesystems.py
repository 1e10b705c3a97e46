"""Which file system a path lies on: SQLite's locks don't hold on a network's."""

import re
from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ncpfs"),
        *("lustre", "gpfs", "beegfs", "beegfs_nodev", "ceph", "glusterfs", "panfs", "orangefs", "pvfs2"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone"),
        *("fuse.gcsfuse", "fuse.juicefs", "fuse.blobfuse", "fuse.blobfuse2", "fuse.mount-s3", "fuse.moosefs"),
    }
)
_MOUNTS = Path("/proc/mounts")


def network_filesystem(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the kind of network file system that holds a path.

    None where the path is local.

    Args:
        path: An absolute path; it need not exist.
        mounts: The table of mounts; without one nothing is known, and nothing is refused.
    """
    try:
        table = mounts.read_text()
    except OSError:
        return None
    kind = ""
    longest = -1
    for line in table.splitlines():
        _, target, found, *_ = line.split(" ")
        point = Path(_unescaped(target))
        if path.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), found
    return kind if kind in NETWORK_FILESYSTEMS else None


def _unescaped(target: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), target)
