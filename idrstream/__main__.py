"""Lets ``python -m idrstream`` do what ``idrstream`` does."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C also ends it in order while it is still being imported."""
    try:
        from idrstream.cli.main import main as command

        return command()
    except KeyboardInterrupt:
        sys.stderr.write("idrstream: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
