"""An experiment as it is planned: frozen, typed objects with every key of a configuration, its type and its default.

:mod:`dpmot.experiment.config` reads YAML into :class:`Experiment` and refuses what does not fit; from then on nobody
reads YAML. Importing this module imports no torch.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WrapValidator
from pydantic import model_validator as validated
from pydantic_core import PydanticCustomError, ValidationError

from dpmot import plugins
from dpmot.data import declared_shape
from dpmot.features import Extractor
from dpmot.metrics import REAL_TEST, REAL_TRAIN
from dpmot.results import sigma_key
from dpmot.seeds import MAX_SAMPLES

PROTOCOLS: dict[str, dict[str, Any]] = {  # how the field's tables are made; what a configuration gives itself wins
    "edm": {"num_samples": 50_000, "sample_seeds": [0, 1, 2]},  # Karras et al. 2022: 50,000, the least of three runs
    "dpm-ot": {"num_samples": 40_000, "sample_seeds": [0]},  # Li et al. 2023 on CIFAR-10
    "adm": {"num_samples": 50_000, "sample_seeds": [0]},  # Dhariwal & Nichol 2021
}
CHANGES_NO_NUMBER = ("tables", "figures", "data_root", "download", "notes")  # and of a method: label, group


OF_A_LIST = "of_a_list"  # kind of an error of entries that are right one by one


def _wrong(told: str, kind: str = "wrong") -> PydanticCustomError:
    return PydanticCustomError(kind, "{told}", {"told": told})  # type: ignore[arg-type]


def _free(name: str, taken: tuple[str, ...]) -> str:
    if name in taken:
        raise _wrong(f"{name} is a name of the project's own; choose another")
    return name


def _distinct(values: tuple) -> tuple:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise _wrong(f"{twice!r} stands there twice; name each once", OF_A_LIST)
    return values


def _told_apart(levels: tuple) -> tuple:
    by_key = {sigma_key(level): level for level in reversed(levels)}
    for level in levels:
        if (same := by_key[sigma_key(level)]) != level:
            raise _wrong(f"{same} and {level} are one level: six digits count; name one of them", OF_A_LIST)
    return levels


def _one_line(text: str) -> str:
    text = re.sub(r"\s*[\t\n\v\f\r\x85\u2028\u2029]\s*", " ", text)  # YAML breaks long texts into lines
    kinds = {category(letter) for letter in text}
    if not {kind for kind in kinds if kind[0] not in "CMZ"} or kinds & {"Cc", "Zl", "Zp"}:
        raise _wrong(f"{text!r} should be one line of visible text")
    return text


def _or_else(description: str) -> WrapValidator:
    """One line for a value that is none of several types."""

    def validate(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            told = next((one["msg"] for one in error.errors() if one["type"] == OF_A_LIST), None)
            raise _wrong(told or f"{value!r} is not allowed here; {description}") from None

    return WrapValidator(validate)


Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=2**16)]
Evaluations = Annotated[int, Field(ge=1, le=100_000)]  # or steps: a grid has a level for each
Samples = Annotated[int, Field(ge=20, le=MAX_SAMPLES)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]  # the seed of a sample, seed 2^32 + k, is an int64
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Level = Annotated[  # an integer stays one: it is a part of the names of cells
    Annotated[int, Field(gt=0)] | Positive, _or_else("a noise level is a number above 0")
]
Share = Annotated[float, Field(ge=0, lt=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
PLAIN = "^[a-z0-9_]+$"  # upper and lower case would be one file on some systems
Name = Annotated[str, Field(pattern=PLAIN, max_length=100)]
Label = Annotated[str, AfterValidator(_one_line)]
ExperimentName = Annotated[  # its folder lies below results/, and what is overridden is added to it
    str, Field(pattern=PLAIN, max_length=200), AfterValidator(partial(_free, taken=("reference",)))
]
NetworkName = Annotated[Name, AfterValidator(partial(_free, taken=("classifier",)))]  # its file lies beside theirs
MethodName = Annotated[Name, AfterValidator(partial(_free, taken=(REAL_TRAIN, REAL_TEST)))]
Counts = Annotated[tuple[Evaluations, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]
Names = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_distinct)]
Levels = Annotated[
    tuple[Level, ...], Field(strict=False, min_length=1), AfterValidator(_distinct), AfterValidator(_told_apart)
]
Budget = Annotated[
    Evaluations | Literal["full"], _or_else("a number of evaluations, or full: the network's whole chain")
]
Budgets = Annotated[tuple[Budget, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]
Move = Annotated[float, Field(gt=0, le=1)]
Moves = Annotated[tuple[Move, ...], Field(strict=False, min_length=1), AfterValidator(_distinct)]
Margins = dict[str, Positive]
Options = dict[str, Any]
AsPaper = Literal["as_paper", "as_code"]
Start = Annotated[
    Literal["as_paper", "as_code", "star"] | Level | Levels,
    _or_else("sigma_M is as_paper, as_code, star, a number above 0 or a list of such numbers"),
]
Group = Literal["rivals", "dpm_ot", "singular", "as_code", "controls", "reference", "sweep", "identity"]


class Model(BaseModel):
    """Frozen, of exact types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    @validated(mode="before")
    @classmethod
    def _without_unknown_keys(cls, given: Any) -> Any:
        unknown = sorted({str(key) for key in given} - {*cls.model_fields}) if isinstance(given, Mapping) else []
        if unknown:
            allowed = sorted(cls.model_fields)
            hint = plugins.did_you_mean(unknown[0], allowed).strip() or f"allowed: {', '.join(allowed)}"
            raise _wrong(f'unknown key "{unknown[0]}"; {hint}')
        return given

    def plain(self) -> dict[str, Any]:
        """All keys that have a value, as JSON has them."""
        return self.model_dump(mode="json", exclude_none=True)

    def given(self) -> dict[str, Any]:
        """The keys that were given, as JSON has them."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)

    def but(self, **changes: Any) -> Any:
        """A copy with other values, checked."""
        return type(self).model_validate({**{name: getattr(self, name) for name in self.model_fields_set}, **changes})


class Unet(Model):
    """Options of the U-Net; what is not given is its own default."""

    channels: Width | None = None
    multipliers: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=16)] | None = None
    blocks: Annotated[int, Field(ge=1, le=100)] | None = None
    embedding: Width | None = None
    attention: (
        Annotated[bool | Annotated[tuple[Seed, ...], Field(strict=False)], _or_else("true, false or a list of levels")]
        | None
    ) = None
    dropout: Share | None = None
    classes: Annotated[int, Field(ge=2)] | None = None
    """Give the network class labels."""
    patch: Count | None = None
    """Side of the squares of pixels that are one position."""

    @validated(mode="after")
    def _attended(self) -> "Unet":
        levels = self.attention if isinstance(self.attention, tuple) else ()
        number = len(self.multipliers or (1, 2))  # the U-Net's own default
        if beyond := [level for level in levels if level >= number]:
            raise _wrong(f"attention: there is no level {beyond[0]}; allowed: 0 to {number - 1}")
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
    snapshots: Annotated[tuple[Count, ...], Field(strict=False), AfterValidator(_distinct)] = ()
    """Keep the weights after so many steps, below snapshots/."""


class Network(Model):
    """A network: trained, loaded, a student (distilled from another), or exact (the data itself)."""

    kind: str | None = None
    """A file of dpmot/diffusion/networks/."""
    options: Options = {}
    """Of the kind, or of the distillation."""
    unet: Unet = Unet()
    training: Training | None = None
    weights: str | None = None
    """Load this file, or folder of diffusers, instead of training."""
    card: str | None = None
    """What the weights are, a key of baselines/cards.yaml."""
    sha256: Sha256 | None = None
    """Of the file of weights."""
    distillation: str | None = None
    """A file of baselines/distillation/."""
    teacher: str | None = None
    step_counts: Counts | None = None

    @validated(mode="after")
    def _whole(self) -> "Network":
        student = bool(self.distillation or self.teacher)
        own = self.distillation and self.teacher and self.training and not (self.kind or self.card)
        if not (own if student else (self.kind or self.card) and (self.weights or not self.card)):
            told = "a network has a kind, or a card and weights, or distillation, teacher and training"
            raise _wrong(f"{self.given()} is not allowed here; {told}")
        return self

    @property
    def how(self) -> Literal["trained", "loaded", "student", "exact"]:
        """How its weights come about."""
        if self.weights:
            return "loaded"
        return "student" if self.distillation else "trained" if self.training else "exact"


class Classifier(Model):
    """The classifier of the data set, which judges the samples."""

    epochs: Count | None = None
    weights: str | None = None
    sha256: Sha256 | None = None

    @validated(mode="after")
    def _pinned(self) -> "Classifier":
        if self.sha256 and not self.weights:
            raise _wrong("sha256 is that of a file; give its weights too")
        return self


class Transport(Model):
    """Options of the transport solver; what is not given is its own default."""

    chi2: Positive = 0.01
    max_noises: Count | None = None
    memory: Seed | None = None
    """Bytes that may go into atoms held as floats."""
    method: Literal["auto", "newton", "averaging", "authors"] | None = None
    noise: Literal["auto", "plain", "mirrored", "recycled", "structured"] | None = None


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
        Literal["vp", "karras", "geometric", "log_snr", "quadratic", "cosine", "uniform", "aligned", "flow"] | None
    ) = None
    level: Start | None = None
    """sigma_M; as_paper where a start has a level and none is given."""
    source_measure: AsPaper = "as_paper"
    targets: AsPaper = "as_paper"
    nfe: AsPaper = "as_paper"
    heights: Literal["solved", "zero"] = "solved"
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
    def start_arguments(self) -> dict[str, Any]:
        """Keyword arguments of its start: keys that are options of it, and the prior that its sampler wants."""
        own: Any = plugins.constant("starts", self.start, "OPTIONS") or ()
        options = {key: getattr(self, key) for key in own if key in self.model_fields_set}
        if "source_measure" in own:
            options |= {"source_measure": self.law, "heights": self.heights}
        elif not self.has_level and self.sampler != "none":
            law = getattr(plugins.find("baselines", self.sampler), "PRIOR", None)
            options |= {"law": law} if law else {}
        return {**options, **self.start_options}

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


class Selection(Model):
    """The search for sigma_M*, the smallest of these levels without copying."""

    network: str
    sampler: str
    nfe: Evaluations
    sigmas: Levels
    sample_seed: Seed = 1000
    num_samples: Samples | None = None
    """Default: as many as a method of the tables has over all seeds, so that the audit has the same power."""

    def trial(self) -> Method:
        """What the search draws at each candidate: stored images with noise of their own for every sample.

        DPM-OT's start has one noise an image, that of its atom seed; this is its law over all atom seeds.
        """
        return Method(
            network=self.network,
            sampler=self.sampler,
            start="fresh_noise",
            level=self.sigmas,
            nfe_budgets=(self.nfe,),
            sample_seeds=(self.sample_seed,),
        )


class Coupling(Model):
    """What the map from noise to sample is like."""

    methods: Annotated[Names, Field(min_length=1)]
    nfe: Evaluations
    moves: Moves = (0.01, 0.03, 0.1, 0.3, 1.0)
    num_noises: Annotated[int, Field(ge=200, le=MAX_SAMPLES)] = 4000
    num_samples: Annotated[int, Field(ge=40, le=MAX_SAMPLES)] = 400
    sample_seed: Seed = 2000

    @validated(mode="after")
    def _drawn(self) -> "Coupling":
        if self.num_samples > self.num_noises:
            raise _wrong(f"num_samples: {self.num_samples} are more than num_noises = {self.num_noises}")
        return self

    def of(self, method: Method) -> Method:
        """A method as it is drawn here: one budget, one seed."""
        return method.but(nfe_budgets=(self.nfe,), sample_seeds=(self.sample_seed,))


class Identity(Model):
    """Pairs of methods that have one law: shown by equivalence over sample seeds, within margins."""

    pairs: Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)], ...], Field(strict=False)]
    margins: Margins = {}
    relative_margins: Margins = {}

    @validated(mode="after")
    def _once(self) -> "Identity":
        """Each test stands once: the p-values are corrected for their number."""
        _distinct(tuple(tuple(sorted(pair)) for pair in self.pairs))
        _distinct((*self.margins, *self.relative_margins))
        return self


class Experiment(Model):
    """One experiment: data, networks, transport, methods, metrics and pages."""

    experiment: ExperimentName
    """Names the folder under results/."""
    dataset: str
    """A file of dpmot/data/."""
    nfe_budgets: Counts
    num_samples: Samples
    """Per cell and sample seed; C_T says where they are too few for it."""
    sample_seeds: Seeds
    networks: Annotated[dict[NetworkName, Network], Field(min_length=1)]
    methods: Annotated[dict[MethodName, Method], Field(min_length=1)]
    scale: Literal["core", "full", "smoke"] = "core"
    """core: as written; full: with the keys below `full`; smoke: everything once, tiny, on stand-in images."""
    weights: Literal["load", "train"] = "load"
    """train: also what has weights to load."""
    protocol: Literal["edm", "dpm-ot", "adm"] | None = None
    """How many samples and seeds a published table has."""
    dataset_options: Options = {}
    data_root: str | None = None
    """Folder of downloaded data sets; default the environment's DPMOT_DATA."""
    download: bool = False
    """Fetch missing data files, and allow weights of torch-fidelity (and dinov2's code)."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where networks are trained and evaluated, slow features extracted and transport solved, but classifiers and exact
    networks stay on the cpu; auto: cuda where there is one."""
    training_seed: Seed = 0
    atom_seed: Seed = 0
    fit_seed: Seed = 0
    num_atoms: Count | None = None
    """Images behind the atoms, the first of their split (of a sorted folder, the first classes); null takes all."""
    features: Annotated[Names, Field(min_length=1)] = ("classifier",)
    """Files of dpmot/features/; a key with the name of one holds its options."""
    feature_options: dict[str, Options] = {}
    metrics: Annotated[Names, Field(min_length=1)] = ()
    """Files of dpmot/metrics/; default all."""
    metrics_except: Names = ()
    """These are not taken."""
    copying_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of copies, and of stored images that come back beyond chance, up to which a row is ranked."""
    classifier: Classifier = Classifier()
    transport: Transport = Transport()
    selection: Selection | None = None
    coupling: Coupling | None = None
    identity: Identity | None = None
    tables: Names = ("table_1_quality", "table_2_mode_mixture")
    figures: Names = ()
    notes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """What the command line changed or left out, in words."""

    @validated(mode="before")
    @classmethod
    def _options_of_extractors(cls, given: Any) -> Any:
        """Gather what stands under the names of extractors, or their aliases, under ``feature_options``."""
        if not (isinstance(given, Mapping) and isinstance(given.get("feature_options", {}), Mapping)):
            return given
        rest, gathered = dict(given), dict(given.get("feature_options", {}))
        for name in plugins.names("features"):
            extractor = Extractor(name)
            if name in rest and name not in cls.model_fields:
                gathered[name] = rest.pop(name)
            for key, option in extractor.aliases.items():
                own = gathered.get(name, {})
                if key in rest and isinstance(own, Mapping):
                    if option in own:
                        raise _wrong(f"{key} and {name}.{option} say the same; give one of them")
                    gathered[name] = {**own, option: rest.pop(key)}
        return {**rest, "feature_options": gathered} if gathered else rest

    @property
    def has_mixture(self) -> bool:
        """Whether the data set is a Gaussian mixture, which brings its own exact classifier."""
        return getattr(plugins.find("data", self.dataset), "MIXTURE", False)

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the data set's images; None of points, and where its file does not say."""
        return declared_shape(plugins.find("data", self.dataset), self.dataset_options)

    def completed(self) -> "Experiment":
        """The same with what a method takes from its experiment, and with the metrics by name."""
        metrics = [name for name in self.metrics or plugins.names("metrics") if name not in self.metrics_except]
        methods = {
            name: method.but(
                nfe_budgets=method.nfe_budgets or self.nfe_budgets,
                sample_seeds=method.sample_seeds or self.sample_seeds,
                level=method.level or ("as_paper" if method.has_level else None),
            )
            for name, method in self.methods.items()
        }
        return self.but(methods=methods, metrics=metrics, metrics_except=())

    def written(self) -> dict[str, Any]:
        """The resolved configuration, from which the same experiment can be read: plain values, defaults included."""
        whole = self.plain()
        for key in ("networks", "methods"):
            whole[key] = {name: one.given() for name, one in getattr(self, key).items()}
        return whole | whole.pop("feature_options")

    def scientific(self) -> dict[str, Any]:
        """:meth:`written` without what changes no number: labels, groups, and which pages are made."""
        whole = {key: value for key, value in self.written().items() if key not in CHANGES_NO_NUMBER}
        for method in whole["methods"].values():
            method.pop("label", None), method.pop("group", None)
        return whole


def json_schema() -> dict[str, Any]:
    """The JSON schema that editors use for completion (config/schema.json): what a file may say."""
    whole = Experiment.model_json_schema()
    properties = whole["properties"]
    for name in ("feature_options", "notes"):
        del properties[name]
    extractors = [Extractor(name) for name in plugins.names("features")]
    options = {"type": "object", "description": "options of this file of dpmot/features/"}
    properties |= {extractor.name: options for extractor in extractors if extractor.name not in properties}
    properties |= {key: {"type": "string"} for extractor in extractors for key in extractor.aliases}
    properties["extends"] = {"type": "string", "description": "a configuration that this one is over"}
    properties["full"] = {"type": "object", "description": "keys that `scale: full` merges over the others"}
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    properties["only"] = {**names, "description": "methods to keep, with what hangs on them"}
    methods = properties["methods"].pop("patternProperties")
    either = {name: {"anyOf": [method, {"type": "null"}]} for name, method in methods.items()}  # null takes it away
    properties["methods"] |= {"patternProperties": either, "additionalProperties": False}
    properties["networks"]["additionalProperties"] = False
    for part in (whole, *whole["$defs"].values()):  # the rest may stand in what it extends
        part.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "properties": dict(sorted(properties.items())),
    }
