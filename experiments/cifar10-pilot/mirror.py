"""Does a map follow the image? Each test image and its mirror image are explained, and the two maps are compared.

python experiments/cifar10-pilot/mirror.py RUN [--query EXPR] [--saliency METHOD] [--images N]

Of a network that looks at the object, the map of the mirror image is the mirrored map. Printed for each model: how its
maps correlate (Pearson, mean over the images) with those of the mirror images as they are, with the same mirrored back,
and with those of other images; then the mean map.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from proxy_attention.data.images import load
from proxy_attention.data.sources import open_source
from proxy_attention.data.splits import draw_split
from proxy_attention.models.classifier import as_float
from proxy_attention.saliency.maps import classify_and_explain, scale
from study.console import say
from study.inference.selection import select_trials
from study.inference.trained_model import load_model


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean over the images of the correlation of two maps, each (N, h, w)."""
    centred = [maps.flatten(1) - maps.mean((1, 2))[:, None] for maps in (one, other)]
    return float(F.cosine_similarity(*centred).mean())


def main() -> None:
    """Print a row a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--query", default="arm == 'baseline'")
    parser.add_argument("--saliency", default="gradcam++")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--data-root", type=Path, default=Path("data/cifar10"))
    args = parser.parse_args()
    trials, _ = select_trials(args.run, args.query)
    for trial in trials:
        model = load_model(trial, torch.device("cpu"))
        config, classifier = model.config, model.classifier
        images = load(open_source(config.dataset, args.data_root, config.label_function), config.image_size)
        test = draw_split(images.labels.numpy(), images.own_test.numpy(), config).test
        ids = torch.from_numpy(test[:: max(len(test) // args.images, 1)])
        pixels, labels = as_float(images.images[ids]), images.labels[ids]
        maps, mirrored = (
            scale(classify_and_explain(classifier, shown, true=labels, saliency=args.saliency, explain="predicted")[1])[
                0
            ]
            for shown in (pixels, pixels.flip(-1))
        )
        say(
            f"{model.name}: mirror image {correlation(maps, mirrored):+.2f}, mirrored back "
            f"{correlation(maps, mirrored.flip(-1)):+.2f}, another image {correlation(maps, maps.roll(1, 0)):+.2f} "
            f"(n = {len(ids)})"
        )
        for row in maps.mean(0).tolist():
            print("   " + " ".join(f"{value:.2f}" for value in row))


if __name__ == "__main__":
    main()
