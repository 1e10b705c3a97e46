"""Specs: what is accepted, and the one message that each mistake gets."""

from pathlib import Path
from typing import Any

import pytest

from kdsearch.errors import RequestError, SpecError
from kdsearch.spec import TEMPERATURE, load_spec, parse_levels, setup_key, spec_document

BASE: dict[str, Any] = {
    "name": "study",
    "setup": {"optimizer.name": ["sgd", "adamw"], "teacher.finetune.epochs": [2, 20]},
    "tune": {
        "objective.temperature": {"low": 1, "high": 40, "log": True},
        "optimizer.lr": {
            "by": "optimizer.name",
            "sgd": {"low": 0.01, "high": 1.0, "log": True},
            "adamw": {"low": 1e-4, "high": 1e-2, "log": True},
        },
    },
}


def problem(document: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(document, overrides=overrides)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def test_setups_are_all_combinations_and_ranges_follow_their_factor() -> None:
    spec = load_spec(BASE)
    assert [tuple(setup.values()) for setup in spec.setups()] == [
        ("sgd", 2),
        ("sgd", 20),
        ("adamw", 2),
        ("adamw", 20),
    ]
    highs = [spec.dimensions(setup)["optimizer.lr"].high for setup in spec.setups()]  # type: ignore[union-attr]
    assert highs == [1.0, 1.0, 0.01, 0.01]


def test_resolving_fills_in_levels_and_parameters() -> None:
    spec = load_spec(BASE)
    training = spec.resolve(spec.setups()[2], {TEMPERATURE: 7.0, "optimizer.lr": 0.003})
    assert (training.optimizer.name, training.objective.temperature) == ("adamw", 7.0)
    assert (training.optimizer.lr, training.teacher.finetune.epochs) == (0.003, 2)


def test_a_spec_survives_its_document() -> None:
    spec = load_spec(BASE)
    assert load_spec(spec_document(spec)) == spec


@pytest.mark.parametrize(("trials", "size"), [(160, 8), (32, 8), (24, 6), (25, 7), (16, 4), (8, 4), (1, 4)])
def test_a_pack_takes_no_more_than_a_setups_share_of_the_budget(trials: int, size: int) -> None:
    assert load_spec({**BASE, "search": {"trials": trials, "pack": 8}}).pack_size == size
    assert load_spec({**BASE, "search": {"trials": trials, "pack": 3}}).pack_size == 3


def test_a_recipe_may_be_a_level() -> None:
    recipe = {"dataset": "FashionMNIST", "epochs": 3}
    spec = load_spec(
        {
            **BASE,
            "setup": {"teacher.pretraining": ["none", recipe]},
            "tune": {TEMPERATURE: {"low": 1, "high": 40}},
        }
    )
    trained = spec.resolve(spec.setups()[1], {}).teacher.pretraining
    assert trained != "none"
    assert trained.epochs == 3
    assert setup_key(spec.setups()[1]) == '{"teacher.pretraining":{"dataset":"FashionMNIST","epochs":3}}'


@pytest.mark.parametrize(
    ("override", "path", "finding", "rule"),
    [
        ("optimizer.lrr=3", "`optimizer.lrr`", "not a known key", "Did you mean `lr`?"),
        ("optimizer.lr=fast", "`optimizer.lr`", "'fast'", "number"),
        ("training.epochs=2.5", "`training.epochs`", "2.5", "integer"),
        ("setup.optimizer.name=[]", "`setup.optimizer.name`", "[]", "must not be empty"),
        ("tune.optimizer.lr={low: 3, high: 1}", "`tune.optimizer.lr`", "3 and 1", "below `high`"),
        ("tune.training.batch_size={low: 1.5, high: 8, integer: true}", "`tune.training.batch_size`", "1.5", "whole"),
        ("tune.optimizer.momentum={low: 0, high: 2}", "`tune.optimizer.momentum.high`", "2.0", "less than 1"),
        ("tune.optimizer.weight_decay={choices: []}", "`tune.optimizer.weight_decay.choices`", "[]", "must not be empty"),
        ("tune.optimizer.weight_decay={choices: [-1]}", "`tune.optimizer.weight_decay.choices.0`", "-1", "greater"),
        ("tune.optimizer.lrr={low: 1, high: 2}", "`tune.optimizer.lrr`", "not a value", "`optimizer.lr`"),
        ("setup.objective.temperature=[1, 4]", "`tune.objective.temperature`", "also a factor", "one of the two"),
        ("student.arch=resnet9", "`student.arch`", "'resnet9'", "Did you mean 'resnet8'?"),
        ("student.arch=torchvision:resnet19", "`student.arch`", "'resnet19'", "Did you mean 'resnet18'?"),
        ("dataset.name=cifar10", "`dataset.name`", "'cifar10'", "Did you mean 'CIFAR10'?"),
        ("setup.optimizer.name=[sgd, adamm]", "`setup.optimizer.name.1`", "'adamm'", "Did you mean 'adam'?"),
        ("setup.optimizer.name=[sgd, adamw, sgd]", "`setup.optimizer.name`", "sgd again", "twice"),
        ("teacher.pretraining={chekpoint: x}", "`teacher.pretraining.chekpoint`", "not a known key", "`checkpoint`"),
        ("teacher.pretraining={weights: DEFAULT, lr: 0.1}", "`teacher.pretraining`", "beside `lr`", "needs `epochs`"),
        ("teacher.pretraining={weights: A, checkpoint: b}", "`teacher.pretraining`", "exactly one source", "NAME}"),
        ("student.init={epochs: 2, root: /data}", "`student.init`", "beside `root`", "needs a `dataset`"),
        ("objective.options={beta: 2}", "`objective`", "`options.beta`", "Known: student_temperature"),
        ("training.warmup_epochs=20", "`training`", "20 and 20", "below `epochs`"),
        ("name=a b", "`name`", "'a b'", "letters, digits"),
        ("optimizer.lr=true", "`optimizer.lr`", "True", "must be a number"),
        ("dataset.validation_size=true", "`dataset.validation_size`", "True", "must be a number"),
        ("search.trials='12'", "`search.trials`", "'12'", "must be a number"),
        ("search.trials=1" + 400 * "0", "`search.trials`", "10000", "less than"),
        ("search.stop.regret=0.5", "`search.stop.regret`", "0.5", "at most 0.1, ten points"),
        ("resources.gpus_per_pack=1.5", "`resources.gpus_per_pack`", "1.5", "a whole number of them"),
        ("objective={name: dkd, options: {beta: .nan}}", "`objective.options.beta`", "nan", "finite"),
        ("options.width={a: 1}", "`options.width`", "{'a': 1}", "a number or a text"),
        ("search.widen=optimizer.lr", "`search.widen`", "'optimizer.lr'", "must be true or false or a list"),
        ("setup.training.epochs=[1, 2, 1.0]", "`setup.training.epochs`", "1.0 again", "must not name a level twice"),
        ("setup.augment.flip=[false, 1]", "`setup.augment.flip.1`", "got 1", "must be true or false"),
        ("tune.augment.flip={choices: [0, true]}", "`tune.augment.flip.choices.0`", "got 0", "must be true or false"),
        ("setup.options.depth=[1, true]", "`setup.options.depth`", "1 and true", "levels that are equal"),
        ("setup.options.depth=[0.0, 0]", "`setup.options.depth`", "0.0 and 0", "levels that are equal"),
        ("tune.options.depth={choices: [1, 1.0, true]}", "`tune.options.depth.choices`", "1 and 1.0", "equal"),
        ("training.epochs=1:30", "`training.epochs`", "'1:30'", "must be a number"),
        ("augment.flip=off", "`augment.flip`", "'off'", "must be true or false"),
        ("augment.flip=1", "`augment.flip`", "got 1", "must be true or false"),
        ("optimizer.nesterov=0.0", "`optimizer.nesterov`", "got 0.0", "must be true or false"),
        ("search.widen=1", "`search.widen`", "got 1", "must be true or false or a list"),
        ("tune.objective.temperature={low: 1, high: 4, log: 1}", "`tune.objective.temperature.log`", "got 1", "true"),
        ("teacher.preprocessing={mean: [true], std: [0.5]}", "`teacher.preprocessing.mean.0`", "True", "a number"),
        ("search.widen=yes", "`search.widen`", "'yes'", "must be true or false or a list"),
        ("tune.objective.temperature={low: 1, high: 4, log: on}", "`tune.objective.temperature.log`", "'on'", "true"),
        ("objective={name: dkd, options: {beta: true}}", "`objective.options.beta`", "True", "must be a number"),
        ("setup.training.epochs=[10, many]", "`setup.training.epochs.1`", "'many'", "must be a number"),
        ("tune.objective.temperature={low: true, high: 4}", "`tune.objective.temperature.low`", "True", "a number"),
        ("tune.training.batch_size={low: 16, high: 64}", "`tune.training.batch_size`", "whole", "`integer: true`"),
        ("tune.optimizer.beta1={by: optimizer.name, sgd: {by: x}, adamw: {low: 0, high: 0.5}}",
         "`tune.optimizer.beta1.sgd`", "{'by': 'x'}", "a range or choices"),
        ("setup.search.pack=[4, 8]", "`setup.search.pack`", "whole study", "can't vary"),
        ("setup.trainer=[distill, own:train]", "`setup.trainer`", "whole study", "can't vary"),
        ("training.vary=[views, views]", "`training.vary`", "['views', 'views']", "must not name a luck twice"),
        ("training.vary=views", "`training.vary`", "'views'", "must be a list"),
        ("training.vary=[seed]", "`training.vary.0`", "'seed'", "must be 'views', 'order' or 'split'"),
        ("training.splits=1", "`training.splits`", "1", "greater than or equal to 2"),
        ("setup.training.vary=[[], [split]]", "`setup.training.vary`", "whole study", "can't vary"),
        ("name=007", "`name`", "got 7", "must be a text, got 7. Quote it"),
        ("setup.options.a.b=[1]", "`setup.options.a.b`", "not a value", "spec"),
    ],
)  # fmt: skip
def test_each_mistake_has_one_message(override: str, path: str, finding: str, rule: str) -> None:
    message = problem(BASE, override)
    assert message.startswith(path)
    assert finding in message
    assert rule in message


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "path",
    [
        *("tune.objective.temperature={low: 1, high: %}", "tune.optimizer.lr={low: %, high: 1}"),
        *("tune.options.width={low: 1, high: %}", "tune.optimizer.momentum={choices: [0.5, %]}"),
        *("setup.training.epochs=[2, %]", "dataset.train_size=%", "dataset.split_seed=%", "search.hours=%"),
        *("augment.color_jitter=%", "optimizer.momentum=%", "training.epochs=%", "options.width=%"),
        *("teacher.preprocessing={mean: [%], std: [0.5]}", "training.milestones=[%]", "training.splits=%"),
        "resources.gpus_per_pack=%",
    ],
)
def test_each_number_must_be_finite(path: str, number: str) -> None:
    assert "must be a finite number, got" in problem(BASE, path.replace("%", number))


