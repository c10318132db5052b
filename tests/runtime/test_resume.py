"""A resume point without its manifest is nobody's."""

from dpmot.runtime.resume import MANIFEST, ResumePoint


def test_pieces_whose_manifest_is_gone_are_not_adopted(tmp_path):
    one = ResumePoint(tmp_path / "r", {"code": 1})
    one.path("piece").write_text("of code 1")
    one.path(MANIFEST).unlink()  # killed while it cleared up, in an unlucky order
    other = ResumePoint(tmp_path / "r", {"code": 2})
    assert not other.path("piece").exists()


def test_the_manifest_goes_last(tmp_path, monkeypatch):
    one = ResumePoint(tmp_path / "r", {"code": 1})
    for name in "azm":
        one.path(name).write_text("")
    gone = []
    unlink = type(tmp_path).unlink
    monkeypatch.setattr(
        type(tmp_path), "unlink", lambda self, **options: gone.append(self.name) or unlink(self, **options)
    )
    one.finish()
    assert gone[3:] == [MANIFEST, "r.lock"] and not one.folder.exists()
