"""Makes the model that comes with the package: ``python benchmarks/shipped_model.py``; the same seed gives the same."""

import sys

from ctp_torch.cli import main
from ctp_torch.models.load import model_file

if __name__ == "__main__":
    sys.argv[1:] = [
        "train",
        "--target",
        "physics",
        "-o",
        str(model_file("physics")),
        "--seed",
        "0",
        "--device",
        "cpu",
        "--force",
    ]
    main()