@pytest.mark.parametrize(
    ("section", "path", "owners"),
    [
        ({"optimizer": {"name": "adam", "momentum": 0.5}}, "optimizer.momentum", "sgd, rmsprop"),
        (
            {"tune": {"optimizer.beta1": {"low": 0.5, "high": 0.9}}},
            "tune.optimizer.beta1",
            "adam, adamw, lion",
        ),
        (
            {"optimizer": {"name": "lion"}, "setup": {"optimizer.nesterov": [True, False]}},
            "setup.optimizer.nesterov",
            "sgd",
        ),
    ],
)
def test_what_no_optimizer_of_the_study_takes_is_a_mistake(
    section: dict[str, Any], path: str, owners: str
) -> None:
    temperature = {TEMPERATURE: {"low": 1, "high": 40, "log": True}}
    document = {"name": "s", **section, "tune": {**temperature, **section.get("tune", {})}}
    assert f"`{path}` does nothing: it belongs to {owners}" in problem(document)
    mixed = {**document, "setup": {**section.get("setup", {}), "optimizer.name": ["sgd", "adam"]}}
    load_spec(mixed)  # one of the two takes it
    load_spec({**document, "trainer": "own:train"})  # whatever a loop of one's own makes of it


@pytest.mark.parametrize(
    ("luck", "path"),
    [("split", "dataset.split_seed"), ("views", "training.view_seed"), ("order", "training.order_seed")],
)
def test_a_seed_is_a_factor_or_drawn(luck: str, path: str) -> None:
    message = problem(BASE, f"training.vary=[{luck}]", f"setup.{path}=[0, 1]")
    assert (
        message
        == f"`setup.{path}` is drawn for each pack, as `training.vary` has {luck}. Keep one of the two."
    )


