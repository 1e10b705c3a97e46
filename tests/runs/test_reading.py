"""Tables of runs: what is read of files and exports, and what is refused in one line."""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdsearch.errors import RequestError
from kdsearch.runs import Asked, Runs, read_table, runs_of
from kdsearch.spec import TEMPERATURE, Range, setup_key

HEADER = "optimizer,T,lr,seed,acc"
LINES = ["sgd,1,0.1,0,0.90", "sgd,4,0.3,0,0.92", "adamw,1,0.001,0,0.91", "adamw,4,0.003,0,0.89"]


def runs(tmp_path: Path, text: str, asked: Asked | None = None, name: str = "runs.csv") -> Runs:
    path = tmp_path / name
    path.write_text(text)
    return runs_of(read_table(path), asked or Asked(setup=("optimizer",)))


def table(*lines: str, header: str = HEADER) -> str:
    return "\n".join([header, *lines])


def points(found: Runs) -> list[tuple[Any, ...]]:
    return [
        (t.setup["optimizer"], t.params[TEMPERATURE], t.params["lr"], t.seed, t.val_accuracy)
        for t in found.trials
    ]


EXPECTED = [
    ("sgd", 1.0, 0.1, 0, 0.90),
    ("sgd", 4.0, 0.3, 0, 0.92),
    ("adamw", 1.0, 0.001, 0, 0.91),
    ("adamw", 4.0, 0.003, 0, 0.89),
]


def test_one_table_is_read_alike_from_every_kind_of_file(tmp_path: Path) -> None:
    assert points(runs(tmp_path, table(*LINES))) == EXPECTED
    assert points(runs(tmp_path, table(*LINES).replace(",", "\t"), name="a.tsv")) == EXPECTED
    german = table(*LINES).replace(",", ";").replace(".", ",")
    assert points(runs(tmp_path, "\ufeff" + german, name="german.csv")) == EXPECTED
    rows = [dict(zip(HEADER.split(","), row, strict=True)) for row in EXPECTED]
    assert points(runs(tmp_path, "\n".join(map(json.dumps, rows)), name="a.jsonl")) == EXPECTED
    assert points(runs(tmp_path, json.dumps({"runs": rows}), name="a.json")) == EXPECTED
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert points(runs_of(read_table(tmp_path / "a.parquet"), Asked(setup=("optimizer",)))) == EXPECTED


def test_percentages_are_the_same_accuracies(tmp_path: Path) -> None:
    lines = ["sgd,1,0.1,0,90.0", "sgd,4,0.3,0,92%", "adamw,1,0.001,0,91", "adamw,4,0.003,0,89"]
    found = runs(tmp_path, table(*lines))
    assert found.read["unit"] == "percentages"
    assert [t.val_accuracy for t in found.trials] == pytest.approx([0.90, 0.92, 0.91, 0.89])


def test_exports_of_wandb_and_mlflow_name_the_same_columns(tmp_path: Path) -> None:
    wandb = '"Name","State","config.optimizer","config.T","config.lr","config.seed","summary.val_acc","_step"'
    lines = [f'"run-{n}","finished",{line},{40 + n}' for n, line in enumerate(LINES)]
    assert points(runs(tmp_path, table(*lines, header=wandb))) == EXPECTED
    mlflow = "run_id,status,params.optimizer,params.T,params.lr,params.seed,metrics.val_accuracy,start_time"
    lines = [f"a{n},FINISHED,{line},2026-01-0{n + 1}" for n, line in enumerate(LINES)]
    assert points(runs(tmp_path, table(*lines, header=mlflow))) == EXPECTED
    nested = [
        {
            "name": f"r{n}",
            "config": {"optimizer": {"value": o}, "T": t, "lr": lr, "seed": s},
            "summary": {"acc": a},
        }
        for n, (o, t, lr, s, a) in enumerate(EXPECTED)
    ]
    assert points(runs(tmp_path, json.dumps(nested), name="runs.json")) == EXPECTED


