"""The command line: the only place that picks a device, prints, or names a method by string."""


def main() -> None:
    """Run the ``ctp-torch`` command."""
