"""`python -m siamese.orchestration.k8s FOLDER`: one worker's process."""

import sys
from pathlib import Path

from siamese.orchestration.k8s.worker import work
from siamese.process import exit_code_of

if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: work(Path(sys.argv[1]))))