def test_runs_that_ended_otherwise_do_not_count_as_measured(tmp_path: Path) -> None:
    ends = ["sgd,2,0.1,1,nan", "sgd,2,0.2,2,", ",,,,", "adamw,,0.001,3,0.88"]
    found = runs(tmp_path, table(*LINES, *ends))
    assert [(t.state, t.reason) for t in found.trials[4:]] == [("failed", "diverged")]
    assert any("1 runs with no accuracy" in note for note in found.notes)
    assert any("1 runs with no temperature" in note for note in found.notes)
    states = table(
        *[
            f"{line},{s}"
            for line, s in zip(LINES, ["finished", "crashed", "running", "finished"], strict=True)
        ],
        header=f"{HEADER},State",
    )
    assert [t.state for t in runs(tmp_path, states).trials] == ["complete", "failed", "complete"]


def test_what_trials_writes_of_why_is_read_again(tmp_path: Path) -> None:
    """A point that diverged or was hopeless speaks of its temperature.

    A lost worker doesn't.
    """
    why = ["complete,", "failed,diverged", "failed,worker lost", "pruned,hopeless: far below the others"]
    lines = [f"{line},{end}" for line, end in zip(LINES, why, strict=True)]
    found = runs(tmp_path, table(*lines, header=f"{HEADER},state,reason"))
    reasons = [None, "diverged", None, "hopeless: far below the others"]
    assert [(trial.state, trial.reason) for trial in found.trials] == [
        (end.partition(",")[0], reason) for end, reason in zip(why, reasons, strict=True)
    ]


def test_ranges_are_those_that_each_setup_was_tried_in(tmp_path: Path) -> None:
    found = runs(tmp_path, table(*LINES))
    assert found.dimensions[setup_key({"optimizer": "sgd"})]["lr"] == Range(low=0.1, high=0.3)
    spec = found.spec(found.setups)
    by_optimizer = {level: spec.dimensions({"optimizer": level})["lr"] for level in ("sgd", "adamw")}
    assert (by_optimizer["adamw"].low, by_optimizer["adamw"].high) == (0.001, 0.003)
    assert spec.dimensions({"optimizer": "sgd"})[TEMPERATURE] == Range(low=1, high=4, log=True)


def test_a_parameter_of_one_setup_is_the_same_parameter_of_another(tmp_path: Path) -> None:
    lines = ["sgd,1,0.1,,90", "sgd,4,0.3,,92", "adamw,1,,0.001,91", "adamw,4,,0.003,89"]
    asked = Asked(setup=("optimizer",), tuned=("lr_sgd", "lr_adamw"))
    found = runs(tmp_path, table(*lines, header="optimizer,T,lr_sgd,lr_adamw,acc"), asked)
    assert [t.params["lr"] for t in found.trials] == [0.1, 0.3, 0.001, 0.003]
    assert found.columns[setup_key({"optimizer": "adamw"})] == {"lr": "lr_adamw"}
    own = table(*lines, header="optimizer,T,momentum,beta,acc")
    kept = runs(tmp_path, own, Asked(setup=("optimizer",), tuned=("momentum", "beta")))
    spec = kept.spec(kept.setups)
    assert spec.dimensions({"optimizer": "adamw"})["momentum"].choices == (None,)


