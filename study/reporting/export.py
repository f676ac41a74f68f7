"""Export proxy images as PNG files, made again from the recipes of complete trials; needs no model."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.images import ImageSet
from proxy_attention.errors import ConfigError
from proxy_attention.files import write_atomic, write_json
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes
from study.plan import PlannedTrial
from study.planned_images import images_of
from study.run_folder import RunFolder


def export_proxies(run: Path, trial_ids: Sequence[str], folder: Path) -> int:
    """Write ``<trial_id>/step-<n>/<image>.png`` and a ``manifest.json`` beside them, for every proxy of these trials.

    Returns: how many images were written.
    Raises: ConfigError if the folder holds anything, or no trial made a proxy; DataError if the images have changed.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"the folder for proxies must be new or empty; got {str(folder)!r}")
    kept = RunFolder(run)
    plan = kept.read_plan()
    root, max_pixels = plan.options["data_root"], plan.options.get("max_pixels", MAX_PIXELS)
    count = 0
    for trial in kept.known_trials(plan):
        if trial.trial_id in trial_ids and kept.trial(trial.trial_id).is_complete:
            images = images_of(trial, Path(root) if root else None, max_pixels=max_pixels)
            count += _export(trial, images, kept.trial(trial.trial_id).path, folder / trial.trial_id)
    if not count:
        raise ConfigError(f"there must be a complete trial that made proxies to export; {str(run)!r} holds none")
    return count


def _export(trial: PlannedTrial, images: ImageSet, kept: Path, folder: Path) -> int:
    rows = []
    for step in replay_steps(trial.config, images, read_recipes(kept)):
        proxies = dict(zip(step.training_set.proxies.ids.tolist(), step.training_set.proxies.pixels, strict=True))
        for number, predicted in zip(step.recipe.ids.tolist(), step.recipe.predicted.tolist(), strict=True):
            file = folder / f"step-{step.recipe.step}" / f"{number:06d}.png"
            picture = Image.fromarray(proxies[number].permute(1, 2, 0).numpy())
            write_atomic(file, lambda path, picture=picture: picture.save(path, format="PNG"))  # type: ignore[misc]
            rows.append(
                {
                    "file": file.relative_to(folder).as_posix(),
                    "image": images.names[number],
                    "true": images.classes[int(images.labels[number])],
                    "predicted": images.classes[predicted],
                }
            )
    if rows:
        write_json(folder / "manifest.json", {"trial": trial.as_dict(), "proxies": rows})
    return len(rows)
