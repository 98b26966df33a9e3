import sys


def command() -> int:
    """The command ``fsft``; Ctrl-C gets a sentence, while it loads too."""
    try:
        from fsft.cli.main import main

        return main()
    except KeyboardInterrupt:
        print("fsft: stopped at once; what was saved before is kept", file=sys.stderr)
        return 130
