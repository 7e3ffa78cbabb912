"""`python -m edgequake_llm` is the command line."""

import sys

from edgequake_llm.cli import main

if __name__ == "__main__":
    sys.exit(main())
