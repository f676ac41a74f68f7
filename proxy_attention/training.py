"""Trains one epoch, and holds the state that passes from epoch to epoch; knows no proxy step."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.registry import augmentation_of
from proxy_attention.config import TrialConfig
from proxy_attention.data.training_set import Proxies, TrainingSet, batch_sizes
from proxy_attention.errors import ConfigError, DivergedError
from proxy_attention.models.classifier import Classifier, as_float, autocast
from proxy_attention.saliency.maps import classify_and_explain, in_eval_mode
from proxy_attention.seeds import derive_seed

LR_SCHEDULES: dict[str, dict[str, Any]] = {
    "one-cycle": {},
    # the same steps, from and to the peak itself, and with AdamW's own momentum
    "constant": {"div_factor": 1, "final_div_factor": 1, "cycle_momentum": False},
}
"""Every learning-rate schedule by name: arguments of torch's OneCycle."""

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class TrainState:
    """Everything that training changes: the model, its optimizer and the learning rate.

    Attributes:
        steps_per_epoch: number of batches in an epoch over the originals; the learning rate is planned in these steps.
        epochs_done: number of epochs trained so far.
        compiled: the forward pass compiled by ``torch.compile``, for full batches; None if ``compile`` is off.
    """

    model: Classifier
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.OneCycleLR
    scaler: torch.amp.GradScaler
    steps_per_epoch: int
    epochs_done: int = 0
    compiled: Forward | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch needs; random streams are derived from names, so they have no state."""
        return {
            "model": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epochs_done": self.epochs_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that ``state_dict`` returned."""
        self.model.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        self.epochs_done = state["epochs_done"]


@dataclass(frozen=True, eq=False)
class EpochTotals:
    """Predictions and losses of one epoch, for each slot of the training set, on augmented images in train mode.

    Attributes:
        predicted: (slots,) int64 on the CPU.
        losses: (slots,) float32 on the CPU.
        correct: (slots,) float32 on the CPU, the fraction of the label that is the predicted class: 1 or 0 without
            mixing.
        lr: learning rate at the start of the epoch.
    """

    predicted: torch.Tensor
    losses: torch.Tensor
    correct: torch.Tensor
    lr: float
    seconds: float


def check_precision(config: TrialConfig, device: str) -> None:
    """Check that the device can train at this precision.

    Raises: ConfigError for fp16 on a CPU, which has no gradient scaling.
    """
    if config.precision == "fp16" and device != "cuda":
        raise ConfigError(f"precision must be fp32 or bf16 on a {device}; got 'fp16'")


def new_state(
    model: Classifier, config: TrialConfig, *, images: int, device: torch.device, epochs: int | None = None
) -> TrainState:
    """Make a model's training state: AdamW, and a learning rate over all epochs, planned in steps.

    Under ``freeze_trunk`` only the head keeps gradients.

    Args:
        model: already on its device.
        images: number of training images.
        epochs: how many epochs are trained; None for the whole schedule.
    Raises: ConfigError as ``check_precision``.
    """
    check_precision(config, device.type)
    steps = len(batch_sizes(images, config.batch_size))
    trained = model.heads if config.freeze_trunk else (model.module,)
    if config.freeze_trunk:
        model.module.requires_grad_(False)
        for head in model.heads:
            head.requires_grad_()
    optimizer = torch.optim.AdamW(
        [parameter for part in trained for parameter in part.parameters()],
        lr=config.lr,
        weight_decay=config.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.lr,
        total_steps=max(steps * (config.planned.total_epochs if epochs is None else epochs), 2),
        **LR_SCHEDULES[config.lr_schedule],
    )
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
    return TrainState(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        scaler=scaler,
        steps_per_epoch=steps,
        compiled=torch.compile(model.__call__, dynamic=False) if config.compile is True else None,
    )


