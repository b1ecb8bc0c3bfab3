"""``python -m core.worker long``, ``short`` or ``aside``: one worker."""

import sys

from core.worker.loop import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "long"))
