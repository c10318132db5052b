"""``dpmot evaluate``: its arguments, and what it prints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot import plugins

if TYPE_CHECKING:
    from dpmot.evaluation.report import Evaluation

EXAMPLE = "samples.npz --reference cifar10:C --train cifar10:A --csv samples.csv"
IMAGES = "a folder or zip of images, an npz, npy or safetensors file"
DATA = f"{IMAGES}, or a split of a data set by name, as fashion_mnist:C"
NOTES = """\
more examples:
  dpmot evaluate samples/ --reference real.zip
  dpmot evaluate samples.npy --range -1 1 --reference fashion_mnist:C --train fashion_mnist:A --held-out fashion_mnist:B
  dpmot evaluate samples.npz --reference cifar10:C --features inception --download
  dpmot evaluate samples.npz --reference real.npz --features vit:weights=vit.safetensors thumbnails

Without --train nobody asks about copies; FLD, authenticity and C_T need it too. Splits: A training, B of the
classifier (nobody's), C held out. docs/glossary.md explains the words of the table. Features and answers are kept by
content in $DPMOT_CACHE, or in ~/.cache/dpmot; that folder may be deleted at any time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{NOTES}\n\n{parser.epilog}"
    add("samples", type=Path, metavar="SAMPLES", help=IMAGES)
    add("--reference", required=True, metavar="DATA", help=f"real images that no model was trained on: {DATA}")
    add("--train", metavar="DATA", help="images that the samples' model was trained on")
    add("--held-out", metavar="DATA", help="further real images: then copies of the reference are sought too")
    features = "files of dpmot/features/, options as NAME:KEY=VALUE,... (default thumbnails: no weights)"
    add("--features", nargs="+", metavar="NAME", help=features)
    add("--metrics", nargs="+", metavar="NAME", help="files of dpmot/metrics/ (default: those that can be asked)")
    add("--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of floats: -1 1, 0 1 or 0 255")
    add("--classifier", type=Path, metavar="FILE", help="classifier of an experiment, for --features classifier")
    add("--csv", type=Path, metavar="FILE", help="write the rows there too")
    add("--data-root", type=Path, metavar="FOLDER", help="of data sets by name (default $DPMOT_DATA)")
    add("--download", action="store_true", help="fetch missing weights of features")
    add("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="of slow features (default cpu)")
    add("--cache", type=Path, metavar="FOLDER", help="of features and answers (default $DPMOT_CACHE or ~/.cache/dpmot)")


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the table, and write the csv file.

    Raises:
        ValueError, OSError: see :func:`dpmot.evaluation.evaluate.evaluate`.
    """
    _check_csv(options.csv)
    found = _evaluated(options)
    print(found.table())
    if options.csv:
        found.to_csv(options.csv)
        print(f"Rows: {options.csv}")
    print(f"Cache: {found.cache} (may be deleted)")


def _evaluated(options: argparse.Namespace) -> "Evaluation":
    from dpmot.evaluation.evaluate import FEATURES, evaluate

    named = [_feature(text) for text in options.features or ()]
    return evaluate(
        options.samples,
        options.reference,
        train=options.train,
        held_out=options.held_out,
        features=[name for name, _ in named] or FEATURES,
        feature_options=dict(named),
        metrics=options.metrics,
        value_range=tuple(options.range) if options.range else None,
        classifier=options.classifier,
        data_root=options.data_root,
        download=options.download,
        device=options.device,
        cache=options.cache,
        progress=True,
    )


def _check_csv(file: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    if file and not file.parent.is_dir():
        raise ValueError(f"--csv: no folder {file.parent}; make it first")
    if file and file.is_dir():
        raise ValueError(f"--csv: {file} is a folder; give a file, e.g. {file / 'samples.csv'}")


def _feature(text: str) -> tuple[str, dict[str, Any]]:
    """``vit:weights=file,layer=3`` -> its name and options, typed as its file says."""
    name, _, rest = text.partition(":")
    plugins.path("features", name)
    from dpmot.features import Extractor

    kinds, options = Extractor(name).kinds, {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--features: {text} is no NAME:KEY=VALUE,...")
        options[key] = _typed(value, kinds.get(key, "str"), key)
    return name, options


def _typed(value: str, kind: str, key: str) -> Any:
    if kind in ("int", "float"):
        try:
            return int(value) if kind == "int" else float(value)
        except ValueError:
            raise ValueError(f"--features: {key}={value} is no {kind}") from None
    if kind == "bool":
        if value not in ("true", "false"):
            raise ValueError(f"--features: {key}={value} is not true or false")
        return value == "true"
    return value
