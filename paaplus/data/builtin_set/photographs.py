"""Real colour photographs inside installed packages: their paths, licences and sources.

This project holds no copies and downloads nothing: the files are read from the installed packages. The licence texts
are those of the packages (`docs/licences.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from paaplus.errors import Unavailable


@dataclass(frozen=True)
class Photograph:
    """One photograph of an installed package; `contents` are the kinds of things in the picture."""

    name: str
    package: str
    path: str
    contents: tuple[str, ...]
    licence: str
    source: str

    def find(self) -> Path:
        """The path of the file.

        Raises:
            Unavailable: the package is not installed, or no longer ships the file.
        """
        spec = find_spec(self.package)
        folders = spec.submodule_search_locations if spec is not None else None
        for folder in folders or []:
            if (file := Path(folder) / self.path).is_file():
                return file
        raise Unavailable(
            f"photograph {self.name!r}: {self.package}/{self.path} is not installed; pip install 'paaplus[demo]'"
        )

    def load(self, long_side_px: int) -> Image.Image:
        """The picture as RGB, scaled down if its longer side has more than `long_side_px` pixels.

        Raises:
            Unavailable: as `find`.
        """
        with Image.open(self.find()) as image:
            image.draft("RGB", (2 * long_side_px, 2 * long_side_px))  # a JPEG decodes at a fraction of its size
            picture = image.convert("RGB")
        picture.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
        return picture


PHOTOGRAPHS = (
    Photograph(
        "astronaut",
        "skimage",
        "data/astronaut.png",
        ("person",),
        "public domain (no known copyright restrictions)",
        "NASA Great Images database, https://flic.kr/p/r9qvLn: Eileen Collins",
    ),
    Photograph(
        "chelsea",
        "skimage",
        "data/chelsea.png",
        ("animal", "close-up"),
        "CC0",
        "Stefan van der Walt: Chelsea the cat",
    ),
    Photograph(
        "coffee",
        "skimage",
        "data/coffee.png",
        ("object",),
        "CC0",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
    ),
    Photograph(
        "rocket",
        "skimage",
        "data/rocket.jpg",
        ("night", "building"),
        "public domain",
        "SpaceX, https://www.flickr.com/photos/spacexphotos/16511594820: launch of DSCOVR on Falcon 9",
    ),
    Photograph(
        "hubble_deep_field",
        "skimage",
        "data/hubble_deep_field.jpg",
        ("night", "pattern"),
        "public domain",
        "NASA, HubbleSite release 2012/37: Hubble eXtreme Deep Field",
    ),
    Photograph(
        "immunohistochemistry",
        "skimage",
        "data/ihc.png",
        ("pattern", "close-up"),
        "no known copyright restrictions",
        "Center for Microscopy and Molecular Imaging (CMMI): colonic glands",
    ),
    Photograph(
        "retina",
        "skimage",
        "data/retina.jpg",
        ("pattern", "close-up"),
        "CC0",
        "Mikael Häggström, https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
    ),
    Photograph(
        "motorcycle",
        "skimage",
        "data/motorcycle_left.png",
        ("object",),
        "no licence is named by the package; made for research and published as a benchmark",
        "Middlebury 2014 stereo benchmark (Scharstein et al., GCPR 2014), downscaled by scikit-image",
    ),
    Photograph(
        "china",
        "sklearn",
        "datasets/images/china.jpg",
        ("landscape", "building"),
        "CC BY 2.0",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035",
    ),
    Photograph(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        ("plant", "close-up"),
        "CC BY 2.0",
        "vultilion, https://www.flickr.com/photos/vultilion/6056698931",
    ),
    Photograph(
        "grace_hopper",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        ("person",),
        "not stated by the package; an official portrait of the United States Navy",
        "matplotlib sample data: Grace Hopper",
    ),
)


def require_installed() -> None:
    """Check that the packages with the photographs are installed.

    Raises:
        Unavailable: one is not; the message says what to do instead.
    """
    missing = sorted({photograph.package for photograph in PHOTOGRAPHS if find_spec(photograph.package) is None})
    if missing:
        raise Unavailable(
            f"the built-in set needs packages that are not installed ({', '.join(missing)}): "
            "pip install 'paaplus[demo]' (in a checkout: pip install -e '.[demo]'); or use photographs of your own"
        )
