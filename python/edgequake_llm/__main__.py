"""`python -m edgequake_llm` is the command line."""

import sys

from edgequake_llm.cli import main

sys.exit(main())
