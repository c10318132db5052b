"""``dpmot predict``: its arguments, and what it prints."""

import argparse
from pathlib import Path

IMAGES = "a folder or zip of images, an npz, npy or safetensors file, or a split of a data set, as fashion_mnist:A"
EXAMPLE = "digits --sigmas 0.3 1 3 10"
NOTES = """\
more examples:
  dpmot predict images.npz --num-atoms 10000
  dpmot predict latents.npy --range -1 1 --held-out more.npy --json
  dpmot predict cifar10:A --num-atoms 5000 --latents 2000 --csv cifar10.csv

Starts are x0 + sigma eps of the N images (DPM-OT, copy, fresh noise); no network is needed. Posterior draws: the share
that is the image behind its start. Exact DDIM: the same of the flow of the ideal denoiser of these images, which a
network that fits them perfectly is. Nats of the population: an upper bound on what a latent tells of its image, by a
mixture of Gaussians fitted to some images and asked about others. Where it is below log N copying is not forced; where
it is above log N it does not decide. A trained network departs from this: `dpmot evaluate` measures its copies."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{NOTES}\n\n{parser.epilog}"
    add("images", metavar="IMAGES", help=f"images behind the starts: {IMAGES}; a name alone is split A")
    add("--sigmas", type=float, nargs="+", metavar="SIGMA", help="noise levels of the start (default 0.1 to 20)")
    add("--num-atoms", type=int, metavar="N", help="take the first N images (default all)")
    told = "further images of the population (default, of a data set by name: its other splits)"
    add("--held-out", metavar="IMAGES", help=told)
    add(
        "--latents",
        type=int,
        metavar="NUMBER",
        help="latents a level (default 1000); to name one takes about 3 / tolerance at least",
    )
    add("--seed", type=int, default=0, help="of latents and of the density's fit (default 0)")
    add("--range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="of floats: -1 1, 0 1 or 0 255")
    told = "recovery beyond chance up to which a level does not copy (default 0.01)"
    add("--tolerance", type=float, default=0.01, metavar="SHARE", help=told)
    add("--json", action="store_true", help="print one JSON object instead of the table")
    add("--csv", type=Path, metavar="FILE", help="write a row a level there too")
    add("--data-root", type=Path, metavar="FOLDER", help="of data sets by name (default $DPMOT_DATA)")


def run(options: argparse.Namespace) -> None:
    """Predict, print, and write the csv file.

    Raises:
        ValueError, OSError: see :func:`dpmot.theory.prediction.predict`.
    """
    if not 0 <= options.tolerance <= 1:
        raise ValueError(f"--tolerance is a share in 0..1, got {options.tolerance:g}")
    if options.csv and not options.csv.parent.is_dir():  # before the work, not after it
        raise ValueError(f"--csv: no folder {options.csv.parent}; make it first")
    if options.csv and options.csv.is_dir():
        raise ValueError(f"--csv: {options.csv} is a folder; give a file, e.g. {options.csv / 'prediction.csv'}")
    from dpmot.theory import prediction

    found = prediction.predict(
        options.images,
        options.sigmas or prediction.SIGMAS,
        num_atoms=options.num_atoms,
        held_out=options.held_out,
        num_latents=prediction.LATENTS if options.latents is None else options.latents,
        seed=options.seed,
        value_range=tuple(options.range) if options.range else None,
        data_root=options.data_root,
        progress=True,
    )
    print((found.to_json if options.json else found.table)(tolerance=options.tolerance))
    if options.csv:
        found.to_csv(options.csv)
