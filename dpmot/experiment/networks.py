"""Networks of an experiment as they are planned. No torch is imported."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic import model_validator as validated

from dpmot import plugins
from dpmot.experiment.values import (
    Count,
    Counts,
    Digests,
    Model,
    Options,
    Positive,
    Seed,
    Sha256,
    Share,
    Width,
    distinct,
    or_else,
    wrong,
)

SEED = "{training_seed}"  # in the name of a file of weights
OF_COUPLINGS = {
    **dict.fromkeys(("chi2", "heights", "tau", "mirrored"), "semidiscrete"),
    "noises": "minibatch",
}


class Unet(Model):
    """Options of the U-Net; what is not given is its own default."""

    channels: Width | None = None
    multipliers: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=16)] | None = None
    blocks: Annotated[int, Field(ge=1, le=100)] | None = None
    embedding: Width | None = None
    attention: (
        Annotated[bool | Annotated[tuple[Seed, ...], Field(strict=False)], or_else("true, false or a list of levels")]
        | None
    ) = None
    dropout: Share | None = None
    classes: Annotated[int, Field(ge=2)] | None = None
    """Give the network class labels."""
    no_class: Literal[True] | None = None
    """The last label of a loaded network, beyond its classes, is that of no class; one trained here with label_dropout
    has it anyway."""
    patch: Count | None = None
    """Side of the squares of pixels that are one position."""

    @validated(mode="after")
    def _attended(self) -> "Unet":
        levels = self.attention if isinstance(self.attention, tuple) else ()
        number = len(self.multipliers or (1, 2))  # the U-Net's own default
        if beyond := [level for level in levels if level >= number]:
            raise wrong(f"attention: there is no level {beyond[0]}; allowed: 0 to {number - 1}")
        return self


class Training(Model):
    """Options of a training; what is not given is the default of Schedule and Acceleration."""

    steps: Count
    batch: Count | None = None
    lr: Positive | None = None
    ema: Share | None = None
    warmup: Count | None = None
    checkpoint_seconds: Positive | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the network's products in training; bfloat16: autocast."""
    channels_last: bool | None = None
    """Memory format of images in training: faster convolutions on CUDA."""
    compile: bool | None = None
    """torch.compile the network for training: minutes at first, then faster."""
    label_dropout: Share | None = None
    """Share of the images whose class is not told, so that methods may guide the network; without it none."""
    snapshots: Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(distinct)] = ()
    """Keep the weights after so many steps, below snapshots/."""
    coupling: Literal["independent", "minibatch", "semidiscrete"] | None = None
    """Which noise goes with which image; all but independent, the default, make a network that only deterministic
    samplers from the prior may use."""
    chi2: Positive | None = None
    """semidiscrete: how well its map is solved; default transport.chi2."""
    heights: Literal["zero"] | None = None
    """semidiscrete: zero: the control without a solved map: a noise goes to the image of the largest inner product."""
    tau: Positive | None = None
    """semidiscrete: draw the image from softmax((<noise, y> + h) / tau); without it the best one."""
    mirrored: Literal[True] | None = None
    """semidiscrete: the second half of a batch has the first one's noises with the other sign, for half of the cost."""
    noises: Count | None = None
    """minibatch: pairs that are assigned together, of which a batch is taken: at least `batch`, the default."""
    level: Literal["own", "uniform_t"] | None = None
    """Distribution of sigma: the kind's own, the default, or uniform in t = sigma / (1 + sigma)."""

    @validated(mode="after")
    def _coupled(self) -> "Training":
        for key, of in OF_COUPLINGS.items():
            if getattr(self, key) is not None and self.coupling != of:
                raise wrong(f"{key} is of coupling: {of}, not of {self.coupling or 'independent'}; leave it out")
        if self.heights and self.chi2:
            raise wrong(f"chi2 {self.chi2:g} is of a solved map, and heights are {self.heights}; leave one of them out")
        return self

    @property
    def couples(self) -> bool:
        """Whether noise and images are not independent."""
        return self.coupling not in (None, "independent")


