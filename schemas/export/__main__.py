"""`python -m schemas.export [--check | --release]`."""

import sys

from schemas.export.export import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