@pytest.mark.parametrize(
    ("overrides", "allowed"),
    [
        (("search.trials=8", "search.trials=16"), False),
        (("setup.training.epochs=[1]", "setup.training.epochs=[2]"), False),
        (("teacher.finetune.epochs=3", "teacher.finetune={lr: 0.1}"), False),
        (("teacher.finetune={lr: 0.1}", "teacher.finetune.epochs=3"), True),
        (("setup.objective.options.beta=[1]", "setup.training.epochs=[2]"), True),
    ],
)
def test_no_override_replaces_another(overrides: tuple[str, str], allowed: bool) -> None:
    document = {**BASE, "setup": {}, "tune": {"objective.temperature": {"low": 1, "high": 40, "log": True}}}
    document["objective"] = {"name": "dkd"}
    if allowed:
        load_spec(document, overrides=overrides)
        return
    path = overrides[1].partition("=")[0]
    with pytest.raises(RequestError, match=f"`--set {path}` must not replace another: `.*` is set before it"):
        load_spec(document, overrides=overrides)


def test_a_draw_fixes_what_varies_and_nothing_else() -> None:
    spec = load_spec(
        BASE, overrides=["training.vary=[split, views]", "dataset.split_seed=5", "search.seed=3"]
    )
    plain, trained = spec.resolve(spec.setups()[0], {}), spec.resolve(spec.setups()[0], {}, 6)
    assert (trained.dataset.split_seed, trained.training.view_seed) == (5 + 6 % 4, 3_000_006)
    assert trained.with_values({"dataset.split_seed": 5, "training.view_seed": 0}) == plain
    assert (
        load_spec(BASE, overrides=["training.vary=[views, split]"]).training
        == load_spec(BASE, overrides=["training.vary=[split, views]"]).training
    )


