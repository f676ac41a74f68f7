"""Draw the embedded sample from the official Fashion-MNIST files: 300 training and 100 test images a class.

Usage: python -m proxy_attention.data.embedded.draw FOLDER OUT.npz
FOLDER holds the four official ``*-ubyte.gz`` files (Zalando Research, MIT licence). The draw is seeded, so the arrays
are always the same; ``proxy_attention.data.embedded.sample`` holds the checksum of the file that ships.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

PER_CLASS = {"train": 300, "test": 100}
FILES = {"train": "train", "test": "t10k"}
SEED = 2017  # the year of the data set


def read_idx(path: Path, *, header: int) -> np.ndarray:
    """Read the bytes of an idx file after its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=header)


def draw(folder: Path) -> dict[str, np.ndarray]:
    """Draw the sample from the folder of the official files.

    Returns: ``{train,test}_images`` (N, 28, 28), ``_labels`` (N,) and ``_index`` (N,), the numbers in the official set.
    """
    arrays: dict[str, np.ndarray] = {}
    for split, prefix in FILES.items():
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", header=8)
        rng = np.random.default_rng(SEED)
        chosen = [rng.choice(np.flatnonzero(labels == cls), PER_CLASS[split], replace=False) for cls in range(10)]
        index = np.sort(np.concatenate(chosen))
        arrays |= {
            f"{split}_images": images[index],
            f"{split}_labels": labels[index],
            f"{split}_index": index.astype(np.uint16),
        }
    return arrays


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="folder of the official files")
    parser.add_argument("out", type=Path, help="file to write")
    args = parser.parse_args()
    arrays = draw(args.folder)
    np.savez_compressed(args.out, allow_pickle=False, **arrays)
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
