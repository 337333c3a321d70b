"""XMP sidecars as text, for whoever has no files beside which to write them: no package is needed to make them.

They hold what `xmp.write_sidecar` writes: the score, and stars that are known as ours by being in our namespace too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from xml.etree import ElementTree  # nosec B405: it writes

from paaplus.image_kinds import RAW_SUFFIXES

NAMESPACE: Final = "urn:paaplus:photos:1.0/"
_META: Final = "adobe:ns:meta/"
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP: Final = "http://ns.adobe.com/xap/1.0/"

for _prefix, _uri in {"x": _META, "rdf": _RDF, "xmp": _XMP, "paaplus": NAMESPACE}.items():
    ElementTree.register_namespace(_prefix, _uri)


def text(stars: int, given: int | None, score: float, generic_score: float, user: str) -> str:
    """The sidecar of one photograph.

    Args:
        stars: of the score, 1 to 5.
        given: stars that the person gave, 1 to 5; None: none. They are written as the person's.
        score, generic_score: 0-10.
        user: whose score it is.
    """
    fields = {
        f"{{{_RDF}}}about": "",
        f"{{{_XMP}}}Rating": str(given if given is not None else stars),
        f"{{{NAMESPACE}}}Score": f"{score:.3f}",
        f"{{{NAMESPACE}}}GenericScore": f"{generic_score:.3f}",
        f"{{{NAMESPACE}}}User": user,
    }
    if given is None:
        fields[f"{{{NAMESPACE}}}Stars"] = str(stars)
    document = ElementTree.Element(f"{{{_META}}}xmpmeta")
    ElementTree.SubElement(ElementTree.SubElement(document, f"{{{_RDF}}}RDF"), f"{{{_RDF}}}Description", fields)
    packet = ElementTree.tostring(document, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{packet}\n<?xpacket end="w"?>\n'


def names(photographs: Sequence[str]) -> list[str]:
    """The names of the sidecars of these photographs, each once: `a.xmp`, or `a.jpg.xmp` if several are called `a`.

    As for files on a disk, `a.xmp` is that of the RAW file where there is one. Equal names get a number.
    """
    paths = [_inside(name) for name in photographs]
    stems = Counter(str(path.with_suffix("")) for path in paths)
    taken: Counter[str] = Counter()
    found = []
    for path in paths:
        stem = str(path.with_suffix(""))
        owns_stem = stems[stem] == 1 or path.suffix[1:].lower() in RAW_SUFFIXES
        name = f"{stem}.xmp" if owns_stem else f"{path}.xmp"
        taken[name] += 1
        found.append(name if taken[name] == 1 else f"{name[:-4]} ({taken[name]}).xmp")
    return found


def _inside(name: str) -> PurePosixPath:
    """A path that stays inside the folder into which the zip file is unpacked."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return PurePosixPath(*(parts or ["photo"]))
