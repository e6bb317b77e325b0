"""The documents say what the results beside them say: no figure is typed by hand."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def learning(monkeypatch):
    spec = importlib.util.spec_from_file_location("learning", ROOT / "benchmarks" / "learning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = []
    monkeypatch.setattr(module.learning_curves, "draw", lambda *arguments: None)  # the texts do not need them
    monkeypatch.setattr(module.reward_curve, "save", lambda figure, path: drawn.append(path))
    module.drawn = drawn
    return module


def test_documents_are_what_the_command_writes_and_have_all_pictures(learning):
    for path in learning.DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert "<!-- published -->" in text
        assert learning.anew(text) == text, f"{path}: run python benchmarks/learning.py"
    assert learning.drawn and all(path.exists() for path in learning.drawn)


def test_block_whose_figures_were_changed_is_written_anew(learning):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- published -->\n", "<!-- end -->"
    changed = text[: text.index(begin) + len(begin)] + "| 500.0 |\n" + text[text.index(end) :]
    assert learning.anew(changed) == text