class Network(Model):
    """A network: trained, loaded, a student (distilled from another), or exact (the data itself)."""

    kind: str | None = None
    """A file of dpmot/diffusion/networks/."""
    options: Options = {}
    """Of the kind, or of the distillation."""
    unet: Unet = Unet()
    training: Training | None = None
    weights: str | None = None
    """Load this file, or folder of diffusers, instead of training; {training_seed} in its name stands for that seed."""
    card: str | None = None
    """What the weights are: a key of baselines/cards.yaml, or hf:<owner>/<name>[@<revision>], a pipeline that diffusers
    fetches where download is true."""
    sha256: Annotated[Sha256 | Digests, or_else("64 hex digits, or {training seed: digits}")] | None = None
    """Of the file of weights; of files by training seed, a mapping {seed: digest}."""
    distillation: str | None = None
    """A file of baselines/distillation/."""
    teacher: str | None = None
    step_counts: Counts | None = None
    rewires: str | None = None
    """Train this network further, for `training.steps` steps; options, of its levels alone, are over those
    that it has."""

    @validated(mode="after")
    def _whole(self) -> "Network":
        student = bool(self.distillation or self.teacher)
        if self.rewires:
            return self._rewired(student)
        own = self.distillation and self.teacher and self.training and not (self.kind or self.card)
        if not (own if student else (self.kind or self.card) and (self.weights or self.fetched or not self.card)):
            told = (
                "a network has a kind, or a card and weights, or a card hf:..., or distillation, teacher and training"
            )
            raise wrong(f"{self.given()} is not allowed here; {told}")
        if self.fetched and self.training:
            raise wrong(f"card {self.card} is fetched and not trained; leave training out")
        if isinstance(self.sha256, Mapping) and not self.by_seed:
            raise wrong(f"sha256: digests by training seed are of weights whose name has {SEED}; give one digest")
        if isinstance(self.sha256, str) and self.by_seed:
            raise wrong(f"sha256: one digest of weights whose name has {SEED}; give {{seed: digest}} for each")
        return self

    def _rewired(self, student: bool) -> "Network":
        if student or self.card or self.step_counts or not self.training:
            told = "a network that rewires another one has its training, options, and weights where it is loaded"
            raise wrong(f"{self.given()} is not allowed here; {told}")
        return self

    @property
    def by_seed(self) -> bool:
        """Whether each training seed has a file of weights of its own."""
        return SEED in (self.weights or "")

    @property
    def varies(self) -> bool:
        """Whether another training seed gives another network."""
        return self.by_seed or self.how in ("trained", "student")

    def of_seed(self, seed: int) -> "Network":
        """The network of one training seed, with its own file of weights where it is loaded."""
        if not self.by_seed:
            return self
        digests = self.sha256 if isinstance(self.sha256, Mapping) else {}
        own = {"weights": str(self.weights).replace(SEED, str(seed)), "sha256": digests.get(seed)}
        return self.but(
            **{key: value for key, value in own.items() if value is not None or key in self.model_fields_set}
        )

    @property
    def classes(self) -> int:
        """Classes whose labels it is trained with, 0 for none; what a loaded one knows is in its file."""
        return self.unet.classes or self.options.get("classes") or 0

    @property
    def label_dropout(self) -> float:
        """Share of the labels that are dropped in training here."""
        return (self.training.label_dropout or 0.0) if self.training else 0.0

    @property
    def has_own_model(self) -> bool:
        """Whether its kind builds a network of its own, and not the U-Net of ``unet``."""
        return bool(self.kind) and hasattr(plugins.find("networks", str(self.kind)).Parametrisation, "model")

    @property
    def fetched(self) -> bool:
        """Whether diffusers fetches it, by its repository."""
        return not self.weights and str(self.card).startswith("hf:")

    @property
    def how(self) -> Literal["trained", "loaded", "student", "exact"]:
        """How its weights come about."""
        if self.weights or self.fetched:
            return "loaded"
        return "student" if self.distillation else "trained" if self.training else "exact"  # rewired: trained, too


class Classifier(Model):
    """The classifier of the data set, which judges the samples."""

    epochs: Count | None = None
    weights: str | None = None
    sha256: Sha256 | None = None

    @validated(mode="after")
    def _pinned(self) -> "Classifier":
        if self.sha256 and not self.weights:
            raise wrong("sha256 is that of a file; give its weights too")
        return self
