"""parquet:PATH: one Parquet file or a folder of them in Hugging Face's image layout."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_ssl.config import DataConfig
from ray_ssl.data.base import Dataset
from ray_ssl.data.decode import Encoded, EncodedSplit, Labels, Rows, build_dataset
from ray_ssl.errors import UserError

# Recognised without metadata; in the order in which the finer one is chosen where two have as many classes.
LABEL_NAMES: Final = (
    "fine_label", "fine_labels", "label", "labels", "class", "coarse_label", "coarse_labels", "superclass"
)  # fmt: skip
IMAGE_NAMES: Final = ("image", "img", "images")
SPLITS: Final = ("train", "test", "validation", "valid", "val")  # of several test splits the first is taken


class Layout(NamedTuple):
    """Where images and labels stand in a file; all files of a data set share one."""

    image: str
    labels: tuple[tuple[str, str, tuple[str, ...]], ...]
    """column, "number" or "text", and the class names of the metadata (empty where it has none)"""


class LabelColumn(NamedTuple):
    """One label column of all splits, read and checked."""

    names: tuple[str, ...]
    splits: dict[str, Labels]


def load(config: DataConfig) -> Dataset:
    """Returns the images and labels at `config.path`; of a subset only the chosen rows are decoded.

    The split is read from file names (train-*, test-*, validation-*) or from sub-folders named so. The label
    column with the most classes is the fine one; another one is the superclass where it is a function of it.

    Raises:
        UserError: No such path, not Parquet, no image or label column, or two of one name, files that differ, a
            null, negative or too large label, a null or damaged image (named by file and row, counted from 0).
    """
    path = Path(config.path).expanduser()
    splits = _split_files(path)
    layout = _common_layout([file for files in splits.values() for file in files])
    columns = sorted((_label_column(splits, *label) for label in layout.labels), key=lambda c: -len(c.names))
    fine, *others = columns
    coarse = next((c for c in others if _is_superclass(c, fine)), None)

    def encoded(split: str) -> EncodedSplit:
        def read(rows: Rows) -> Iterator[list[Encoded]]:
            return _read_images(splits[split], layout.image, rows)

        labels = None if coarse is None else coarse.splits[split]
        return EncodedSplit(fine.splits[split], fine.names, labels, coarse.names if coarse else (), read)

    name = path.resolve().name if path.is_dir() else path.stem
    return build_dataset(name, encoded("train"), encoded("test") if "test" in splits else None, config)


def _split_files(path: Path) -> dict[str, list[Path]]:
    """The files of "train" and, where there is one, of "test"."""
    if not path.exists():
        raise UserError(f"parquet: {path} does not exist, give a .parquet file or a folder of them")
    if path.is_file():
        return {"train": [path]}
    found = (f for f in path.rglob("*.parquet") if not f.is_dir())  # Spark makes folders of that name
    files = sorted(f for f in found if not any(p.startswith(".") for p in f.relative_to(path).parts))
    if not files:
        raise UserError(f"parquet: {path} holds no .parquet file")
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(path)), []).append(file)
    if list(by_split) == [None]:
        return {"train": files}
    if None in by_split:
        raise UserError(f"parquet: {by_split[None][0]} is of no split, name it train-*.parquet or test-*.parquet")
    if "train" not in by_split:
        raise UserError(f"parquet: {path} has no training split, name its files train-*.parquet")
    test = next((s for s in SPLITS[1:] if s in by_split), None)
    return {"train": by_split["train"]} | ({"test": by_split[test]} if test else {})


def _split_of(file: Path) -> str | None:
    """The split that a file's name, or else a folder above it, begins with."""
    for part in (file.stem, *reversed(file.parent.parts)):
        found = re.match(rf"({'|'.join(SPLITS)})(?![a-z])", part.lower())
        if found:
            return found[1]
    return None


def _common_layout(files: list[Path]) -> Layout:
    layouts = [_layout(file) for file in files]
    for file, layout in zip(files, layouts, strict=True):
        if layout != layouts[0]:
            raise UserError(f"parquet: the columns or class names of {file} differ from those of {files[0]}")
    return layouts[0]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"parquet: {file} cannot be read as Parquet ({str(error).splitlines()[0]})") from None


def _layout(file: Path) -> Layout:
    with _open(file) as opened:
        schema = opened.schema_arrow
    features = _features(schema)
    declared = {name: str(f["_type"]) for name, f in features.items() if "_type" in f}
    images = [name for name in schema.names if declared.get(name) == "Image"]
    images = images or [field.name for field in schema if _holds_bytes(field.type)]
    if len(images) > 1:
        images = [name for name in IMAGE_NAMES if name in images] or images
    if not images:
        raise UserError(f"parquet: {file} has no column of encoded images (binary), only {', '.join(schema.names)}")
    names = [n for n in LABEL_NAMES if n in schema.names]
    names += [n for n in schema.names if declared.get(n) == "ClassLabel" and n not in names]
    for name in (images[0], *names):
        if (count := schema.names.count(name)) > 1:
            raise UserError(f"parquet: {file} has {count} columns named {name}: rename or remove all but one")
    kinds = {name: schema.field(name).type for name in names}
    labels = tuple((n, kind, _class_names(features.get(n, {}))) for n in names if (kind := _label_kind(kinds[n])))
    if not labels:
        _refuse_labels(file, schema, kinds)
    return Layout(images[0], labels)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's metadata says of each column; metadata that cannot be read counts as none."""
    try:
        node = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        return {}
    for name in ("info", "features"):
        node = node.get(name) if isinstance(node, dict) else None
    return {name: f for name, f in node.items() if isinstance(f, dict)} if isinstance(node, dict) else {}


