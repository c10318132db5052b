"""A file in the right folder is the registration."""

import re
import sys

import pytest

from dpmot import plugins


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A plugin folder outside the repository, in the place of baselines/."""
    package = tmp_path / "rivals_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    monkeypatch.setitem(plugins.FOLDERS, "baselines", ("sampler", package))
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
        del sys.modules[name]


def test_a_file_dropped_into_the_folder_is_found_by_its_name(folder):
    (folder / "leap.py").write_text("ANSWER = 42\n")
    assert plugins.names("baselines") == ["leap"]
    assert plugins.path("baselines", "leap") == folder / "leap.py"
    assert plugins.module_name("baselines", "leap") == "rivals_of_a_test.leap"
    assert plugins.find("baselines", "leap").ANSWER == 42


def test_names_are_sorted_and_a_leading_underscore_hides_a_file(folder):
    for name in ("zeta", "alpha", "_shared"):
        (folder / f"{name}.py").write_text("")
    (folder / "notes.md").write_text("")
    assert plugins.names("baselines") == ["alpha", "zeta"]
    with pytest.raises(plugins.UnknownPlugin):
        plugins.find("baselines", "_shared")


@pytest.mark.parametrize("kind", sorted(plugins.FOLDERS))
@pytest.mark.parametrize("name", ["dimm", "", "../plugins", "__init__"])
def test_an_unknown_name_is_refused_and_the_error_lists_what_exists(kind, name):
    noun, folder = plugins.FOLDERS[kind]
    with pytest.raises(plugins.UnknownPlugin) as caught:
        plugins.find(kind, name)
    message = str(caught.value)
    assert message.startswith(f'No {noun} "{name}" in {folder.relative_to(plugins.ROOT)}/: ')
    assert message.endswith(f"found {', '.join(plugins.names(kind))}") and "\n" not in message


@pytest.mark.parametrize(("name", "said"), [("dimm", 'did you mean "ddim"? found'), ("leapfrog", "/: found")])
def test_a_misspelt_name_is_answered_with_the_nearest_one_if_one_is_near(name, said):
    with pytest.raises(plugins.UnknownPlugin, match=re.escape(said)):
        plugins.find("baselines", name)


def test_the_first_line_is_the_first_sentence_without_importing_the_file(folder):
    text = '"""Leaps (Frog et al. 2020),\nin A. Pond: see below. They are long.\n\nMore."""\nraise RuntimeError\n'
    (folder / "leap.py").write_text(text)
    assert plugins.first_line("baselines", "leap") == "Leaps (Frog et al. 2020), in A. Pond: see below"


@pytest.mark.parametrize("kind", plugins.LISTED.values())
def test_every_plugin_has_a_first_line(kind):
    assert all(len(plugins.first_line(kind, name)) > 20 for name in plugins.names(kind))


@pytest.mark.parametrize("kind", sorted(plugins.FOLDERS))
def test_every_kind_has_plugins_and_every_plugin_can_be_imported(kind):
    assert plugins.names(kind)
    for name in plugins.names(kind):
        assert plugins.find(kind, name).__name__ == plugins.module_name(kind, name)
