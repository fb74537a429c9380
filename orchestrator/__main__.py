"""The program: `orchestrator`, and `python -m orchestrator`."""

from orchestrator.signals import end_at_once


def main() -> None:
    """Run the command line; from here on a signal ends it with a code of its own, not by itself."""
    end_at_once()
    from orchestrator.cli import main

    main()


if __name__ == "__main__":
    main()
