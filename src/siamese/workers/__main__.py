"""`python -m siamese.workers FOLDER`: one worker's process."""

import sys
from pathlib import Path

from siamese.cli import exit_code_of
from siamese.workers.worker import work

if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: work(Path(sys.argv[1]))))