@pytest.mark.parametrize(
    ("text", "asked", "says"),
    [
        (table(*LINES), {"setup": ("optimiser",)}, "Did you mean 'optimizer'?"),
        (table(*LINES), {}, "which they do in optimizer (sgd, adamw)"),
        (table(*LINES).replace("T,", "temp,").replace("seed", "tau"), {}, "may be temp or tau"),
        (
            table(*LINES).replace("acc", "acc,val_acc").replace("0.9", "0.9,0.9").replace("0.89", "0.89,0.9"),
            {},
            "may be val_acc or acc",
        ),
        (table(*LINES, "sgd,4,0.3,0,0.94"), {}, "line 3 and line 6"),
        (table(*LINES, "sgd,0,0.3,0,0.94"), {}, "must be a number above 0, got 0 in line 6"),
        (table(*LINES, "sgd,2,0.3,0,high"), {}, "must be a number, got 'high' in line 6"),
        (table(*LINES, "sgd,2,0.3,0,93.1"), {}, "must be in one unit, got 4 values up to 1 and 1 above"),
        (table(*LINES, "sgd,2,0.3,0,-2.31"), {}, "must be an accuracy from 0 to 1, got -2.31 in line 6"),
        (table(*LINES, ",2,0.3,0,0.9"), {}, "`optimizer` must be given for each run"),
        (table(*LINES, "sgd,2,0.3,0"), {}, "5 cells in each line, got 4 in line 6"),
        (table(*LINES, header="optimizer,T,T,seed,acc"), {}, "got 'T' twice"),
        (table(*LINES).replace(",4,", ",1,"), {}, "at least two values, got 1 alone"),
        (HEADER, {}, "at least one run"),
        (table(*LINES).replace("adamw", "1.10").replace("sgd", "1.1"), {}, "got '1.1' and '1.10' in line 4"),
        (table(*LINES).replace("adamw", "07").replace("sgd", "7"), {}, "got '7' and '07' in line 4"),
        (table(*LINES, 'sgd,2,"0,3",0,0.9'), {}, "a decimal point, got '0,3' in line 6"),
        (table(*LINES, "sgd,2,1 000,0,0.9"), {}, "a decimal point, got '1 000' in line 6"),
        (table(*LINES, "sgd,2,1e300,0,0.9"), {}, "at most 1e+100 in size, got 1e+300 in line 6"),
        (table(*LINES, "sgd,2,0,0,0.9"), {}, "must be a learning rate above 0, got 0 in line 6"),
        (
            table(*LINES, "sgd,2,-0.1,0,0.9"),
            {"setup": ("optimizer", "lr")},
            "rate above 0, got -0.1 in line 6",
        ),
        (
            table("sgd,1,0.1,0,0.9", "sgd,4,0,0,0.9", header="optimizer,T,sgd_lr,seed,acc"),
            {"tuned": ("sgd_lr",)},
            "`sgd_lr` must be a learning rate above 0, got 0 in line 3",
        ),
        (table(*LINES, "sgd,1e200,0.3,0,0.9"), {}, "must be a number above 0, got 1e+200 in line 6"),
        (table(*LINES, "sgd,2,0.3,0,93%"), {}, "must be in one unit, got 0.9 in line 2 beside 1 with a %"),
        (table(*LINES, header="optimizer,T,lr,seed,acc_percent"), {}, "the unit that its name tells"),
        (table(*LINES, header="optimizer,T,lr,seed,val_loss"), {"metric": "val_loss"}, "by its name a loss"),
        (table(*LINES, header="optimizer,T,lr,seed,top1_err"), {"metric": "top1_err"}, "or an error"),
        (
            table(*LINES, header="optimizer,T,lr,seed,neg_loss"),
            {"metric": "neg_loss"},
            "negated or not, write 1 - error as a column `accuracy`",
        ),
        (table(*LINES, "sgd,4,0.3,mean,0.91"), {}, "`seed` must be of one kind, got 'mean' in line 6"),
        (table(*LINES, "sgd,4,0.3,avg(0-2),0.91"), {}, "must be of one kind, got 'avg(0-2)' in line 6"),
        (
            table(*LINES).replace("T,", "inv_T,"),
            {"temperature": "inv_T"},
            "must name temperatures themselves",
        ),
        (table(*LINES).replace("T,", "1/T,"), {"temperature": "1/T"}, "must name temperatures themselves"),
        (
            table(*LINES).replace("T,", "log2T,"),
            {"temperature": "log2T"},
            "must name temperatures themselves",
        ),
        (table(*LINES).replace("adamw,4", "sgd\u200b,4"), {}, "write each level one way, got 'sgd' and"),
        (table(*LINES).replace(",0,0", ",x,0").replace("x,0.92", "x,0.92\nsgd,4,0.3,x,0.8"), {}, "(seed x)"),
        (
            table(*(f"{line},0.8,0.9" for line in LINES), header="optimizer,T,lr,seed,acc_1,acc_0,acc_2"),
            {},
            "may be acc_1 or acc_0 or acc_2",
        ),
        (
            table(
                *(f"{line},0.8" for line in LINES), header="optimizer,T,lr,seed,best_val_acc,final_val_acc"
            ),
            {},
            "may be best_val_acc or final_val_acc",
        ),
        (
            table(*(f"{line},weird" for line in LINES), header=f"{HEADER},state"),
            {},
            "runs.csv: 4 runs with the state 'weird' are left out",
        ),
        (
            table(*(f"sgd,{T},0.1,0,0.8" for T in range(1, 13))),
            {},
            "`acc` must differ from run to run, got 0.8 alone",
        ),
        (
            table(*LINES, "sgd,2,1.000,0,0,9").replace(",", ";").replace("0.", "0,").replace("0;9", "0,9"),
            {},
            "must have one decimal mark, got 1.000 in line 6",
        ),
        (
            table(*LINES, "sgd,1.024,0.2,0,0.9").replace(",", ";").replace("1.024", "1,024"),
            {},
            "got 0.1 in line 2 of",
        ),
        (table(*LINES, "sgd,2,10%,0,0.9"), {}, "`lr` must be a plain number, got '10%' in line 6"),
        (table(*LINES, "sgd,2,3e\u20131,0,0.9"), {}, "a plain number, got '3e\u20131' in line 6"),
        (table(*LINES, "sgd,2,0.3 (warmup),0,0.9"), {}, "got '0.3 (warmup)' in line 6"),
        (table(*LINES).replace(",T,", ",τ,"), {"temperature": "λ"}, "must name a column of"),
        (
            table(*LINES).replace("optimizer", "größe"),
            {"setup": ("grüße",)},
            "Did you mean 'größe'?",
        ),
        (
            table(*(f"{line},{t}" for line, t in zip(LINES, (88, 0.9, 91, 90), strict=True))).replace(
                "acc", "val_acc,test_acc"
            ),
            {},
            "`test_acc` must be in one unit",
        ),
    ],
)
def test_what_is_in_doubt_is_refused(tmp_path: Path, text: str, asked: dict[str, Any], says: str) -> None:
    told = {"setup": ("optimizer",), **asked} if says.find("which they do") < 0 else {"setup": ()}
    with pytest.raises(RequestError) as refused:
        runs(tmp_path, text, Asked(**told))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_name_is_one_however_its_accents_are_written(tmp_path: Path) -> None:
    lines = [line.replace("sgd", "caf\u00e9" if "0.1," in line else "cafe\u0301") for line in LINES]
    assert {trial.setup["optimizer"] for trial in runs(tmp_path, table(*lines)).trials} == {
        "caf\u00e9",
        "adamw",
    }


