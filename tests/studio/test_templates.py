"""Every page's template is well formed, and its texts exist in every language."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from paaplus.studio import pages, texts

TEMPLATES = sorted(
    each.name for each in files("paaplus.studio").joinpath("templates").iterdir() if each.name.endswith(".html")
)
SCRIPTS = sorted(name for name in pages.STATIC if name.endswith(".js"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_well_formed_and_its_texts_exist(name: str) -> None:
    pages._environment().get_template(name)
    source = files("paaplus.studio").joinpath("templates", name).read_text("utf-8")
    used = set(re.findall(r"""\bt\(["']([a-z_.]+[a-z_])["'](?! [+~])""", source))
    assert used <= set(texts.of("en")), used - set(texts.of("en"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_texts_of_a_script_exist(name: str) -> None:
    source = files("paaplus.studio").joinpath("static", name).read_text("utf-8")
    used = set(re.findall(r"""\btext\(["']([a-z_.]+[a-z_])["']""", source))
    assert used <= set(texts.of("en")), used - set(texts.of("en"))
