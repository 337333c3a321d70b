"""Answers that a caller's own browser may keep: their tags, and whether the caller has one already (RFC 9110, 9111)."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def headers(tag: str, max_age_s: int) -> dict[str, str]:
    """Headers of an answer that only the caller may keep, and with another key asks for again.

    Args:
        tag: changes whenever the answer does.
        max_age_s: how long it may be used without asking; 0: never.
    """
    age = f"max-age={max_age_s}" if max_age_s else "no-cache"
    return {"ETag": f'"{tag}"', "Cache-Control": f"private, {age}", "Vary": "Authorization, Cookie"}


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has the answer of this tag already, as the header `If-None-Match` says."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or tag in _TAG.findall(if_none_match)