def test_a_range_is_needed_for_each_level_of_its_factor() -> None:
    message = problem(BASE, "setup.optimizer.name=[sgd, adamw, adam]")
    assert message.startswith("`tune.optimizer.lr`")
    assert "adam" in message


def test_contradicting_levels_are_named_with_their_setup() -> None:
    message = problem(BASE, "setup.training.epochs=[2, 20]", "training.warmup_epochs=5")
    assert message.startswith("`training`")
    assert "training.epochs=2" in message


def test_a_range_whose_upper_end_is_impossible_is_a_mistake() -> None:
    document = {
        **BASE,
        "tune": {**BASE["tune"], "training.warmup_epochs": {"low": 1, "high": 22, "integer": True}},
    }
    message = problem(document, "training.epochs=10")
    assert message.startswith("`training`")
    assert "22" in message


def test_a_study_must_search_the_temperature() -> None:
    message = problem({**BASE, "tune": {"optimizer.weight_decay": {"low": 0, "high": 0.1}}})
    assert message.startswith("`tune.objective.temperature` is missing")


def test_messages_name_the_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "name: s\noptimizer:\n  name: sgd\n  learning_rate: 0.1\ntune: {objective.temperature: {low: 1, high: 9}}\n"
    )
    with pytest.raises(SpecError, match=r"`optimizer.learning_rate` \(line 4\) is not a known key"):
        load_spec(file)


