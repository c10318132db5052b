"""Pipelines by their repository, ``hf:<owner>/<name>[@<revision>]``, fetched by diffusers, as safetensors only.

What is fetched lies in diffusers' own cache, where later runs find it without a network. Nothing is unpickled and no
code of a repository is run.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dpmot.diffusion import adapters, schedulers
from dpmot.diffusion.weights import DECODERS

NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
READ = {*adapters.PARTS.values(), *DECODERS, "scheduler"}


class NotRead(ValueError):
    """A pipeline of other networks."""


def parsed(card: str) -> tuple[str, str | None]:
    """Repository and revision of a card.

    Raises:
        ValueError: it is no such name.
    """
    found = NAME.fullmatch(card)
    if not found:
        raise ValueError(f"{card!r} is no repository; write hf:<owner>/<name> or hf:<owner>/<name>@<revision>")
    return found[1], found[2]


@contextmanager
def fetched(card: str, *, download: bool) -> Iterator[Path]:
    """A folder with the pipeline of a repository, as diffusers saves it, for as long as it is looked at.

    Args:
        card: its name.
        download: whether it may be fetched; else it must lie in diffusers' cache.

    Raises:
        ValueError: it is not there and cannot be fetched, has no safetensors, or parts that are not read; in one line
            with the command that fetches it. Errors about what is in the folder name the card.
    """
    repository, revision = parsed(card)
    pipeline = schedulers.diffusers_class("DiffusionPipeline")
    where = {"revision": revision, "local_files_only": not download}
    try:
        with schedulers.undisturbed():
            index = pipeline.load_config(repository, **where)
            _check_parts(card, index)
            found = pipeline.from_pretrained(repository, use_safetensors=True, **where)
    except NotRead:
        raise
    except Exception as error:  # of diffusers, huggingface_hub or the network: whatever it is, it was not fetched
        raise ValueError(_not_fetched(card, download, error)) from None
    if revision is None:
        print(f"{card} is the repository's newest state: pin it by {card}@<revision>", flush=True)
    with TemporaryDirectory() as folder:
        with schedulers.undisturbed():
            found.save_pretrained(folder, safe_serialization=True)
        try:
            yield Path(folder)
        except ValueError as error:
            raise ValueError(str(error).replace(folder, card)) from None


def _check_parts(card: str, index: Mapping) -> None:
    parts = {key for key, value in index.items() if isinstance(value, list) and any(value)}
    if other := sorted(parts - READ):
        told = f"a {index.get('_class_name')} with {', '.join(other)}, which is not read"
        raise NotRead(f"{card} is {told}: give a pipeline of a UNet2DModel or DiTTransformer2DModel")


def _not_fetched(card: str, download: bool, error: Exception) -> str:
    repository, revision = parsed(card)
    folder = f"downloads/{repository.split('/')[1]}"
    pinned = f" --revision {revision}" if revision else ""
    by_hand = f"hf download {repository}{pinned} --local-dir {folder}, and weights: {folder} beside kind and options"
    if download:
        return f"{card} was not fetched ({_first_line(error)}); where there is a network: {by_hand}"
    return f"{card} is not in the cache of diffusers, and download is false: set download: true, or {by_hand}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
