"""``python -m dpmot`` is the command ``dpmot``."""

import sys

from dpmot.cli import main

sys.exit(main())