def test_lengths_of_training_are_a_condition_however_many_there_are(tmp_path: Path) -> None:
    lines = [f"{T},{epochs},0.{80 + epochs}" for T in (1, 4) for epochs in range(1, 15)]
    with pytest.raises(RequestError, match="epochs"):
        runs(tmp_path, table(*lines, header="T,epochs,acc"), Asked())


def test_decimal_commas_may_stand_in_powers_of_ten_and_percentages(tmp_path: Path) -> None:
    lines = ["sgd;1;1,0e-1;0;90,5%", "sgd;4;,3;0;92%", "adamw;1;1e-3;0;91%", "adamw;4;0,003;0;89%"]
    found = runs(tmp_path, table(*lines, header=HEADER.replace(",", ";")))
    assert [t.params["lr"] for t in found.trials] == [0.1, 0.3, 0.001, 0.003]
    assert [t.val_accuracy for t in found.trials] == pytest.approx([0.905, 0.92, 0.91, 0.89])


def test_logs_of_epochs_are_no_runs(tmp_path: Path) -> None:
    lines = [f"{line},{epoch}" for line in LINES for epoch in (1, 2)]
    with pytest.raises(RequestError, match="epoch"):
        runs(tmp_path, table(*lines, header=f"{HEADER},epoch"))


def test_a_run_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    found = runs(tmp_path, table(*LINES, LINES[0]))
    assert len(found.trials) == 4
    assert "1 runs are there twice and count once." in found.notes


