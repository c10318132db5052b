"""torchvision beside a torch that it was not built for: the known failure is met, every other one is shown."""

import builtins

import pytest

from dpmot import _torchvision


def importing(monkeypatch, failures):
    """Imports of torchvision raise these, one after the other, then work; returns what happened."""
    real, steps = builtins.__import__, []

    def hooked(name, *args, **kwargs):
        if name == "torchvision":
            steps.append("import")
            if failures:
                raise RuntimeError(failures.pop(0))
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", hooked)
    return steps


def test_only_the_known_failure_is_worked_around(monkeypatch):
    steps = importing(monkeypatch, ["another failure"])
    with pytest.raises(RuntimeError, match="another failure"):
        _torchvision.make_importable()
    assert steps == ["import"]  # not tried again


def test_the_known_failure_is_met_by_declaring_operators_once(monkeypatch):
    _torchvision.make_importable()
    steps = importing(monkeypatch, ["operator torchvision::nms does not exist"])
    monkeypatch.setattr(_torchvision, "_declare_missing_operators", lambda: steps.append("declare"))
    _torchvision.make_importable()
    assert steps == ["import", "declare", "import"]
