"""Lets ``python -m idrstream`` do what ``idrstream`` does."""

import sys

from idrstream.cli.main import main

sys.exit(main())
