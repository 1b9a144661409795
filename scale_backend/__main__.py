"""`python -m scale_backend`: the command line without the installed script."""

import sys

from scale_backend.cli import main

if __name__ == "__main__":
    sys.exit(main())