def train_epoch(state: TrainState, training_set: TrainingSet, config: TrialConfig, *, epoch: int) -> EpochTotals:
    """Train one epoch over every slot, each image once, in the epoch's own order and with its own augmentation.

    The learning rate advances by one planned step per batch; an epoch made longer by ``substitute = add`` spreads the
    same planned steps over its batches.

    Raises: DivergedError if a loss is NaN or infinite.
    """
    started = time.perf_counter()
    device = training_set.device
    augmentation = augmentation_of(config.augment)
    order = training_set.epoch_order(config.seed, epoch)
    table = training_set.augmentation_table(augmentation.columns, config.seed, epoch)
    draws = table[order].to(device).split(batch_sizes(len(order), config.batch_size))
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # stays on the device, so no batch waits
    torch.manual_seed(derive_seed(config.seed, "layers", epoch))  # dropout and similar layers use the global stream
    state.model.module.train(not config.freeze_trunk)  # a frozen trunk keeps its batch statistics, too
    for head in state.model.heads:
        head.train()
    counts = torch.bincount(training_set.labels_of(training_set.train), minlength=state.model.classes)
    task = Task(counts, ModelSaliency(state.model, config.precision))
    lr = float(state.scheduler.get_last_lr()[0])
    lr_steps = 0
    for number, (images, labels) in enumerate(training_set.stream(order, config.batch_size)):
        batch = augmentation.apply(Batch(as_float(images), labels), draws[number], task)
        with autocast(device, config.precision):
            full = len(batch) == config.batch_size  # another last batch is not worth a compilation of its own
            logits = (state.compiled if state.compiled and full else state.model)(batch.images)
            loss = batch.loss(logits)
        state.optimizer.zero_grad(set_to_none=True)
        state.scaler.scale(loss.mean()).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        lr_steps = _advance(state, done=lr_steps, target=(number + 1) * state.steps_per_epoch // len(draws))
        guess = logits.detach().argmax(dim=1)
        seen.append((guess, loss.detach().float(), batch.right(guess)))
    state.epochs_done = epoch + 1
    place = torch.argsort(order)  # the position of each slot in the epoch
    predicted, losses, correct = (torch.cat(parts).cpu()[place] for parts in zip(*seen, strict=True))
    totals = EpochTotals(predicted, losses, correct, lr, time.perf_counter() - started)
    if not torch.isfinite(totals.losses).all():
        raise DivergedError(f"the training loss must be finite; it was not in epoch {epoch} (try a smaller lr)")
    return totals


@dataclass(frozen=True, eq=False)
class ModelSaliency:
    """Computes saliency of the model in training, for augmentations (see ``augment.batch.SaliencySource``)."""

    model: Classifier
    precision: str

    def class_maps(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the GradCAM maps of these classes (B,): (B, h, w) float32 >= 0."""
        with autocast(images.device, self.precision):
            return classify_and_explain(self.model, images, true=labels, saliency="gradcam", explain="true")[1]

    def gradients(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the norm of the loss gradient at each pixel, without mixed precision: (B, H, W) float32."""
        with in_eval_mode(self.model, images), torch.autocast(images.device.type, enabled=False), torch.enable_grad():
            asked = images.detach().requires_grad_()
            loss = Batch(asked, labels).loss(self.model(asked)).sum()
            gradients: torch.Tensor = torch.autograd.grad(loss, asked)[0].norm(dim=1)
            return gradients


def _advance(state: TrainState, *, done: int, target: int) -> int:
    """Step the scheduler to ``target`` steps of this epoch, but not past the trial's last; return the steps done."""
    while done < target and state.scheduler.last_epoch + 1 < state.scheduler.total_steps:
        state.scheduler.step()
        done += 1
    return done


def seconds_per_image(
    model: Classifier, config: TrialConfig, *, device: torch.device, batches: int = 4, budget_seconds: float = 4.0
) -> float:
    """Measure the seconds that training takes per image: the median of a few real steps on random pixels.

    The first step is not counted if there are more.

    Args:
        model: is moved to the device and trained by these steps.
        budget_seconds: no step is begun after this time.
    """
    started = time.perf_counter()
    state = new_state(model.to(device), config, images=config.batch_size, device=device)
    training_set = _random_images(config.batch_size, config.image_size, device)
    seconds: list[float] = []
    while len(seconds) <= batches and time.perf_counter() - started < budget_seconds:
        seconds.append(train_epoch(state, training_set, config, epoch=len(seconds)).seconds)
    counted = sorted(seconds[1:] or seconds)
    return counted[len(counted) // 2] / config.batch_size


def train_one_batch(model: Classifier, config: TrialConfig, *, images: int) -> None:
    """Train a model, which is changed, by one step on so many random images, to see whether it can be.

    Raises: what the model's layers raise.
    """
    config = dataclasses.replace(config, batch_size=images, precision="fp32", compile=False)
    state = new_state(model, config, images=images, device=model.device)
    train_epoch(state, _random_images(images, config.image_size, model.device), config, epoch=0)


def _random_images(count: int, size: int, device: torch.device) -> TrainingSet:
    """Make a training set of random pixels, all of the first class."""
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8).to(device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    none = Proxies.none(pixels)
    return TrainingSet(pixels, labels, train=np.arange(count), proxies=none, substitute="replace")
