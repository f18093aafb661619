"""``python -m ctp_torch``, the way torchrun starts the command line."""

from ctp_torch.cli import main

main()
