"""How good is a set of samples, and are they copies? The same metrics, intervals and audit as those of an experiment.

Without a configuration: samples and real images go in, rows with 95 % intervals come out. Features, what real images
themselves get, and finished answers are kept by content (:mod:`dpmot.evaluation.answers`), so that a second question
about the same images costs seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from dpmot import plugins, results
from dpmot.data._arrays import Range
from dpmot.device import chosen
from dpmot.evaluation.answers import Answers, default_folder
from dpmot.evaluation.feature_cache import Extractors
from dpmot.evaluation.question import COPYING, QUALITY, Question, of_train
from dpmot.evaluation.report import ROLES, Evaluation, Row
from dpmot.evaluation.sources import Images, read
from dpmot.features import Extractor, Offer
from dpmot.metrics import AUDITED_SPACE

FEATURES = ("thumbnails",)  # by default: they need no weights


def evaluate(
    samples: Any,
    reference: Any,
    *,
    train: Any = None,
    held_out: Any = None,
    features: Sequence[str] = FEATURES,
    feature_options: Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Sequence[str] | None = None,
    value_range: Range | None = None,
    classifier: Path | str | None = None,
    data_root: Path | str | None = None,
    download: bool = False,
    device: str = "cpu",
    cache: Path | str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure samples against real images, with 95 % intervals, and say whether they are copies.

    Images are a path (a folder or zip of images, an npz, npy or safetensors file), an array or a tensor, (n, C, H, W),
    (n, H, W, C) or (n, H, W), uint8 or floats of a stated range, all of one size, n >= 20; what :func:`dpmot.sample`
    gives; or a split of a data set by name, as "cifar10:C".

    Args:
        samples: the n samples.
        reference: real images that no model was trained on.
        train: the images that the samples' model was trained on; without them nobody asks about copies, and FLD,
            authenticity and C_T are left out.
        held_out: further real images that nobody used. With them copies of the reference are sought too.
        features: extractors, files of ``dpmot/features/``. "thumbnails" needs no weights; "inception" gives FID, KID
            and IS as published, where its weights are at hand or ``download`` allows to fetch them.
        feature_options: extractor -> its options.
        metrics: files of ``dpmot/metrics/``; None: FD, KD, IS, precision, recall, density, coverage, FLD, authenticity,
            duplicates, C_T and the share of copies, as far as there are the images that they ask about.
        value_range: of those images that are floats: (-1, 1), (0, 1) or (0, 255).
        classifier: file of an experiment's classifier, for the extractor "classifier".
        data_root: folder of the data sets' files; None: that of the variable DPMOT_DATA.
        download: whether missing weights may be fetched.
        device: of slow extractors: "cpu", "cuda" or "auto".
        cache: folder of features and answers, safe to delete; None: that of the variable DPMOT_CACHE, or
            ``~/.cache/dpmot``.
        progress: show bars on standard error, on a terminal.

    Raises:
        ValueError: images that cannot be compared, or something unknown; one line that says what to do.
        OSError: a file cannot be read, or weights are missing.
    """
    root = Path(data_root) if data_root else None
    load = partial(read, values=value_range, root=root)
    real = {"test": load(reference, role="reference")}
    shape = real["test"].shape
    drawn = load(samples, role="samples", shape=shape)
    for name, source in {"train": train, "held_out": held_out}.items():
        if source is not None:
            real[name] = load(source, role=name.replace("_", "-"), shape=shape)
    note = _range_note({"samples": drawn, **real}, value_range)
    for one, other in combinations(real, 2):
        if real[one].sha256 == real[other].sha256:
            same = " and ".join(ROLES[name] for name in (other, one))
            raise ValueError(f"{same} are the same images: give real images that the model has not seen as reference")
    if "held_out" in real and "train" not in real:
        raise ValueError("held-out: images to tell copies by are asked for with train; give train too")
    options, folder = feature_options or {}, Path(cache) if cache else default_folder()
    offer = partial(Offer, classifier=Path(classifier) if classifier else None, root=root, download=download)
    asked = [Extractor(name, offer(shape=shape, given=options.get(name, {}))) for name in dict.fromkeys(features)]
    for extractor in asked:
        _check(extractor)
    names = _names(metrics, trained="train" in real)
    if not asked and not any(_pixels(name) or name == "copies" for name in names):
        raise ValueError("features: none is asked for, and the metrics need some; name some, or leave it out")
    if any(_pixels(name) for name in names):
        asked.append(Extractor(AUDITED_SPACE))
    extract = Extractors(asked, folder / "features", threads=torch.get_num_threads(), device=chosen(device).type)
    found = Question(drawn, real, names, extract, Answers(folder), progress).evaluation()
    found = replace(found, notes=(*note, *found.notes))
    if metrics is not None and (absent := [name for name in names if not _rows_of(name, found)]):
        of = ", ".join(one.name for one in asked) or "none"
        raise ValueError(f"metrics: {absent[0]} does not apply to features {of}; name others, or leave the metric out")
    return found


def audit(samples: Any, train: Any, *, held_out: Any, **options: Any) -> Evaluation:
    """Are samples copies of the training images? Authenticity, duplicates, C_T and the share of copies alone.

    Args:
        samples, train: see :func:`evaluate`.
        held_out: real images of the same law that no model has seen, by which chance is told; a split will do.
        options: ``value_range``, ``data_root``, ``cache``, ``progress`` of :func:`evaluate`.

    Raises:
        ValueError, OSError: as :func:`evaluate`.
    """
    return evaluate(samples, held_out, train=train, features=(), metrics=COPYING, **options)


def _range_note(images: Mapping[str, Images], value_range: Range | None) -> tuple[str, ...]:
    """Which images the stated range is not of; refused where it is of none."""
    others = [ROLES[role] for role, one in images.items() if not one.scaled]
    if value_range is None or not others:
        return ()
    told = f"range [{value_range[0]:g}, {value_range[1]:g}] is of floats"
    if len(others) == len(images):
        raise ValueError(f"{told}, and {', '.join(others)} are integers: leave it out")
    return (f"{told}: {', '.join(others)} are integers, and taken as levels of 0..255",)


def _check(extractor: Extractor) -> None:
    if extractor.domain == "mixture":
        raise ValueError(f"features: {extractor.name} looks at points of a mixture, these are images")
    if extractor.trained and extractor.offer.classifier is None:
        where = "results/<experiment>/networks/classifier.safetensors"
        raise ValueError(f"features: {extractor.name} needs the file of a trained classifier, e.g. {where}")
    if extractor.trained and not Path(str(extractor.offer.classifier)).is_file():
        raise ValueError(f"features: no file {extractor.offer.classifier} of a classifier")
    extractor.check()


def _rows_of(name: str, found: Evaluation) -> list[Row]:
    """The rows of a metric's file."""
    stems = plugins.find("metrics", name).FACTS
    return [row for row in found.rows if results.stem(row.metric) in stems]


def _pixels(name: str) -> bool:
    return name != "copies" and plugins.find("metrics", name).SPACE in (AUDITED_SPACE, "any")


def _names(metrics: Sequence[str] | None, *, trained: bool) -> list[str]:
    """The metrics that are taken."""
    if metrics is None:
        return [name for name in (*QUALITY, *COPYING) if trained or not of_train(name)]
    for name in metrics:
        plugins.path("metrics", name)
        if of_train(name) and not trained:
            raise ValueError(f"metrics: {name} asks about training images; give train")
    if not metrics:
        raise ValueError("metrics: none is asked for; name some, or leave it out")
    return list(dict.fromkeys(metrics))
