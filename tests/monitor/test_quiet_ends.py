"""Verbs that are cut short: by a reader that wants no more, and by Ctrl-C."""

import subprocess
import sys

import pytest

from dpmot import __main__, cli

WORDS = {  # what a verb needs to be parsed
    "list": ["samplers"],
    "new": ["sampler", "x"],
    "gate": ["a", "b"],
    "evaluate": ["a.npz", "--reference", "b.npz"],
    "predict": ["digits"],
    "show": ["table_1"],
    **{verb: ["name"] for verb in cli.SUBJECTS},
}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_reader_that_wants_no_more_ends_every_verb_quietly(verb, monkeypatch, capfd):
    def closed(_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "_run", closed)
    monkeypatch.setattr(cli, "_gate", closed)
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)  # the tests still need their standard output
    assert cli.main([verb, *WORDS.get(verb, [])]) == cli.CLOSED == 128 + 13
    assert capfd.readouterr() == ("", "")


def test_head_gets_its_line_and_no_complaint():
    words = [sys.executable, "-m", "dpmot", "list", "samplers"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == cli.CLOSED


@pytest.mark.parametrize("verb", cli.VERBS)
def test_ctrl_c_is_one_line_and_stages_say_to_run_the_same_command_again(verb, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    monkeypatch.setattr(cli, "_gate", interrupted)
    assert cli.main([verb, *WORDS.get(verb, [])]) == cli.INTERRUPTED == 128 + 2
    error = capsys.readouterr().err
    assert error.startswith(f"dpmot {verb}: interrupted") and error.count("\n") == 1
    stage = verb not in (*cli.UNCONFIGURED, "plan", "doctor")
    assert ("run the same command again: it goes on where it was" in error) == stage


def test_ctrl_c_while_modules_are_imported_is_one_line(monkeypatch, capsys):
    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == "dpmot.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "dpmot.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert __main__.main() == 130
    assert capsys.readouterr().err == "dpmot: interrupted\n"
