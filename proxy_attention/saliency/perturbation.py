"""Methods that hide channels or pixels and measure the change of the score; knows no training set."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from proxy_attention.saliency.interface import CHUNK_PIXELS, ExplainedModel, Method, SaliencyInput, at_least_float32

RISE_MASKS = 512
"""The paper takes 4,000 and more for images of 224 pixels."""

RISE_CELLS, RISE_KEPT = 7, 0.5


def ablationcam(inputs: SaliencyInput) -> tuple[torch.Tensor, torch.Tensor]:
    """Weigh each channel by what the score loses without it: ``(y - y_k) / y``.

    Under a linear head on pooled features the loss is the channel's own part of the score, and no further pass is
    needed. Under any other the channel is set to zero in a pass of its own. A score of 0 has no such part: zeros.

    Source: Desai and Ramaswamy, Ablation-CAM, WACV 2020, equation 4.
    """
    model = inputs.model
    with torch.no_grad():
        features, logits = model.forward_with_features(inputs.images)
        maps = at_least_float32(model.as_map(features))
        score = inputs.score(at_least_float32(logits))
        if model.linear_head is not None:
            rows = inputs.coefficients.to(model.linear_head.weight) @ model.linear_head.weight
            lost = rows * maps.mean(dim=(2, 3))
        else:
            lost = score[:, None] - torch.cat(list(_without_each_channel(inputs)), dim=1)
        usable = score != 0
        share = torch.where(usable[:, None], lost / torch.where(usable, score, 1.0)[:, None], 0.0)
    return maps, share[:, :, None, None]


def _without_each_channel(inputs: SaliencyInput) -> Iterator[torch.Tensor]:
    """Yield scores (N, k) of a chunk of channels, each with one of them set to zero at every position."""
    model, count = inputs.model, len(inputs.images)
    layer = model.module.get_submodule(model.feature_layer)
    for chunk in _chunks(inputs):
        channel = chunk.repeat_interleave(count)

        def ablate(module: object, args: object, output: torch.Tensor, channel: torch.Tensor = channel) -> torch.Tensor:
            return model.with_zeroed(output, channel)

        handle = layer.register_forward_hook(ablate)
        try:
            logits = at_least_float32(model(inputs.images.repeat(len(chunk), 1, 1, 1)))
        finally:
            handle.remove()
        yield _scores(inputs, logits, len(chunk))


def scorecam(inputs: SaliencyInput) -> tuple[torch.Tensor, torch.Tensor]:
    """Weigh each channel by the score of the image seen through it alone: softmax over the channels.

    The channel, upsampled and scaled to [0, 1], is multiplied onto the pixels. A channel without a range shows nothing.

    Source: Wang et al., Score-CAM, CVPR workshops 2020, algorithm 1. The score of the black image, which the paper
    takes off each, cancels in the softmax.
    """
    model, images = inputs.model, inputs.images
    size = images.shape[2:]
    with torch.no_grad():
        maps = at_least_float32(model.as_map(model.forward_with_features(images)[0]))
        parts = []
        for chunk in _chunks(inputs):
            some = maps[:, chunk]
            lively = some.amax((2, 3), keepdim=True) > some.amin((2, 3), keepdim=True)  # upsampling rounds constants
            seen = F.interpolate(some, size=size, mode="bilinear", align_corners=False)
            low, high = seen.amin((2, 3), keepdim=True), seen.amax((2, 3), keepdim=True)
            lively &= high > low
            masks = torch.where(lively, (seen - low) / torch.where(lively, high - low, 1.0), 0.0)
            masked = images[None] * masks.transpose(0, 1)[:, :, None]  # (k, N, 3, H, W): as _scores takes them apart
            parts.append(_scores(inputs, at_least_float32(model(masked.flatten(0, 1))), len(chunk)))
        weights = torch.cat(parts, dim=1).softmax(dim=1)
    return maps, weights[:, :, None, None]


def rise(inputs: SaliencyInput) -> torch.Tensor:
    """Average random masks, each weighted by how sure the model is of the image seen through it.

    Masks are coarse grids of ones and zeros, upsampled and shifted by part of a cell; each image has its own, drawn
    from its seed.

    Returns: (N, H, W).
    Source: Petsiuk et al., RISE, BMVC 2018, equation 6 and section 3.2.
    """
    maps = [_rise(inputs, number) for number in range(len(inputs.images))]
    return torch.stack(maps) if maps else inputs.images[:, 0]


def _rise(inputs: SaliencyInput, number: int) -> torch.Tensor:
    """Compute the map (H, W) of one image."""
    image = inputs.images[number]
    found = torch.zeros_like(image[0])
    with torch.no_grad():
        for masks in random_masks(torch.Generator().manual_seed(inputs.seeds[number]), image.shape[1]):
            part = masks.to(image)
            sure = at_least_float32(inputs.model(part[:, None] * image)).softmax(dim=1)
            found += torch.einsum("m,mhw->hw", (inputs.coefficients[number] * sure).sum(dim=1).to(part), part)
    return found / (RISE_MASKS * RISE_KEPT)


def random_masks(generator: torch.Generator, size: int) -> Iterator[torch.Tensor]:
    """Draw ``RISE_MASKS`` masks (m, size, size) in [0, 1] on the CPU, as many at a time as may be in flight."""
    cell = -(-size // RISE_CELLS)
    kept = (torch.rand(RISE_MASKS, 1, RISE_CELLS, RISE_CELLS, generator=generator) < RISE_KEPT).float()
    corners = torch.randint(cell, (2, RISE_MASKS, 1), generator=generator)
    at_once = max(CHUNK_PIXELS // size**2, 1)
    for some, corner in zip(kept.split(at_once), corners.split(at_once, dim=1), strict=True):
        larger = F.interpolate(some, size=[(RISE_CELLS + 1) * cell] * 2, mode="bilinear", align_corners=False)[:, 0]
        y, x = corner + torch.arange(size)
        yield larger[torch.arange(len(some))[:, None, None], y[:, :, None], x[:, None, :]]


def _scores(inputs: SaliencyInput, logits: torch.Tensor, chunk: int) -> torch.Tensor:
    """Compute scores (N, k) of logits (k * N, C), channel by channel."""
    by_channel = logits.view(chunk, *inputs.coefficients.shape)
    return (inputs.coefficients * by_channel).sum(dim=2).transpose(0, 1)


def _chunks(inputs: SaliencyInput) -> tuple[torch.Tensor, ...]:
    """Split the channels into as many at a time as a batch may hold."""
    pixels = inputs.images[:, 0].numel()
    channels = torch.arange(inputs.model.channels, device=inputs.images.device)
    chunks: tuple[torch.Tensor, ...] = channels.split(max(CHUNK_PIXELS // max(pixels, 1), 1))
    return chunks


def _of_ablation(model: ExplainedModel, image_size: int) -> int:
    return 1 if model.linear_head is not None else 1 + model.channels


PERTURBATIONS: dict[str, Method] = {
    "ablationcam": Method(
        "Desai and Ramaswamy, WACV 2020",
        "features, each channel weighted by the part of the score that is lost without it",
        cost="1 under a linear head, else 1 + channels",
        weigh=ablationcam,
        passes=_of_ablation,
    ),
    "scorecam": Method(
        "Wang et al., CVPR workshops 2020",
        "features, each channel weighted by how sure the model is of the image seen through it alone",
        cost="1 + channels",
        weigh=scorecam,
        passes=lambda model, image_size: 1 + model.channels,
    ),
    "rise": Method(
        "Petsiuk et al., BMVC 2018",
        "mean of random masks, each weighted by the score of the image behind it",
        cost=str(RISE_MASKS),
        maps=rise,
        passes=lambda model, image_size: RISE_MASKS,
        seeded=True,
    ),
}
"""The methods that hide channels or pixels and measure the change of the score."""
