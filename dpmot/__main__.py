"""The command ``dpmot``, also as ``python -m dpmot``."""

import sys


def main() -> int:
    """Run :func:`dpmot.cli.main`; Ctrl-C is one line while its modules are imported too."""
    try:
        from dpmot.cli import main as run
    except KeyboardInterrupt:
        print("dpmot: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