def test_a_key_written_twice_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: s\noptimizer: {lr: 1.0}\noptimizer: {lr: 2.0}\n")
    with pytest.raises(SpecError, match=r"line 3: .*`optimizer` stands twice"):
        load_spec(file)


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("name: s\noptimizer: {lr: 1e-3}\ntune: {objective.temperature: {low: 1e0, high: 4e+1}}\n")
    assert load_spec(file).optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\0\n", "not valid YAML"),
        ("? [a, b]\n: 4\n", "line 1: not valid YAML: a key must be a text"),
        ("name: s\noptimizer: &x {lr: *x}\n", "not valid YAML"),
        ("name: s\nsearch: {trials: !!int x}\n", "not valid YAML"),
        ("name:\ts\n", "line 1: not valid YAML: a tab, where YAML wants spaces"),
    ],
)
def test_what_yaml_itself_refuses_is_a_mistake_too(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=told):
        load_spec(file)
    with pytest.raises(RequestError, match="must have a YAML value"):
        load_spec(BASE, overrides=["optimizer.lr=!!int x"])


def test_words_and_zeros_of_yaml_1_1_mean_what_they_look_like() -> None:
    mixer = "setup.options.mixer=[off, light, on, no]"
    spec = load_spec({**BASE, "trainer": "mine:train"}, overrides=["training.epochs=010", mixer])
    assert spec.training.epochs == 10
    assert spec.setup["options.mixer"] == ("off", "light", "on", "no")


def test_a_path_is_asked_for_once() -> None:
    assert parse_levels(["a=010", "b=no"], "--where", example="") == {"a": 10, "b": "no"}
    with pytest.raises(RequestError, match="must name a once"):
        parse_levels(["a=1", "a=2"], "--where", example="")


def test_a_text_may_begin_like_a_number_or_a_date() -> None:
    overrides = ["name=2nd_try", "dataset.root=2026-01-31", "dataset.labels=5.labels.yaml"]
    spec = load_spec(BASE, overrides=overrides)
    assert (spec.name, spec.dataset.root, spec.dataset.labels) == ("2nd_try", "2026-01-31", "5.labels.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nowhere\.yaml can't be read"):
        load_spec(tmp_path / "nowhere.yaml")


def test_every_study_of_the_repository_loads() -> None:
    studies = sorted(Path("studies").glob("*.yaml"))
    assert studies
    assert {load_spec(study).name for study in studies} == {study.stem for study in studies}


@pytest.mark.parametrize(("name", "package"), [("hf:some/model", "transformers"), ("timm:resnet18", "timm")])
def test_a_library_that_is_not_installed_is_named_with_its_extra(name, package, monkeypatch):
    monkeypatch.setattr("kdsearch.spec.catalogue.find_spec", lambda asked: None)
    extra = name.partition(":")[0]
    with pytest.raises(
        SpecError, match=rf"needs {package} for '{name}'. Install it: .*kdsearch-hpo\[{extra}\]"
    ):
        load_spec({"name": "a", "student": {"arch": name}, "tune": {TEMPERATURE: {"low": 1, "high": 4}}})


def test_texts_refuse_what_is_of_images_in_any_setup():
    """The refusal names the setup that is wrong.

    A trainer of the user's own may do as it likes.
    """
    document = {
        "name": "a",
        "dataset": {"name": "texts:corpus", "kind": "text"},
        "student": {"arch": "texts:student"},
        "teacher": {"arch": "texts:teacher"},
        "setup": {"augment.flip": [False, True]},
        "tune": {TEMPERATURE: {"low": 1, "high": 4}},
    }
    with pytest.raises(SpecError, match=r"no `augment` beside `dataset.kind: text`.*augment.flip=true"):
        load_spec(document)
    assert load_spec({**document, "trainer": "texts:train"}).setups()


