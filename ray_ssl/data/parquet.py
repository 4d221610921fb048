"""parquet:PATH: one Parquet file or a folder of them in Hugging Face's image layout, on a disk or an object store."""

import json
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ray_ssl.data.base import UNLABELLED, Dataset
from ray_ssl.data.decode import EncodedSplit, Labels, build_dataset
from ray_ssl.data.parquet_files import File, damaged, encoded_images, identity, open_file, row_groups, split_files
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError

# Recognised without metadata; in the order in which the finer one is chosen where two have as many classes.
LABEL_NAMES: Final = (
    "fine_label", "fine_labels", "label", "labels", "class", "coarse_label", "coarse_labels", "superclass"
)  # fmt: skip
IMAGE_NAMES: Final = ("image", "img", "images")


class Layout(NamedTuple):
    """Where images and labels stand in a file; all files of a data set share one."""

    image: str
    labels: tuple[tuple[str, str, tuple[str, ...]], ...]
    """column, "number" or "text", and the class names of the metadata (empty where it has none)"""


class LabelColumn(NamedTuple):
    """One label column of all splits, read and checked."""

    names: tuple[str, ...]
    splits: dict[str, Labels]


def load(config: DataConfig, needs_labels: bool = True) -> Dataset:
    """Returns the images and labels at `config.path`; of a subset only the chosen rows are decoded.

    The split is read from file names (train-*, test-*, validation-*) or from sub-folders named so. The label
    column with the most classes is the fine one; another one is the superclass where it is a function of it.

    Args:
        config: Of this source.
        needs_labels: Else there may be no label column, and a label may be null or -1.

    Raises:
        UserError: No such path, not Parquet, no image or label column, or two of one name, files that differ, a
            null, negative or too large label, a null or damaged image (named by file and row, counted from 0).
    """
    name, splits = split_files(config.path)
    layout = _common_layout([file for files in splits.values() for file in files], needs_labels)
    columns = [_label_column(splits, *label, needs_labels) for label in layout.labels] or [_no_labels(splits)]
    fine, *others = sorted(columns, key=lambda c: -len(c.names))
    coarse = next((c for c in others if _is_superclass(c, fine)), None)

    def encoded(split: str) -> EncodedSplit:
        groups = row_groups(splits[split])
        return EncodedSplit(
            fine.splits[split],
            fine.names,
            None if coarse is None else coarse.splits[split],
            coarse.names if coarse else (),
            lambda rows: encoded_images(groups, layout.image, rows),
            np.array([group.num_rows for group in groups], np.int64),
            lambda: identity(splits[split]),
        )

    return build_dataset(name, encoded("train"), encoded("test") if "test" in splits else None, config)


def _no_labels(splits: dict[str, list[File]]) -> LabelColumn:
    sizes = {split: sum(group.num_rows for group in row_groups(files)) for split, files in splits.items()}
    return LabelColumn((), {split: np.full(size, UNLABELLED) for split, size in sizes.items()})


def _common_layout(files: list[File], needs_labels: bool) -> Layout:
    layouts = [_layout(file, needs_labels) for file in files]
    for file, layout in zip(files, layouts, strict=True):
        if layout != layouts[0]:
            raise UserError(f"parquet: the columns or class names of {file} differ from those of {files[0]}")
    return layouts[0]


