"""Lets `python -m inverseflow.cli` do what `inverseflow` does."""

import sys

from inverseflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
