"""Run the command line by `python -m inverseflow.cli`."""

import sys

from inverseflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
