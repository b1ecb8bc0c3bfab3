"""``python -m core.worker long`` or ``short``: one worker for one lane."""

import sys

from core.worker.loop import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "long"))