def _class_names(feature: dict[str, Any]) -> tuple[str, ...]:
    names = feature.get("names")
    return tuple(names) if isinstance(names, list) and all(isinstance(n, str) for n in names) else ()


def _refuse_labels(file: Path, schema: pa.Schema, kinds: dict[str, pa.DataType]) -> NoReturn:
    for name, kind in kinds.items():
        raise UserError(f"parquet: {file}: the labels in {name} are of type {kind}, they must be whole numbers or text")
    raise UserError(
        f"parquet: {file} has no label column among {', '.join(schema.names)}: "
        "name one label, or two fine_label and coarse_label"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_kind(kind: pa.DataType) -> str:
    """ "number", "text", or "" for a column that holds no labels."""
    if pa.types.is_dictionary(kind):
        return _label_kind(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "number" if pa.types.is_integer(kind) else ""


def _label_column(splits: dict[str, list[Path]], column: str, kind: str, names: tuple[str, ...]) -> LabelColumn:
    """Numbers without class names are named by themselves; texts are their own names."""
    values = {split: np.concatenate([_label_values(f, column, kind) for f in files]) for split, files in splits.items()}
    if names and kind == "number":
        for split, labels in values.items():
            if len(labels) and labels.max() >= len(names):
                raise UserError(
                    f"parquet: {column} {labels.max()} in the {split} split has no name, there are {len(names)}"
                )
        return LabelColumn(names, {split: labels.astype(np.int64) for split, labels in values.items()})
    known = np.unique(np.concatenate(list(values.values())))
    found = {split: np.searchsorted(known, labels).astype(np.int64) for split, labels in values.items()}
    return LabelColumn(tuple(str(k) for k in known), found)


def _label_values(file: Path, column: str, kind: str) -> NDArray:
    """The labels of one file as int64 or text, without nulls, negative and too large numbers."""
    with _open(file) as opened:
        try:
            values = opened.read(columns=[column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"parquet: {file} is damaged ({str(error).splitlines()[0]})") from None
    if values.null_count:
        row = values.is_null().to_pylist().index(True)
        raise UserError(f"parquet: {file}, row {row}: {column} is null, every image needs a label")
    try:
        labels = values.cast(pa.int64() if kind == "number" else pa.large_string()).to_numpy()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(
            f"parquet: {file}: the labels in {column} cannot be read: {str(error).splitlines()[0]}"
        ) from None
    if kind == "text":
        return labels.astype(np.str_)
    if len(labels) and labels.min() < 0:
        row = int(np.argmax(labels < 0))
        raise UserError(f"parquet: {file}, row {row}: {column} is {labels[row]}, labels count from 0")
    return labels


def _is_superclass(coarse: LabelColumn, fine: LabelColumn) -> bool:
    """Whether every fine class has one coarse label, over all splits."""
    pairs = [np.stack((fine.splits[s], coarse.splits[s]), 1) for s in fine.splits]
    distinct = np.unique(np.concatenate(pairs), axis=0)
    return len(distinct) == len(np.unique(distinct[:, 0])) and len(coarse.names) < len(fine.names)


def _read_images(files: list[Path], column: str, rows: Rows) -> Iterator[list[Encoded]]:
    """The encoded images at ascending `rows` of all files together, one row group at a time; others are not read."""
    start = 0
    for file in files:
        with _open(file) as opened:
            offset = start
            for group in range(opened.metadata.num_row_groups):
                end = start + opened.metadata.row_group(group).num_rows
                inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
                if len(inside):
                    yield _read_group(opened, file, group, column, inside - start, start - offset)
                start = end


def _read_group(opened: pq.ParquetFile, file: Path, group: int, column: str, rows: Rows, offset: int) -> list[Encoded]:
    is_struct = pa.types.is_struct(opened.schema_arrow.field(column).type)
    try:
        table = opened.read_row_group(group, columns=[f"{column}.bytes" if is_struct else column])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"parquet: {file} is damaged ({str(error).splitlines()[0]})") from None
    values = table.column(0).take(pa.array(rows)).to_pylist()
    encoded = list[Encoded]()
    for row, value in zip(rows + offset, values, strict=True):
        image = value["bytes"] if is_struct and value is not None else value
        if image is None:
            raise UserError(f"parquet: {file}, row {row}: the image is null, its bytes must stand in the file")
        encoded.append((f"parquet: {file}, row {row}", image))
    return encoded