def test_copies_under_other_names_count_once(tmp_path: Path) -> None:
    lines = [f"{T},0.8{T}{n}" for T in (1, 2, 4) for n in range(3)]
    named = table(*(f"{line},run{n}" for n, line in enumerate(lines * 2)), header="T,acc,name")
    found = runs(tmp_path, named, Asked())
    assert len(found.trials) == 9
    assert any("2 times" in note and "count once" in note for note in found.notes)
    chance = table(*(f"{line},run{n}" for n, line in enumerate([*lines, *lines[:4]])), header="T,acc,name")
    assert len(runs(tmp_path, chance, Asked()).trials) == 13


def test_a_setting_that_is_passed_over_is_named(tmp_path: Path) -> None:
    lines = [f"{T},{0.1 + 0.02 * n},0.8{n:02},0.9{n:02},{n}" for n, T in enumerate((1, 2, 4, 8) * 5)]
    header = "T,alpha,acc1,acc5,run_id"
    found = runs(tmp_path, table(*lines, header=header), Asked())
    assert any("in `alpha` too" in note for note in found.notes)
    assert not any("run_id" in note or "acc5" in note for note in found.notes)
    ignored = runs(tmp_path, table(*lines, header=header), Asked(ignore=("alpha",)))
    assert not any("alpha" in note for note in ignored.notes)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["sgd,1,0.1,0,0.90", "sgd,4,0.1,1,0.92"], "this one learning rate (lr = 0.1)"),
        (["sgd,1,0.1,0,0.90", "sgd,4,0.1,1,0.92", "mean,,,,0.91"], "this one learning rate (lr = 0.1)"),
        (["sgd,1,0.1,0,0.90", "sgd,4,0.2,0,0.92"], "one seed (seed = 0)"),
    ],
)
def test_what_the_runs_leave_open_is_said(tmp_path: Path, lines: list[str], says: str) -> None:
    assert any(says in note for note in runs(tmp_path, table(*lines)).notes)
    assert not any(
        says in note for note in runs(tmp_path, table("sgd,1,0.1,0,0.9", "sgd,4,0.2,1,0.92")).notes
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"T": 1, "T": 2, "acc": 0.5}]'),
        ("a.jsonl", '{"acc": 0.5, "config": {"T": 1, "T": 2}}'),
        ("a.jsonl", '{"acc": 0.5, "config": {"T": 1}, "config.T": 2}'),
    ],
)
def test_a_run_that_names_a_value_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(RequestError, match=r"T' stands (there )?twice"):
        runs(tmp_path, text, name=name)


def test_cells_of_parquet_are_the_numbers_and_texts_that_they_stand_for(tmp_path: Path) -> None:
    rows = [dict(zip(HEADER.split(","), row, strict=True)) for row in EXPECTED]
    exact = [
        {
            name: v.encode() if isinstance(v, str) else Decimal(str(v)).quantize(Decimal("0.001"))
            for name, v in row.items()
        }
        for row in rows
    ]
    pd.DataFrame(exact).to_parquet(tmp_path / "a.parquet")
    found = points(runs_of(read_table(tmp_path / "a.parquet"), Asked(setup=("optimizer",))))
    assert found == [pytest.approx(row) for row in EXPECTED]


def test_bytes_and_decimals_are_read_wherever_they_are_in_parquet(tmp_path: Path) -> None:
    names = pa.array([b"sgd", b"sgd"]).dictionary_encode()
    exact = [{"T": Decimal("1.0"), "lr": Decimal("0.1")}, {"T": Decimal("4.0"), "lr": Decimal("0.3")}]
    pq.write_table(
        pa.table({"optimizer": names, "config": exact, "acc": [0.9, 0.92]}), tmp_path / "a.parquet"
    )
    found = points(runs_of(read_table(tmp_path / "a.parquet"), Asked(setup=("optimizer",))))
    assert [point[:3] for point in found] == [("sgd", 1.0, 0.1), ("sgd", 4.0, 0.3)]


