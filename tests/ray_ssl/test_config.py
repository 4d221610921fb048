"""Configurations: exact round trips, one-line refusals, and a key that changes with every number."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_ssl.config import OptimiserConfig, PretrainConfig, replace, trial_key
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module, plugin_names


def all_options(config: PretrainConfig) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in config.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return flat


@given(
    epochs=st.integers(1, 5000),
    rate=st.floats(1e-8, 1e8, allow_nan=False),
    seed=st.integers(0, 2**40),
    method=st.sampled_from(plugin_names("ray_ssl.methods")),
    low=st.floats(0.01, 0.5),
)
@settings(max_examples=50, deadline=None)
def test_json_round_trips_exactly(epochs: int, rate: float, seed: int, method: str, low: float) -> None:
    changes = {"training.epochs": epochs, "optimiser.learning_rate": rate, "seed": seed, "views.crop_scale": [low, 1]}
    config = replace(PretrainConfig.from_dict({"method": {"name": method}}), changes)
    again = PretrainConfig.from_json(config.to_json())
    assert again == config
    assert again.to_json() == config.to_json()
    assert type(again.method) is plugin_module("ray_ssl.methods", method).Config


def test_every_option_but_the_data_changes_the_key() -> None:
    base = PretrainConfig()
    other = {
        "views.crop_scale": [0.2, 1.0], "views.crop_ratio": [0.9, 1.1], "views.blur_sigma": [0.2, 2.0],
        "backbone.pool": "flatten", "optimiser.optimiser": "lars", "training.precision": "fp32",
        "training.train_domains": "source",
        "num_workers": 2, "seed": 1,
    }  # fmt: skip
    keys = {trial_key(base, "x")}
    options = [path for path in all_options(base) if not path.startswith("data.") and not path.endswith(".name")]
    for path in options:
        old = all_options(base)[path]
        new = other.get(path)
        if new is None:
            new = old * 2 if isinstance(old, int) else (old or 0.4) / 2  # type: ignore[operator]
        keys.add(trial_key(replace(base, {path: new}), "x"))
    assert len(keys) == len(options) + 1


def test_the_data_enters_the_key_by_content_not_by_path() -> None:
    here = PretrainConfig.from_dict({"data": {"dataset": "parquet:/a"}})
    there = PretrainConfig.from_dict({"data": {"dataset": "parquet:/b"}})
    assert trial_key(here, "same") == trial_key(there, "same")
    assert trial_key(here, "same") != trial_key(here, "other")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainin": {}}, "unknown option 'trainin'; did you mean 'training'?"),
        ({"training": {"epoch": 3}}, "unknown option 'training.epoch'; did you mean 'epochs'?"),
        ({"method": {"name": "vicregg"}}, "unknown method 'vicregg'; did you mean 'vicreg'?"),
        ({"method": {"name": "vicreg", "invariance": 3}}, "did you mean 'invariance_weight'?"),
        ({"backbone": {"name": "res_lh", "dept": 3}}, "did you mean 'depth'?"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"epochs": "3"}}, "training.epochs"),
        ({"training": {"epochs": True}}, "training.epochs"),
        ({"optimiser": {"learning_rate": float("nan")}}, "learning_rate"),
        ({"views": {"crop_scale": [0.5, 0.2]}}, "from small to large"),
        ({"num_workers": 3}, "cannot be split evenly"),
        ({"data": {"dataset": "cifar"}}, "unknown dataset 'cifar'"),
        ({"data": {"dataset": "parquet"}}, "parquet needs a path: parquet:PATH"),
        ({"data": {"dataset": "shapes:x"}}, "shapes takes no path"),
        ([], "configuration"),
    ],
)
def test_bad_values_are_refused_in_one_line(values: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        PretrainConfig.from_json(json.dumps(values))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training": {"epochs": 0}}, "training.epochs takes a whole number of at least 1, given 0"),
        (
            {"training": {"epochs": 2**31}},
            "training.epochs takes a whole number from 1 to 2147483647, given 2147483648",
        ),
        ({"training": {"epochs": "3"}}, "training.epochs takes a whole number of at least 1, given '3'"),
        ({"training": {"epochs": 2.5}}, "training.epochs takes a whole number of at least 1, given 2.5"),
        ({"training": {"precision": "fp16"}}, "training.precision takes one of auto, bf16, fp32, given 'fp16'"),
        ({"training": 3}, "training takes options by name, each with its value, given 3"),
        ({"data": {"num_images": 0}}, "data.num_images takes a whole number of at least 1, given 0"),
        ({"data": {"dataset": 1}}, "data.dataset takes text, given 1"),
        ({"views": {"hue": 0.6}}, "views.hue takes a number from 0 to 0.5, given 0.6"),
        ({"views": {"crop_scale": [0.5]}}, "views.crop_scale takes 2 values, each a number from 0 to 1, given [0.5]"),
        ({"views": {"blur_sigma": [0, 1]}}, "views.blur_sigma takes 2 values, each a number above 0, given 0"),
        ({"optimiser": {"momentum": 1}}, "optimiser.momentum takes a number of at least 0 and below 1, given 1"),
        ({"method": {"name": "supervised", "augment": 1}}, "method.augment takes true or false, given 1"),
        ({"method": {"name": "simclr", "temperature": 0}}, "method.temperature takes a number above 0, given 0"),
        ({"backbone": 3}, 'backbone: needs a "name", one of res_lh, resnet18, resnet50, vit; given 3'),
        ({"seed": -1}, "seed takes a whole number of at least 0, given -1"),
        ({"seed": list(range(99))}, "seed takes a whole number of at least 0, given [0, 1, 2"),
        ([], "the configuration takes options by name, each with its value, given []"),
    ],
)
def test_what_an_option_takes_is_said_in_words(values: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        PretrainConfig.from_json(json.dumps(values))
    assert str(caught.value).startswith(message) and len(str(caught.value)) < 200


@pytest.mark.parametrize("name", plugin_names("ray_ssl.methods"))
def test_no_option_is_refused_in_the_words_of_a_library(name: str) -> None:
    base = PretrainConfig.from_dict({"method": {"name": name}})
    said = []
    for path in all_options(base):
        for wrong in (None, True, -(10**30), 10**30, 0.123, "?", [], {"?": 1}):
            try:
                replace(base, {path: wrong})
            except UserError as error:
                said.append(str(error))
    assert len(said) > 100
    for one in said:
        assert not re.search(r"\b(input|valid|string|integer|float|dictionary|object)\b", one), one


def test_what_is_not_json_is_said() -> None:
    with pytest.raises(
        UserError, match=r"^the configuration is not JSON: EOF .* line 1 column 9; given '\{\"seed\": '$"
    ):
        PretrainConfig.from_json('{"seed": ')


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PretrainConfig().seed = 3  # type: ignore[misc]


def test_rates_of_one_optimiser_are_not_taken_for_another() -> None:
    own = PretrainConfig.from_dict({"method": {"name": "byol"}}).optimiser
    assert (own.optimiser, own.learning_rate) == ("lars", 0.5)
    with pytest.raises(UserError, match="learning rate of byol is meant for lars: --optimiser adamw needs"):
        PretrainConfig.from_dict({"method": {"name": "byol"}, "optimiser": {"optimiser": "adamw"}})
    with pytest.raises(UserError, match="learning rate of vicreg is meant for sgd"):
        PretrainConfig.from_dict({"optimiser": {"optimiser": "lars"}})
    given = {"optimiser": "adamw", "learning_rate": 0.001}
    config = PretrainConfig.from_dict({"method": {"name": "byol"}, "optimiser": given})
    assert config.optimiser.weight_decay == OptimiserConfig().weight_decay
    assert PretrainConfig.from_json(config.to_json()) == config
