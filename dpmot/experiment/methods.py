"""Methods of an experiment as they are planned: drawn here, or samples from elsewhere. No torch is imported."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag
from pydantic import model_validator as validated

from dpmot import plugins
from dpmot.diffusion.budget import cost_of
from dpmot.experiment.cells import Cell
from dpmot.experiment.values import (
    AsPaper,
    Budgets,
    Count,
    Evaluations,
    Files,
    Group,
    Hashes,
    Label,
    Model,
    Options,
    Positive,
    Range,
    Samples,
    Seeds,
    Start,
    Text,
    wrong,
)


class Method(Model):
    """network + start + sampler + noise levels; budgets and seeds are the experiment's where it has none of its own."""

    network: str
    sampler: str
    """A file of baselines/, or none: the start itself, 0 evaluations."""
    label: Label | None = None
    group: Group | None = None
    start: str = "prior"
    """A file of dpmot/starts/."""
    options: Options = {}
    """Of the sampler."""
    start_options: Options = {}
    """Of the start, where no key below is of them."""
    grid: (
        Literal[
            "vp", "karras", "geometric", "log_snr", "quadratic", "cosine", "uniform", "aligned", "flow", "dmn", "gits"
        ]
        | None
    ) = None
    """How steps are spaced; gits is learned from the network's own trajectories."""
    level: Start | None = None
    """sigma_M; as_paper where a start has a level and none is given."""
    source_measure: AsPaper = "as_paper"
    targets: AsPaper = "as_paper"
    nfe: AsPaper = "as_paper"
    heights: Literal["solved", "zero"] = "solved"
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """w of classifier-free guidance, D_none + w (D_label - D_none); but for 0 and 1 it costs two evaluations each."""
    noises: Count = 1
    """Latents of each stored image."""
    singular: Literal["plain", "discard", "treat", "as_code", "smooth"] = "plain"
    """What becomes of draws near the singular set."""
    angle: Annotated[float, Field(gt=0, le=3.1416)] | None = None
    """Radians between planes, from which on a draw is near; as_code: share of the range."""
    tau: Positive | None = None
    """Width of the smoothing, in units of <x, y>."""
    top_k: Annotated[int, Field(ge=2)] | None = None
    """Planes that are looked at."""
    nfe_budgets: Budgets = ()
    sample_seeds: Seeds = ()

    @property
    def has_level(self) -> bool:
        """Whether its start has a noise level of its own."""
        return bool(plugins.constant("starts", self.start, "HAS_LEVEL"))

    @property
    def needs_heights(self) -> bool:
        """Whether its start is a transport map that is solved."""
        return self.heights == "solved" and bool(plugins.constant("starts", self.start, "NEEDS_HEIGHTS"))

    @property
    def cost(self) -> int:
        """Evaluations of the network for one of its sampler's."""
        return cost_of(self.guidance)

    @property
    def per_class(self) -> bool:
        """Whether its start has one transport map a class."""
        return self.start_options.get("per_class") is True

    @property
    def balanced(self) -> bool:
        """Whether its samples are kept by the classifier's label."""
        return self.start_options.get("balanced") is True

    @property
    def learned_options(self) -> tuple[str, ...]:
        """Options of its sampler that are learned, because it does not state them."""
        named: Any = plugins.constant("baselines", self.sampler, "LEARNS") if self.sampler != "none" else ()
        return () if set(named or ()) & set(self.options) else tuple(named or ())

    @property
    def learns(self) -> bool:
        """Whether something of it is learned from runs of its network: options of its sampler, or its grid."""
        return self.grid == "gits" or bool(self.learned_options)

    @property
    def start_arguments(self) -> dict[str, Any]:
        """Keyword arguments of its start: keys that are options of it, and the prior that its sampler wants."""
        own: Any = plugins.constant("starts", self.start, "OPTIONS") or ()
        options = {key: getattr(self, key) for key in own if key in self.model_fields_set}
        if "source_measure" in own:
            options |= {"source_measure": self.law, "heights": self.heights}
        elif not self.has_level and self.sampler != "none":
            law = getattr(plugins.find("baselines", self.sampler), "PRIOR", None)
            options |= {"law": law} if law else {}
        return {**options, **{key: value for key, value in self.start_options.items() if key not in self.fit_options}}

    @property
    def fits(self) -> bool:
        """Whether its start is fitted to images before it is drawn from."""
        return bool(plugins.constant("starts", self.start, "FITS"))

    @property
    def fit_options(self) -> dict[str, Any]:
        """Those of its start's options that are of the fit."""
        own = {"part", *plugins.arguments("starts", self.start, "fit")} if self.fits else set()
        return {key: value for key, value in self.start_options.items() if key in own}

    @property
    def split(self) -> str:
        """The split whose images stand behind the atoms."""
        return "C" if self.targets == "as_code" else "A"

    @property
    def law(self) -> str:
        """The law of its prior noise: "normal", or the "uniform" one of the authors' code."""
        return "uniform" if self.source_measure == "as_code" else "normal"

    @property
    def levels(self) -> tuple[str | float | None, ...]:
        """Its levels, one by one; (None,) for a start that has none."""
        return self.level if isinstance(self.level, tuple) else (self.level,)


class Given(Model):
    """Samples from elsewhere: measured, audited and printed beside those that are drawn here."""

    network: ClassVar[str] = ""
    start: ClassVar[str] = "given"
    sampler: ClassVar[str] = "given"
    split: ClassVar[str] = "A"

    samples: Files
    """A folder or zip of images, an npz, npy or safetensors file; of several, one is one sample seed."""
    nfe: Evaluations
    """What a sample has cost, as whoever drew it says: nothing is counted here."""
    label: Label | None = None
    group: Literal["rivals", "controls", "reference"] | None = None
    range: Range | None = None
    """Of the values of floats; integers need none."""
    sha256: Hashes | None = None
    """Of each file, or of the bytes of a folder's images in the order of their names."""
    train_reference: Text | None = None
    """The images that the samples' model was trained on, in any of these forms; default split A."""
    num_samples: Samples | None = None
    """Take the first so many of each; default all."""

    @validated(mode="after")
    def _pinned(self) -> "Given":
        if self.sha256 and len(self.hashes) != len(self.paths):
            raise wrong(f"sha256: {len(self.hashes)} of {len(self.paths)} files; give one of each, in their order")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the samples, one a sample seed."""
        return (self.samples,) if isinstance(self.samples, str) else self.samples

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """What each of them must have; None where nothing is stated."""
        stated = (self.sha256,) if isinstance(self.sha256, str) else self.sha256
        return stated or (None,) * len(self.paths)

    def cells(self) -> tuple[Cell, ...]:
        """One a seed."""
        return tuple(
            Cell(f"{self.nfe}-given-{seed}", self.nfe, seed, nfe=self.nfe) for seed, _ in enumerate(self.paths)
        )


def _kind_of_method(method: Any) -> str:
    given = isinstance(method, Given) or (isinstance(method, Mapping) and "samples" in method)
    return "[given]" if given else "[drawn]"


AnyMethod = Annotated[
    Annotated[Method, Tag("[drawn]")] | Annotated[Given, Tag("[given]")], Discriminator(_kind_of_method)
]