def test_a_text_of_json_may_hold_any_separator_of_lines(tmp_path: Path) -> None:
    rows = [{"optimizer": "a\u2028b\x85c", "T": T, "acc": 0.9 + T / 100} for T in (1, 4)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert len(runs(tmp_path, text, name="a.jsonl").trials) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_table_in_another_encoding_is_told_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(table(*LINES, "caf\u00e9,2,0.1,0,0.9").encode(encoding))
    with pytest.raises(RequestError, match="it is no UTF-8 text; save it as UTF-8"):
        read_table(tmp_path / "a.csv")


def test_spaces_around_a_name_count_in_no_kind_of_file(tmp_path: Path) -> None:
    rows = [{"optimizer": o, "T": t, "acc": a} for o, t, a in [("sgd", 1, 0.9), (" sgd ", 4, 0.92)]]
    assert runs(tmp_path, json.dumps(rows), name="a.json").setups == [{"optimizer": "sgd"}]


def test_words_beside_numbers_are_choices(tmp_path: Path) -> None:
    lines = ["sgd,1,0.1,0,0.90,2", "sgd,4,0.3,0,0.92,layer3", "sgd,8,0.2,0,0.91,off"]
    asked = Asked(setup=("optimizer",), tuned=("lr", "depth"))
    found = runs(tmp_path, table(*lines, header=f"{HEADER},depth"), asked)
    assert [trial.params["depth"] for trial in found.trials] == ["2", "layer3", "off"]


def test_whole_numbers_keep_all_their_digits(tmp_path: Path) -> None:
    """A float has 53 bits: two seeds of the clock would be one."""
    seeds = [12345678901234567, 12345678901234568, 2**63 - 1, 2**64 - 1]
    lines = [
        f"sgd,{T},0.1,{seed},0.9{n}" for n, (T, seed) in enumerate(zip((1, 1, 4, 4), seeds, strict=True))
    ]
    found = [trial.seed for trial in runs(tmp_path, table(*lines)).trials]
    assert found[:3] == seeds[:3]
    assert 0 <= found[3] < 2**63


def test_a_run_without_a_seed_is_no_copy_of_one_that_has_its_number(tmp_path: Path) -> None:
    found = runs(tmp_path, table("sgd,1,0.1,,0.90", "sgd,1,0.1,0,0.91", "sgd,4,0.3,0,0.92"))
    assert len({trial.seed for trial in found.trials[:2]}) == 2


@pytest.mark.parametrize(
    "tests", [("0.88", "0.9", "0.91", "0.9"), ("88", "90", "91", "90"), ("88%", "90%", "91%", "90%")]
)
@pytest.mark.parametrize("scale", [1, 100])
def test_accuracies_on_the_test_set_have_a_unit_of_their_own(
    tmp_path: Path, tests: tuple[str, ...], scale: float
) -> None:
    lines = [
        f"{o},{T},{lr},{seed},{acc * scale},{test}"
        for (o, T, lr, seed, acc), test in zip(EXPECTED, tests, strict=True)
    ]
    found = runs(tmp_path, table(*lines, header="optimizer,T,lr,seed,val_acc,test_acc"))
    assert [trial.test_accuracy for trial in found.trials] == pytest.approx([0.88, 0.9, 0.91, 0.9])


def test_diverged_runs_are_none_of_the_measured(tmp_path: Path) -> None:
    found = runs(tmp_path, table(*LINES, "sgd,2,0.3,7,inf"))
    assert found.trials[-1].val_accuracy is None
    assert all(t.val_accuracy is None or math.isfinite(t.val_accuracy) for t in found.trials)


def test_a_column_that_is_ignored_is_taken_for_nothing(tmp_path: Path) -> None:
    found = runs(tmp_path, table(*LINES), Asked(setup=("optimizer",), ignore=("lr", "seed")))
    assert (found.read["tuned"], found.read["seed"]) == ([], None)
    two = table(*(f"{line},0.1" for line in LINES), header=f"{HEADER},val_acc")
    assert runs(tmp_path, two, Asked(setup=("optimizer",), ignore=("acc",))).read["metric"] == "val_acc"
    for asked in (Asked(setup=("optimizer",), ignore=("optimizer",)), Asked(metric="acc", ignore=("ACC",))):
        with pytest.raises(RequestError, match="`ignore` must name columns without a part, got '"):
            runs(tmp_path, table(*LINES), asked)