def _layout(file: File, needs_labels: bool) -> Layout:
    with open_file(file) as opened:
        schema, num_rows = opened.schema_arrow, opened.metadata.num_rows
    features = _features(schema)
    declared = {name: str(f["_type"]) for name, f in features.items() if "_type" in f}
    images = [name for name in schema.names if declared.get(name) == "Image"]
    images = images or [field.name for field in schema if _holds_bytes(field.type)]
    if len(images) > 1:
        images = [name for name in IMAGE_NAMES if name in images] or images
    if not images and not num_rows:  # columns of what pandas writes without rows have no type
        raise UserError(f"parquet: {file} has no rows: at least 1 image is needed")
    if not images:
        raise UserError(f"parquet: {file} has no column of encoded images (binary), only {', '.join(schema.names)}")
    names = [n for n in LABEL_NAMES if n in schema.names]
    names += [n for n in schema.names if declared.get(n) == "ClassLabel" and n not in names]
    for name in (images[0], *names):
        if (count := schema.names.count(name)) > 1:
            raise UserError(f"parquet: {file} has {count} columns named {name}: rename or remove all but one")
    kinds = {name: schema.field(name).type for name in names}
    labels = tuple((n, kind, _class_names(features.get(n, {}))) for n in names if (kind := _label_kind(kinds[n])))
    if not labels and (needs_labels or not all(map(pa.types.is_null, kinds.values()))):
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


def _refuse_labels(file: File, schema: pa.Schema, kinds: dict[str, pa.DataType]) -> NoReturn:
    for name, kind in kinds.items():
        hint = (
            '; pandas makes these of whole numbers with nulls: .astype("Int64")' if pa.types.is_floating(kind) else ""
        )
        raise UserError(
            f"parquet: {file}: the labels in {name} are of type {kind}, they must be whole numbers or text{hint}"
        )
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


def _label_column(
    splits: dict[str, list[File]], column: str, kind: str, names: tuple[str, ...], needs_labels: bool
) -> LabelColumn:
    """Numbers without class names are named by themselves; texts are their own names."""
    values, there = dict[str, NDArray](), dict[str, NDArray[np.bool_]]()
    for split, files in splits.items():
        of_files = [_label_values(file, column, kind, needs_labels) for file in files]
        values[split], there[split] = (np.concatenate(parts) for parts in zip(*of_files, strict=True))
    if names and kind == "number":
        for split, labels in values.items():
            if len(labels) and labels.max() >= len(names):
                raise UserError(
                    f"parquet: {column} {labels.max()} in the {split} split has no name, there are {len(names)}"
                )
        return LabelColumn(names, {s: np.where(there[s], labels, UNLABELLED) for s, labels in values.items()})
    known = np.unique(np.concatenate([labels[there[split]] for split, labels in values.items()]))
    found = {s: np.where(there[s], np.searchsorted(known, labels), UNLABELLED) for s, labels in values.items()}
    return LabelColumn(tuple(str(k) for k in known), found)


def _label_values(file: File, column: str, kind: str, needs_labels: bool) -> tuple[NDArray, NDArray[np.bool_]]:
    """The labels of one file as int64 or text, without negative and too large numbers, and where there is one."""
    with open_file(file) as opened:
        try:
            values = opened.read(columns=[column]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise damaged(file, error) from None
    there = values.is_valid().to_numpy()
    if needs_labels and values.null_count:
        row = values.is_null().to_pylist().index(True)
        raise UserError(f"parquet: {file}, row {row}: {column} is null, every image needs a label")
    try:
        labels = values.cast(pa.int64() if kind == "number" else pa.large_string())
        labels = labels.fill_null(UNLABELLED if kind == "number" else "").to_numpy()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(
            f"parquet: {file}: the labels in {column} cannot be read: {str(error).splitlines()[0]}"
        ) from None
    if kind == "text":
        return labels.astype(np.str_), there
    if not needs_labels:
        there &= labels != UNLABELLED
    if len(labels) and labels.min(where=there, initial=0) < 0:
        row = int(np.argmax((labels < 0) & there))
        raise UserError(f"parquet: {file}, row {row}: {column} is {labels[row]}, labels count from 0")
    return labels, there


def _is_superclass(coarse: LabelColumn, fine: LabelColumn) -> bool:
    """Whether every fine class has one coarse label, over all splits."""
    pairs = [np.stack((fine.splits[s], coarse.splits[s]), 1) for s in fine.splits]
    distinct = np.unique(np.concatenate(pairs), axis=0)
    return len(distinct) == len(np.unique(distinct[:, 0])) and len(coarse.names) < len(fine.names)
