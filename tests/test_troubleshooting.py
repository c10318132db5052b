"""docs/troubleshooting.md against the code: no message that the code has not, and hardly one that the page has not."""

import ast
import re
from pathlib import Path

import pytest
import snakemake

from dpmot.monitor.progress import NOISE
from dpmot.plugins import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ANY = "…"
SOURCES = ("dpmot", "baselines", "paper_figures")
FOREIGN = ("Snakemake, make and the shell", "Cells without a number")  # sections whose lines are not of this code
SHELL = ("dpmot: command not found", "snakemake: command not found", "Killed", "No space left on device")
PYTHON = ("No module named dpmot",)
FINDABLE = 6  # letters of a message that do not vary, without which it could not be found


def flat(node):
    """The text of an expression, with … where it varies; None where it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(flat(part) or ANY for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = flat(node.left), flat(node.right)
        return None if sides == (None, None) else "".join(side or ANY for side in sides)
    return None


def trees():
    files = [file for source in SOURCES for file in sorted((ROOT / source).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


TREES = trees()
TEXTS = "\n".join({text for tree in TREES.values() for node in ast.walk(tree) if (text := flat(node))})


def sections():
    """Heading -> the messages in the first cells of its tables."""
    found = {}
    for heading, body in re.findall(r"^##+ (.*?)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S):
        rows = [line.split("|")[1] for line in body.splitlines() if line.startswith("| ")]
        found[heading] = [message for cell in rows for message in re.findall(r"`([^`]+)`", cell)]
    return found


SECTIONS = sections()
LISTED = [message for heading, messages in SECTIONS.items() if heading not in FOREIGN for message in messages]


def fixed(message):
    """What does not vary, without spaces."""
    return re.sub(rf"[\s{ANY}]", "", message)


def pattern(message):
    """A regular expression for what a row of the page stands for."""
    return ".*?".join(re.escape(part.strip()) for part in message.split(ANY) if part.strip())


def test_the_page_lists_the_messages_of_this_code():
    assert len(LISTED) > 250 and len(set(LISTED)) == len(LISTED), [m for m in LISTED if LISTED.count(m) > 1]


@pytest.mark.parametrize("message", LISTED)
def test_a_listed_message_still_exists_in_the_code(message):
    assert len(fixed(message)) >= FINDABLE, "too short to be found"
    assert re.search(pattern(message), TEXTS), f"no text of the code says {message}"


@pytest.mark.parametrize("message", [one for one in SECTIONS[FOREIGN[0]] if one not in (*SHELL, *PYTHON)])
def test_a_message_of_snakemake_is_one_that_it_says_and_that_our_lines_do_not_replace(message):
    folder = Path(snakemake.__file__).parent
    assert any(message in path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    assert not message.startswith((*NOISE, "Error in rule", "Command exited", "Workflow defines configfile"))


def test_where_to_look_first_leads_to_messages_that_are_listed():
    rows = re.findall(r"^\| `([^`]+)`", PAGE.split("\n## ")[0], re.M)
    assert len(rows) == 3 and "failed: …; … ends with" in LISTED and "failed: …; … ends with" in rows


def refusals():
    """Every text that is raised, by where it is raised; those put together before it are left out."""
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text = flat(node.exc.args[0])
                if text and len(fixed(text)) >= FINDABLE:
                    yield f"{file}:{node.lineno}", text


def test_nearly_every_refusal_of_the_code_is_on_the_page():
    """95 in 100, so that one new message does not break this test; the missing ones are listed when it fails."""
    known = re.compile("|".join(pattern(message) for message in LISTED))
    texts = list(refusals())
    absent = [f"{where} {text}" for where, text in texts if not known.search(text)]
    assert len(texts) > 700
    assert len(absent) <= len(texts) / 20, "\n".join(absent)
