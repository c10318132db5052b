"""What ``dpmot doctor`` says of sound networks and of planted mistakes: ``python -m benchmarks.doctor [NAME ...]``.

Networks: the committed ones of digits and Fashion-MNIST, snapshots of trainings, and small ones of the other kinds in
results/reference/doctor/weights. Thresholds were chosen on digits; every Fashion-MNIST and CIFAR-10 line is a check.
Rows are data set, network, mistake that was planted ("sound": none), what the doctor says, the gain of the best repair,
seconds of the processor. A name keeps the networks that hold it. Rows that stand in the csv file are not made again, so
what was interrupted goes on. results/reference/doctor/doctor.csv is of 32 images and seed 0; draws.csv beside it asks
how often a sound network is accused: other images and other noise by each seed.

examples:
  python -m benchmarks.doctor --rows 32 --csv doctor.csv
  python -m benchmarks.doctor --rows 32 --csv draws.csv --sound --seeds 10
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.planted import Case, cases, exchanged
from dpmot import plugins
from dpmot.diffusion import network
from dpmot.diffusion.doctor import Diagnosis, doctor, known_of

REFERENCE = plugins.ROOT / "results" / "reference"
MORE = "doctor/weights"
NETWORKS = {  # name -> (data set, file below results/reference)
    "digits ddpm": ("digits", "digits/weights/ddpm"),
    "digits edm": ("digits", "digits/weights/edm"),
    "digits student": ("digits", "digits/weights/student"),
    "digits flow": ("digits", f"{MORE}/digits_flow"),
    "digits ncsnv2": ("digits", f"{MORE}/digits_ncsnv2"),
    "digits labels": ("digits", f"{MORE}/digits_labels"),
    "digits x0": ("digits", f"{MORE}/digits_x0"),
    "digits consistency": ("digits", f"{MORE}/digits_consistency"),
    "cifar10 edm": ("thumbnails", f"{MORE}/thumbnails_edm"),
    "fashion ddpm": ("fashion_mnist", "fashion_mnist/weights/ddpm"),
    "fashion edm": ("fashion_mnist", "fashion_mnist/weights/edm"),
    "fashion student": ("fashion_mnist", "fashion_mnist/weights/student"),
    **{
        f"fashion edm {n}": ("fashion_mnist", f"fashion_mnist/weights/snapshots/edm_{n}")
        for n in (500, 1000, 2000, 4000)
    },
    "fashion labels": ("fashion_mnist", f"{MORE}/fashion_labels"),
}
LONGER = {"fashion edm 1000": "fashion edm 4000"}  # of one training
COLUMNS = ("data", "network", "planted", "says", "right", "gain", "seconds")


@cache
def data(name: str) -> tuple[Tensor, Tensor]:
    """Images uint8 and labels of split A; "thumbnails" are CIFAR-10's, averaged to 8 x 8."""
    images, labels = plugins.find("data", "cifar10" if name == "thumbnails" else name).load().part("A")
    kept = torch.from_numpy(np.ascontiguousarray(images[:4000]))
    if name == "thumbnails":
        kept = torch.nn.functional.avg_pool2d(kept.float(), 4).round().to(torch.uint8)
    return kept, torch.from_numpy(np.ascontiguousarray(labels[:4000]))


def of_network(name: str, rows: int | None = None) -> Iterator[tuple[Case, Callable[..., Diagnosis]]]:
    """Every case of one network, and what the doctor says of it; ``seed`` draws images and noise."""
    from_data, file = NETWORKS[name]
    images, labels = data(from_data)
    loaded, of = _loaded(file)
    known = known_of(of, tuple(images.shape[1:]), loaded.classes)
    given, every = labels if loaded.classes else None, cases(of, known, images, samples="consistency" in name)
    if name in LONGER:
        longer = _loaded(NETWORKS[LONGER[name]][1])[1]
        every = chain(every, exchanged(of, longer, known, "a quarter of the training's"))
    for case in every:
        looked: dict[str, Any] = {"known": case.known, "labels": given, "beside": case.beside, "rows": rows}
        yield case, partial(doctor, case.denoiser, images, samples="consistency" in name, **looked)


def _loaded(file: str) -> tuple[network.Network, Any]:
    """A network, and its denoiser: of a student, that of the most steps."""
    loaded = network.load(REFERENCE / f"{file}.safetensors")
    return loaded, loaded.denoisers[max((count for count in loaded.denoisers if count), default=None)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only networks whose name holds one of these")
    parser.add_argument("--sound", action="store_true", help="only the networks as they are")
    parser.add_argument("--cases", nargs="*", default=[""], help="only cases whose name holds one of these")
    parser.add_argument("--rows", type=int, help="images that are tried")
    parser.add_argument("--seeds", type=int, default=1, help="so many draws of images and noise")
    parser.add_argument("--csv", type=Path, help="append the rows there; those that it holds are not made again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    held = _held(options.csv)
    rows = list(held)
    for name, (from_data, file) in NETWORKS.items():
        asked = not options.names or any(part in name for part in options.names)
        if not asked or not Path(REFERENCE / f"{file}.safetensors").exists():
            continue
        for case, look in of_network(name, options.rows):
            if not any(part in case.name for part in (["sound"] if options.sound else options.cases)):
                continue
            for seed in range(options.seeds):
                about = (from_data, name, f"{case.name}, seed {seed}" if seed else case.name)
                if about not in {row[: len(about)] for row in held}:
                    rows.append((*about, *_looked_at(case, partial(look, seed=seed))))
                    _tell(rows[-1], options.csv)
    print(f"{sum(row[4] == 'no' for row in rows)} of {len(rows)} wrong")


def _looked_at(case: Case, look: Callable[[], Diagnosis]) -> tuple[str, ...]:
    """The columns of a row that are found: what is said, whether rightly, gain, seconds."""
    started = time.process_time()
    said = look()
    first = next((found.name for found in said.findings if found.grade == "wrong"), "")
    verdict = f"{said.verdict}: {first}" if first else said.verdict
    gain = max(said.gains.values(), default=float("nan"))
    right = "yes" if case.named_by(first) else "no"
    return verdict, right, f"{gain:.3f}", f"{time.process_time() - started:.1f}"


def _held(path: Path | None) -> list[tuple[str, ...]]:
    if path is None or not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = map(tuple, csv.reader(file))
    if header != COLUMNS:
        raise SystemExit(f"{path} has other columns, {', '.join(header)}: give another file, or remove it")
    return rows


def _tell(row: tuple[str, ...], path: Path | None) -> None:
    _, name, planted, verdict, right, gain, seconds = row
    mark = "" if right == "yes" else "   <- FALSE ALARM" if planted.startswith("sound") else "   <- NOT NAMED"
    print(f"{name:20} {planted:36} {verdict:45} {gain:>6} {seconds:>5} s{mark}", flush=True)
    if path:
        _append(path, row)


def _append(path: Path, row: tuple[str, ...]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, row] if fresh else [row])


if __name__ == "__main__":
    main()