@pytest.mark.parametrize(
    ("ends", "asked"),
    [
        (
            {"from": 2, "to": 16, "shape": "linear"},
            "`temperature_ratio: 8`, here around 5.66, and `temperature_shape: linear`",
        ),
        ({"from": 2}, "`temperature_ratio`, the last epoch's by the first's"),
    ],
)
def test_the_ends_of_a_temperature_that_moves_are_refused_with_what_says_the_same(
    ends: Any, asked: str
) -> None:
    """They fix what is searched: the answers are about the middle."""
    expected = (
        f"`objective.temperature` must be a number, got {{{', '.join(ends)}}}. A temperature that moves"
    )
    found = problem({**BASE, "objective": {"temperature": ends}})
    assert found.startswith(expected)
    assert found.endswith(f"write {asked}.")
    levels = {**BASE, "setup": {**BASE["setup"], TEMPERATURE: [4, ends]}, "tune": {}}
    assert problem(levels).startswith(f"`setup.{TEMPERATURE}.1` must be a number")


def test_a_shape_of_a_temperature_that_does_not_move_is_refused() -> None:
    shaped = {**BASE, "objective": {"temperature_shape": "cosine"}}
    assert "`objective.temperature_shape` does nothing: `objective.temperature_ratio` is 1" in problem(shaped)
    factor = {**BASE, "setup": {**BASE["setup"], "objective.temperature_shape": ["linear", "cosine"]}}
    assert "does nothing" in problem(factor)
    moves = {"objective.temperature_ratio": {"low": 0.1, "high": 10, "log": True}}
    assert load_spec({**shaped, "tune": {**BASE["tune"], **moves}}).objective.temperature_shape == "cosine"


def test_a_temperature_moves_only_where_the_objective_takes_one() -> None:
    """Levels of its ratio beside mse would be the same training twice."""

    def study(ratios: list[float], **objective: Any) -> dict[str, Any]:
        factors = {path.replace("__", "."): levels for path, levels in objective.items()}
        return {**BASE, "setup": {**BASE["setup"], "objective.temperature_ratio": ratios, **factors}}

    mixed = problem(study([0.25, 4], objective__name=["kd", "mse"]))
    assert mixed.startswith("`setup.objective.temperature_ratio` has levels that are the same training")
    assert "`objective.name: mse`" in mixed
    assert "`objective.alpha: 0`" in problem(study([0.25, 4], objective__alpha=[0, 1]))
    still = {"name": "entropy_rule", "temperature_ratio": 4}
    assert "`objective.temperature_ratio` does nothing" in problem({**BASE, "objective": still})
    assert load_spec(study([0.25, 4], objective__name=["kd", "dkd"])).setups()
    one = {**BASE["setup"], "objective.name": ["kd", "mse"]}
    assert load_spec({**BASE, "objective": {"temperature_ratio": 4}, "setup": one}).setups()
    theirs = {**study([0.25, 4], objective__name=["kd", "mse"]), "trainer": "mine:train"}
    assert load_spec({**theirs, "tune": {TEMPERATURE: {"low": 1, "high": 4}}}).setups()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.name=sgd", r"`optimizer.name` is a factor .*--set setup.optimizer.name="),
        ("objective.temperature=3", r"`objective.temperature` is tuned .*--set tune.objective.temperature="),
    ],
)
def test_a_value_that_no_trial_would_have_is_refused(override: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load_spec(BASE, overrides=[override])
    assert load_spec(BASE, overrides=["setup.training.epochs=[3, 5]"]).setup["training.epochs"] == (3, 5)


@pytest.mark.parametrize(
    "pair", [["a", "a "], ["\u00e9", "e\u0301"], ["top 1", "top\u00a01"], ["a", "\u200ba"]]
)
def test_levels_and_choices_that_look_the_same_are_refused(pair: list[str]) -> None:
    own = {"name": "own", "trainer": "mine:train"}
    temperature = {"objective.temperature": {"low": 1, "high": 40, "log": True}}
    as_levels = {**own, "setup": {"options.mixer": pair}, "tune": temperature}
    as_choices = {**own, "tune": {**temperature, "options.mixer": {"choices": pair}}}
    assert "which look the same" in problem(as_levels)
    assert "which look the same" in problem(as_choices)
