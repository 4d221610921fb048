"""Source and target domains with shared labels, in both splits of one `Dataset`: what the option `shift` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ray_ssl.data import shapes
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED, Dataset, ImageSet, balanced_rows, strata_of
from ray_ssl.data.corruptions import corrupt
from ray_ssl.data.decode import TooManyError, check_count
from ray_ssl.data.shape_outlines import FINE_NAMES
from ray_ssl.data.streamed import StreamedSet
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError, did_you_mean
from ray_ssl.rng import numpy_stream
from ray_ssl.shift import Shift, parse_shift

Labels = NDArray[np.int64]

EXTRA_NAME: Final = "extra"
_SPLITS: Final = {"train": "training", "test": "test"}
"""Words for the splits."""
_LEFT_OUT: Final = -2
"""Not `UNLABELLED`: of another class than those that are taken."""


class Loader(Protocol):
    """Loads a set without a shift; see `load_dataset`."""

    def __call__(self, config: DataConfig, needs_labels: bool = True) -> Dataset: ...


class _Shifted(NamedTuple):
    """As of `Dataset`, before some training images become extra ones."""

    name: str
    train: ImageSet
    test: ImageSet
    note: str


def load_shifted(config: DataConfig, load: Loader) -> Dataset:
    """Returns source and target of `config.shift`, and `config.num_extra` more training images of both.

    `num_images` and `num_test_images` count the images of both domains together. Which are taken, and which are extra,
    is balanced over classes and domains.

    Args:
        config: With a shift.
        load: Gives a set without one.

    Raises:
        UserError: What `load` finds wrong, a shift that the set does not allow, no common class, a domain without
            images, more extra images than there are.
    """
    shift = parse_shift(config.shift)
    make = {"domains": _drawn, "subpopulations": _subpopulations, "to": _two_sets}.get(shift.kind, _corrupted)
    try:
        name, train, test, note = make(config, shift, load)
    except TooManyError as error:
        raise of_extra(error, config) from None
    if config.num_extra:
        names = (*train.domain_names, EXTRA_NAME)
        train = replace(train, domain=_with_extra(train, config), domain_names=names)
        test = replace(test, domain_names=names)
    for split, images in (("train", train), ("test", test)):
        _check_domains(images, _SPLITS[split], config)
    return Dataset(name, train, test, note=note)


def of_extra(error: TooManyError, config: DataConfig) -> UserError:
    """Returns the error, where images were asked for as one number, in terms of the two that it is the sum of."""
    if config.num_images is None or not config.num_extra or error.option != "num_images":
        return error
    if config.num_images > error.available:
        return TooManyError("num_images", config.num_images, error.available)
    return UserError(
        f"--num-extra {config.num_extra} is too many: there are {error.available} training images in all, --num-images "
        f"{config.num_images} leaves {error.available - config.num_images}"
    )


def _num_train(config: DataConfig) -> int | None:
    """Images of all domains of the training split, where a number is asked for."""
    return None if config.num_images is None else config.num_images + config.num_extra


def _drawn(config: DataConfig, shift: Shift, load: Loader) -> _Shifted:
    """Shapes: source photo, target sketch."""
    classes = shift.classes or FINE_NAMES
    for name in classes:
        if name not in FINE_NAMES:
            raise UserError(f"--shift {config.shift}: no shape {name!r}{did_you_mean(name, FINE_NAMES)}")
    both = config.model_copy(update={"shapes_domain": "both"})

    def split(name: str, num_images: int) -> ImageSet:
        drawn = shapes.draw(both, name, num_images, classes)
        if shift.classes:  # which need not be of several superclasses
            drawn = replace(drawn, coarse=None, coarse_names=())
        return replace(drawn, domain=np.arange(num_images) // len(classes) % 2, domain_names=("photo", "sketch"))

    num_train = _num_train(config) or shapes.DEFAULT_NUM_IMAGES + config.num_extra
    num_test = config.num_test_images or shapes.DEFAULT_NUM_TEST_IMAGES
    note = f"source photo, target sketch, of {len(classes)} classes"
    return _Shifted("shapes-photo-to-sketch", split("train", num_train), split("test", num_test), note)


def _subpopulations(config: DataConfig, shift: Shift, load: Loader) -> _Shifted:
    """Any set with superclasses, which become its labels: source and target have different classes of each."""
    plain, train, test = _in_memory(config, load)
    if train.coarse is None or test.coarse is None:
        raise UserError(f"--shift subpopulations: {plain} has no superclasses, whose classes it divides")
    domain_of, note = np.full(len(train.fine_names), SOURCE), list[str]()
    rng = numpy_stream(config.data_seed, "shift/subpopulations")
    pairs = np.unique(np.stack((train.coarse, train.fine), 1), axis=0)
    for label, name in enumerate(train.coarse_names):
        classes = rng.permutation(pairs[pairs[:, 0] == label, 1])
        if len(classes) < 2:
            raise UserError(
                f"--shift subpopulations: superclass {name!r} has images of {len(classes)} class, a source and a "
                "target need at least 2"
            )
        target = classes[(len(classes) + 1) // 2 :]  # the smaller half
        domain_of[target] = TARGET
        note.append(f"{name}: {_listed(train, classes[: -len(target)])} | {_listed(train, target)}")

    def split(images: ImageSet) -> ImageSet:
        assert images.coarse is not None
        return ImageSet(
            images.images, images.coarse, images.coarse_names,
            domain=domain_of[images.fine], domain_names=("source", "target"),
        )  # fmt: skip

    name = f"{plain}-subpopulations"
    return _Shifted(name, split(train), split(test), "\n".join(("classes of source | target", *note)))


def _listed(images: ImageSet, classes: Labels) -> str:
    return ", ".join(images.fine_names[c] for c in sorted(classes))


def _corrupted(config: DataConfig, shift: Shift, load: Loader) -> _Shifted:
    """Any set: half of each class is source, the other half, changed, is target: no image is in both."""
    plain, train, test = _in_memory(config, load)

    def split(images: ImageSet, name: str) -> ImageSet:
        domain = _halves(images.fine, config.data_seed, name)
        if not np.any(domain == TARGET):
            option = "--num-images" if name == "train" else "--num-test-images"
            raise UserError(
                f"--shift {config.shift}: the target would have no {_SPLITS[name]} image of {plain}, for it is half of "
                f"the images of each class, rounded down, and each has 1 at most: give at least 2 of a class, by more "
                f"images or a larger {option}"
            )
        pixels, target = images.images.copy(), domain == TARGET
        pixels[target] = corrupt(pixels[target], shift.kind, shift.strength, config.data_seed)
        if shift.strength > 0 and np.array_equal(pixels, images.images):
            raise UserError(f"--shift {config.shift} changes no pixel of {plain}: give a larger strength")
        return replace(images, images=pixels, domain=domain, domain_names=("original", config.shift))

    note = f"half of the images of each class are source, the others, with {config.shift}, target"
    return _Shifted(f"{plain}-{config.shift}", split(train, "train"), split(test, "test"), note)


def _halves(fine: Labels, seed: int, split: str) -> Labels:
    """Domain int64 [N]: a random half of each class is target, of an odd number the smaller one."""
    order = numpy_stream(seed, f"shift/halves/{split}").permutation(len(fine))
    domain = np.full(len(fine), SOURCE)
    for label in np.unique(fine):
        domain[order[fine[order] == label][1::2]] = TARGET
    return domain


def _in_memory(config: DataConfig, load: Loader) -> tuple[str, ImageSet, ImageSet]:
    """Name and splits of the one set of a configuration without its shift."""
    (plain,) = config.sets()
    num_images = _num_train(config)
    if num_images is None and config.source == "shapes":
        num_images = shapes.DEFAULT_NUM_IMAGES + config.num_extra
    dataset = load(plain.model_copy(update={"num_images": num_images}))
    assert isinstance(dataset.train, ImageSet)
    assert isinstance(dataset.test, ImageSet)
    return dataset.name, dataset.train, dataset.test


def _two_sets(config: DataConfig, shift: Shift, load: Loader) -> _Shifted:
    """Two sets: images of the classes that both have, by name; only what is taken is decoded.

    Where training images of the target have no label, their classes are not known: all of the source are taken.
    """
    whole = {"num_images": None, "num_test_images": None}
    plain = [set_.model_copy(update=whole | {"stream": bool(set_.path)}) for set_ in config.sets()]
    source, target = load(plain[0]), load(plain[1], needs_labels=False)
    if plain[0].dataset == plain[1].dataset:
        raise UserError(f"--shift {config.shift}: source and target are the same images, {source.name}")
    names = [_occurring(dataset) for dataset in (source, target)]
    num_unknown = int((target.train.fine == UNLABELLED).sum())
    common = names[0] if num_unknown else [name for name in names[0] if name in set(names[1])]
    if num_unknown and len(common) == 1:
        raise UserError(f"--shift {config.shift}: {source.name} has one class, {common[0]}, at least 2 are needed")
    if alike := [] if num_unknown else _alike_but_for_case(*(sorted(set(n) - set(common)) for n in names)):
        raise UserError(
            f"--shift {config.shift}: classes of {source.name} and {target.name} are the same but for upper and lower "
            f"case: {_few(alike)}: name them alike"
        )
    if not common:
        nested = any("/" in name for one in names for name in one)
        hint = "; of folders DOMAIN/CLASS give one domain, e.g. folder:PATH/DOMAIN" if nested else ""
        raise UserError(
            f"--shift {config.shift}: {source.name} and {target.name} have no class in common: {_few(names[0])}; "
            f"{_few(names[1])}{hint}"
        )
    if len(common) == 1:
        raise UserError(
            f"--shift {config.shift}: {source.name} and {target.name} have one class in common, {common[0]}, at least "
            f"2 are needed: {_few(names[0])}; {_few(names[1])}"
        )
    left_out = [f"{len(set(n) - set(common))} of {d.name}" for d, n in zip((source, target), names, strict=True)]
    matched = f"{len(common)} classes in common, left out are " + " and ".join(left_out)
    if num_unknown:
        matched = (
            f"{num_unknown} of its {len(target.train)} training images have no label, so that classes are not matched: "
            "all of the source are taken"
        )
    domain_names = (source.name, target.name if target.name != source.name else f"{target.name} (target)")
    coarse_of = _superclasses(source, common)

    def split(parts: Sequence[ImageSet | StreamedSet], option: str, asked: int | None) -> ImageSet:
        images, fine, domain = _joined(parts, common, option, asked, config.data_seed)
        coarse, coarse_names = None, ()
        if coarse_of is not None:
            coarse = np.where(fine == UNLABELLED, UNLABELLED, coarse_of[fine])
            coarse_names = source.train.coarse_names
        return ImageSet(images, fine, tuple(common), coarse, coarse_names, domain=domain, domain_names=domain_names)

    return _Shifted(
        f"{source.name}-to-{target.name}",
        split((source.train, target.train), "num_images", _num_train(config)),
        split((source.test, target.test), "num_test_images", config.num_test_images),
        f"source {source.name}, target {target.name}: {matched}",
    )


def _alike_but_for_case(source: Sequence[str], target: Sequence[str]) -> list[str]:
    """Returns "cat and Cat" of each name of the one that the other has in other letters."""
    known = {name.casefold(): name for name in target}
    return [f"{name} and {known[name.casefold()]}" for name in source if name.casefold() in known]


def _joined(
    parts: Sequence[ImageSet | StreamedSet], classes: Sequence[str], option: str, asked: int | None, seed: int
) -> tuple[NDArray[np.uint8], Labels, Labels]:
    """Images [N, H, W, 3], labels [N] (by `classes`) and domains [N] of source and target, the source first."""
    rows, fine = list[Labels](), list[Labels]()
    known = {name: label for label, name in enumerate(classes)}
    for part in parts:
        of_label = [*(known.get(name, _LEFT_OUT) for name in part.fine_names), UNLABELLED]  # which is the last: at -1
        labels = np.array(of_label, np.int64)[part.fine]
        rows.append(np.flatnonzero(labels != _LEFT_OUT))
        fine.append(labels[rows[-1]])
    domain = np.repeat([SOURCE, TARGET], [len(labels) for labels in fine])
    every = np.concatenate(fine)
    check_count(option, asked, len(every))
    strata = strata_of(every, domain, len(classes))
    chosen = np.arange(len(every)) if asked is None else balanced_rows(strata, asked, seed)
    taken = [part.take(rows[d][chosen[domain[chosen] == d] - d * len(rows[0])]) for d, part in enumerate(parts)]
    return np.concatenate([images.images for images in taken]), every[chosen], domain[chosen]


def _occurring(dataset: Dataset) -> list[str]:
    """Names of the classes that have training images."""
    return [dataset.train.fine_names[label] for label in np.unique(dataset.train.fine) if label != UNLABELLED]


def _superclasses(source: Dataset, classes: Sequence[str]) -> Labels | None:
    """The source's superclass of each class, int64 [len(classes)], or None where it has none."""
    if source.train.coarse is None:
        return None
    fine, first = np.unique(source.train.fine, return_index=True)
    coarse = {source.train.fine_names[f]: int(source.train.coarse[row]) for f, row in zip(fine, first, strict=True)}
    return np.array([coarse[name] for name in classes], np.int64)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _with_extra(train: ImageSet, config: DataConfig) -> Labels:
    """The domains of the training images, `config.num_extra` of which become extra ones."""
    assert train.domain is not None
    num_others = len(train) - config.num_extra
    if num_others < 1:
        raise UserError(f"--num-extra {config.num_extra} is too many: there are {len(train)} training images in all")
    kept = balanced_rows(train.strata, num_others, config.data_seed)
    domain = np.full(len(train), EXTRA)
    domain[kept] = train.domain[kept]
    return domain


def _check_domains(images: ImageSet, split: str, config: DataConfig) -> None:
    assert images.domain is not None
    for domain, role in ((SOURCE, "source"), (TARGET, "target")):
        if not np.any(images.domain == domain):
            raise UserError(
                f"--shift {config.shift}: the {role} ({images.domain_names[domain]}) has none of the {len(images)} "
                f"{split} images"
            )
