"""`python -m crossplay.jobs FOLDER`: the engine process of one job."""

import sys
from pathlib import Path

from crossplay.jobs.registry import Folder
from crossplay.jobs.running import Runner
from crossplay.kernel import CrossplayError

if __name__ == "__main__":
    try:
        Runner(Folder(Path(sys.argv[1]))).run()
    except CrossplayError as error:
        print(f"crossplay: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
