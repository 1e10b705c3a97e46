"""Solar cells for `f5-cells-small.yaml`: 2,624 electroluminescence images of cells of 44 modules.

They are those of the package elpv-dataset (Buerhop-Lutz, Deitsch and others; images CC BY-NC-SA 4.0), which
brings them along: pip install elpv-dataset. Experts said of each whether it is defective, and whether they
are certain.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 16  # pixels; cracks of a few pixels in 300 are lost
_TYPES, _DEFECTIVE = ("mono", "poly"), ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")


def cells():
    """Return the images with their fine labels, 0 to 7; kdsearch splits them.

    A label is the type of silicon, 4 or 0 for poly- or monocrystalline, and how likely a defect is: 0 a
    functional cell, 1 one that may be defective, 2 a defective one that may be functional, 3 a defective one.
    """
    import elpv_dataset  # its package holds nothing but files

    folder = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines()]
    labels = [4 * _TYPES.index(kind) + _DEFECTIVE.index(likely) for _, likely, kind in rows]
    return (np.stack([_small(folder / name) for name, *_ in rows]), np.array(labels)), None


def _small(file: Path):
    with Image.open(file) as image:
        return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX))
