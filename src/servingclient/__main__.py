"""The command without its script: ``python -m servingclient``."""

import sys

from servingclient.cli import main

sys.exit(main())
