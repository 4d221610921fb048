"""Small images and image files for the tests of the sources."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image


def random_images(num_images: int, size: int = 16, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_images, size, size, 3), np.uint8)


def png(image: NDArray[np.uint8] | Image.Image) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(
    path: Path,
    images: list[bytes | None],
    names: dict[str, list[str]] | None = None,
    rows_per_group: int = 7,
    **columns: Any,
) -> Path:
    """Writes Hugging Face's image layout: an "img" struct, the label columns, and class names as metadata."""
    image_column = pa.array(
        [{"bytes": b, "path": None} for b in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({"img": image_column, **columns})
    features: dict[str, Any] = {"img": {"_type": "Image"}}
    features |= {column: {"_type": "ClassLabel", "names": n} for column, n in (names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows_per_group)
    return path


def write_folder(root: Path, classes: dict[str, NDArray[np.uint8]]) -> Path:
    """Writes ROOT/CLASS/000.png ...; a class may be "superclass/class" or "train/class"."""
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{i:03}.png")
    return root
