"""Run the command line as `python -m spnas`."""

import sys

from spnas.cli import main

if __name__ == "__main__":
    sys.exit(main())
