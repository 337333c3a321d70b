"""The kept list of wrong edits: every one still applies, so that `make mutants` means something."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.run import ROOT, Edit, edits


def test_there_are_enough_of_them_and_no_name_twice() -> None:
    names = [edit.name for edit in edits()]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("edit", edits(), ids=lambda edit: edit.name)
def test_edit_applies_once_and_leaves_python(edit: Edit) -> None:
    text = (ROOT / edit.file).read_text()
    assert text.count(edit.old) == 1
    ast.parse(text.replace(edit.old, edit.new))
    assert all((ROOT / test.partition("::")[0]).exists() for test in edit.tests)
