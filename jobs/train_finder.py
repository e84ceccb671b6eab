r"""Train the face finder that ships with deepscan, with YuNet as its teacher, in one process.

    python jobs/train_finder.py --media ../shared/media --out runs/finder --minutes 30 --seed 0

Writes ``face_finder.onnx`` and its card ``face_finder.json`` to ``--out``. A run that was interrupted goes on
when the same line is given again; more minutes make it longer, fewer end it where it is. ``--install`` puts
both files where the package has them; the card has the SHA-256 that ``media/shipped_faces.py`` must pin.
"""

import argparse
import json
import logging
import os
import pathlib
import shutil
import sys

import torch

from deepscan.errors import DeepscanError
from deepscan.finder.train import CARD, Settings, train
from deepscan.media.shipped_faces import FILE, weights_path


def main() -> int:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--media", type=pathlib.Path, required=True, help="folder of pictures and clips")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="threads that compose pictures")
    parser.add_argument("--install", action="store_true", help="put the result into the package")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - given.threads))
    settings = Settings(minutes=given.minutes, seed=given.seed, threads=given.threads)
    try:
        card = train(given.media, given.out, settings)
        if given.install:
            weights_path().parent.mkdir(exist_ok=True)
            for name in (FILE, CARD):
                shutil.copyfile(given.out / name, weights_path().with_name(name))
    except DeepscanError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(card, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
