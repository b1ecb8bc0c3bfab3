"""A file that holds room free, so that something can still be deleted when the disk is full.

A deletion writes before it frees: the database notes what goes. On a disk without a free block it could not.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from core.settings import settings

# The notes of a deletion of some million rows; a disk that cannot spare it four times over is left alone.
HELD = 16 << 20


def _file() -> Path:
    return settings().data_dir / "reserve"


def keep() -> None:
    """Makes the file where there is room for it; where there is none, nothing happens."""
    with suppress(OSError):
        if _file().exists() or shutil.disk_usage(settings().data_dir).free < 4 * HELD:
            return
        with _file().open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, HELD)


def spend() -> bool:
    """Gives the room away; whether there was any."""
    try:
        _file().unlink()
    except OSError:
        return False
    return True
