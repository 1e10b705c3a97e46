"""Documents as tables for a person; every number stands beside its doubt."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from kdsearch.spec import level_label, level_name
from kdsearch.spec.luck import luck_text
from kdsearch.storage import StudySummary, TeacherRow, TrialRow
from kdsearch.trial import audit_text

_MOST_MISSING = 2
"""So much of what a decision takes is printed; `--format json` has all."""

_MOST_SOURCES = 8


def print_table(table: Table) -> None:
    """Print a table; where the output is no terminal, as wide as it needs to be."""
    console = Console(markup=False, emoji=False)  # an error may tell of [cuda:0] or [/]
    if not console.is_terminal:
        console.width = max(console.width, 200)
    with console.capture() as captured:
        console.print(table)
    click.echo(captured.get(), nl=False)


def _table(title: str | None, columns: Sequence[str], right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, or a dash where there is none.

    Every digit before the point is told: people read 480, not 4.8e+02.
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage, or a dash where there is none."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else level_label(value)


def _span(pair: Sequence[float] | None, digits: int = 2) -> str:
    return "–" if pair is None else f"{number(pair[0], digits)} … {number(pair[1], digits)}"


def short(path: str) -> str:
    """Return a dotted path without its first section, as a column's heading."""
    return path.split(".", 1)[-1] if path.count(".") > 1 else path


def answer_table(document: Mapping[str, Any]) -> Table:
    """Return the table of the answer of `best`."""
    setups = document["setups"]
    factors = list(setups[0]["setup"]) if setups else []
    tuned = list(dict.fromkeys(path for s in setups for path in s["params"] or ()))
    level = f"{100 * document['level']:.0f}%"
    has_forecast = any(setup["forecast"] for setup in setups)
    columns = [
        *map(short, factors),
        *("best T", level, "near-optimal", "accuracy %"),
        *map(short, tuned),
        *("lost at T=1", "at T=4", "trials"),
        *(["to go"] if has_forecast else []),
    ]
    table = _table(f"Best temperature per setup of {document['study']}", columns, columns[len(factors) :])
    for setup in setups:
        to_go = [_to_go(setup)] if has_forecast else []
        table.add_row(*_answer_cells(setup, factors, tuned), *to_go)
    return table


def print_answer(document: Mapping[str, Any]) -> None:
    """Print the answer of `best`."""
    setups = document["setups"]
    print_table(answer_table(document))
    _print_promises(document, f"{100 * document['level']:.0f}%")
    if any(setup["forecast"] for setup in setups):
        click.echo(
            f"to go: trials, and time with {number(document['slots'], 2)} packs at once, until at most "
            f"{100 * document['target']:g} points are expected to be lost"
        )
    click.echo(luck_text(document["luck"]))
    _print_pruned(document)
    _print_audit(document)
    if earlier := document.get("prior_from"):
        click.echo(f"prior from: {', '.join(earlier)}")
    for setup in setups:
        _print_notes(setup)
    for widening in document["widened"]:
        of = f" of {widening['level']}" if widening["level"] is not None else ""
        was, now = (_span((widening[f"{p}low"], widening[f"{p}high"]), 3) for p in ("was_", ""))
        click.echo(
            f"widened after {widening['trials']} trials: {widening['path']}{of} from {was} to {now}: "
            f"{widening['reason']}"
        )
    early = [_setup_name(setup) for setup in setups if setup["stopped"] not in (None, setup["reason"])]
    if early:
        click.echo(f"stopped early: {'; '.join(early)}")
    if document["state"]:
        why = f": {document['state_reason']}" if document["state_reason"] else ""
        click.echo(f"\nThe study is {document['state']}{why}.")


def _print_promises(document: Mapping[str, Any], level: str) -> None:
    """Print what the intervals promise, and what is lost at a default."""
    losses = [100 * s["interval_loss"] for s in document["setups"] if s["interval_loss"] is not None]
    if losses:
        most = (
            f"{min(losses):.1f}"
            if f"{min(losses):.1f}" == f"{max(losses):.1f}"
            else (f"{min(losses):.1f} to {max(losses):.1f}")
        )
        click.echo(
            f"{level}: holds with this probability a T that loses at most {most} points against the best; "
            f"near-optimal: each such T loses at most {100 * document['tolerance']:g} points; lost at: "
            "against best T"
        )


def _print_pruned(document: Mapping[str, Any]) -> None:
    """Print at which temperatures trials were pruned: early accuracy may favour some of them."""
    setups = [setup for setup in document["setups"] if setup["pruned"]]
    if not setups:
        return
    bands = [_span([band["low"], band["high"]]) for band in setups[0]["outcomes"]]
    factors = list(setups[0]["setup"])
    table = _table("Pruned of all that ended, by temperature", [*map(short, factors), *bands], bands)
    for setup in setups:
        table.add_row(
            *(level_name(factor, setup["setup"][factor]) for factor in factors),
            *map(_pruned_of, setup["outcomes"]),
        )
    print_table(table)


def _print_audit(document: Mapping[str, Any]) -> None:
    """Print how often the pruner was wrong about the trials that it let run on."""
    bands = [band for setup in document["setups"] for band in setup["outcomes"]]
    if text := audit_text(sum(band["audited"] for band in bands), sum(band["came_back"] for band in bands)):
        click.echo(text)


def _pruned_of(band: Mapping[str, Any]) -> str:
    ended = sum(band[kind] for kind in ("complete", "pruned", "diverged", "failed"))
    return f"{band['pruned']} of {ended}" if ended else "–"


def _answer_cells(setup: Mapping[str, Any], factors: Sequence[str], tuned: Sequence[str]) -> list[str]:
    regret = setup["regret_of"] or {}
    params = setup["params"] or {}
    interval = setup["accuracy_interval"]
    doubt = f" ±{50 * (interval[1] - interval[0]):.1f}" if interval else ""
    return [
        *(level_name(factor, setup["setup"][factor]) for factor in factors),
        number(setup["temperature"], 2),
        _span(setup["interval"]),
        _span(setup["near_optimal"]),
        percent(setup["accuracy"]) + doubt,
        *(_value(params[path]) if path in params else "–" for path in tuned),
        percent(regret.get("1")),
        percent(regret.get("4")),
        _counts(setup),
    ]


def _to_go(setup: Mapping[str, Any]) -> str:
    forecast = setup["forecast"]
    if setup["stopped"] or forecast is None or forecast["more_trials"] is None:
        return "stopped" if setup["stopped"] else "–"
    if forecast["decided"]:
        return "decided"
    hours = f", {_time(forecast['hours'])}" if forecast["hours"] else ""
    return f"about {forecast['more_trials'][1]}{hours}"


def _time(hours: float) -> str:
    for unit, size in (("h", 1.0), ("min", 1 / 60)):
        if hours >= size:
            return f"{number(hours / size, 2)} {unit}"
    return f"{3600 * hours:.0f} s"


def _counts(setup: Mapping[str, Any]) -> str:
    extra = [f"{setup[kind]} {kind}" for kind in ("failed", "pruned") if setup[kind]]
    return f"{setup['trials']}" + (f" ({', '.join(extra)})" if extra else "")


def _print_notes(setup: Mapping[str, Any]) -> None:
    for note in notes_of(setup):
        click.echo(note)


def notes_of(setup: Mapping[str, Any]) -> list[str]:
    """Return what to know of a setup of `best` or `forecast`, in sentences that name it."""
    notes = [setup["reason"]] if setup.get("reason") else []
    forecast = setup.get("forecast") or {}
    if forecast.get("missing") and forecast["more_trials"] is not None:
        told = forecast["missing"][:_MOST_MISSING]
        more = len(forecast["missing"]) - len(told)
        notes.append(f"Not decided. It takes {'; '.join([*told, *([f'{more} more'] if more else [])])}.")
    return [f"{_setup_name(setup)}: {note}" for note in (*notes, *setup.get("warnings", ()))]


def notes_of_setups(document: Mapping[str, Any]) -> list[str]:
    """Return what to know of all setups of `best`, `answer` or `forecast`."""
    own = [note for setup in document["setups"] for note in notes_of(setup)]
    return [*document.get("notes", ()), *own]


def _setup_name(setup: Mapping[str, Any]) -> str:
    levels = (f"{short(path)}={level_name(path, level)}" for path, level in setup["setup"].items())
    return ", ".join(levels) or "the study"


def comparison_table(document: Mapping[str, Any]) -> Table:
    """Return the table of what `compare` found: every pair of levels, its shift and how sure it is."""
    columns = ["levels", "T times", f"{100 * document['level']:.0f}%", "P(real)", "lost by one T, points"]
    table = _table(f"{document['study']}: does {document['factor']} move the best temperature?", columns)
    for pair in document["pairs"]:
        table.add_row(
            " → ".join(map(level_label, pair["levels"])),
            number(math.exp(pair["shift"]), 2),
            _span([math.exp(end) for end in pair["interval"]]),
            number(pair["probability"], 2),
            percent(pair["cost"]),
        )
    return table


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print what `compare` found."""
    if document["pairs"]:
        print_table(comparison_table(document))
    click.echo(document["statement"] or document["reason"])


def print_recommendation(document: Mapping[str, Any]) -> None:
    """Print what `recommend` found, and what it draws from."""
    name = ", ".join(f"{short(path)}={level_name(path, level)}" for path, level in document["setup"].items())
    if document["reason"] is not None:
        click.echo(f"{name}: {document['reason']}")
        return
    tuned = document["params"]
    columns = [
        "T",
        f"{100 * document['level']:.0f}%",
        "near-optimal",
        *map(short, tuned),
        "lost at T=1",
        "at T=4",
    ]
    table = _table(f"Recommended for {name}; all else as in {document['like']}", columns, columns)
    table.add_row(
        *(number(document["temperature"], 2), _span(document["interval"]), _span(document["near_optimal"])),
        *map(_value, tuned.values()),
        *(percent(document["regret_of"].get(default)) for default in ("1", "4")),
    )
    print_table(table)
    if document["trials"]:
        click.echo(
            f"This setup was run: {document['trials']} complete trials of {document['like']} are its own."
        )
    if document["sources"]:
        print_table(_sources_table(document["sources"]))
    for note in document["warnings"]:
        click.echo(note)


def _sources_table(sources: Sequence[Mapping[str, Any]]) -> Table:
    most = sources[:_MOST_SOURCES]
    paths = list(dict.fromkeys(path for source in most for path in source["setup"]))
    title = (
        "Drawn from" if len(most) == len(sources) else f"Drawn from {len(sources)} setups, the likest first"
    )
    table = _table(title, ["study", *map(short, paths), "trials", "likeness"], ["trials", "likeness"])
    for source in most:
        levels = (source["setup"].get(path) for path in paths)
        cells = [*map(level_label, levels), str(source["trials"]), f"{source['likeness']:.2f}"]
        table.add_row(source["study"], *cells)
    return table


def forecast_table(document: Mapping[str, Any]) -> Table:
    """Return the table of what `forecast` found: which setups are decided, and what the others need."""
    factors = list(document["setups"][0]["setup"]) if document["setups"] else []
    columns = [*map(short, factors), "trials", "may lose, points", "more trials", "range", "time"]
    target = f"at most {100 * document['target']:g} points lost"
    table = _table(f"{document['study']}: trials until {target}", columns, columns[len(factors) :])
    for setup in document["setups"]:
        table.add_row(
            *(level_name(factor, setup["setup"][factor]) for factor in factors),
            str(setup["trials"]),
            "–" if setup["regret"] is None else f"{100 * setup['regret']:.2f}",
            *_needed(setup),
        )
    return table


def print_forecast(document: Mapping[str, Any]) -> None:
    """Print what `forecast` found."""
    print_table(forecast_table(document))
    needed = [setup["hours"] for setup in document["setups"] if setup["hours"] and not setup["stopped"]]
    if needed:
        slots = number(document["slots"], 2)
        click.echo(f"in all about {_time(sum(needed))} with {slots} packs at once, as many as ran so far")
    units = {"trials": "trials", "hours": "hours", "gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours"}
    spent = [
        f"{number(b['spent'])} of {number(b['limit'])} {units[name]}"
        for name, b in document["budgets"].items()
    ]
    if spent:
        click.echo(f"spent: {', '.join(spent)}")
    for setup in document["setups"]:
        _print_notes(setup)


def _needed(setup: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a setup's trials to go, their range and their time; a stopped setup gets none."""
    more = setup["more_trials"]
    if setup["stopped"] or setup["decided"]:
        return "stopped" if setup["stopped"] else "decided", "", "–"
    if more is None:
        return "–", "", "–"
    return f"about {more[1]}", f"{more[0]} … {more[2]}", _time(setup["hours"]) if setup["hours"] else "–"


def print_importance(document: Mapping[str, Any]) -> None:
    """Print what `importance` found: shares of variation, within setups and between them."""
    if document["reason"]:
        click.echo(document["reason"])
        return
    level = f"{100 * document['level']:.0f}%"
    titles = {"tuned": "within a setup: parameters, and pairs beyond them", "factors": "between setups' best"}
    for part, title in titles.items():
        columns = ["path", "% of variation", level]
        table = _table(f"{document['study']}, {title}", columns, columns[1:])
        for effect in document[part]:
            low, high = effect["interval"]
            span = f"{percent(low)} … {percent(high)}"
            table.add_row(" × ".join(effect["paths"]), percent(effect["share"]), span)
        if document[part]:
            print_table(table)


def studies_table(studies: Sequence[StudySummary]) -> Table:
    """Return the list of studies."""
    counted = ["finished", "trials", "running", "failed", "setups", "hours", "CPU-hours", "GPU-hours"]
    table = _table(None, ["study", "state", *counted, "created", "driver", "why"], counted)
    for study in studies:
        done = study.progress
        counts = (done.finished, done.target, done.running, done.failed, study.setups)
        hours = map(number, (study.hours.wall, study.hours.cpu, study.hours.gpu))
        driver = f"{study.driver.host}, process {study.driver.pid}" if study.driver else "–"
        created = f"{study.created:%Y-%m-%d %H:%M}"
        table.add_row(study.name, study.state, *map(str, counts), *hours, created, driver, study.why or "")
    return table


def trials_table(trials: Sequence[TrialRow]) -> Table:
    """Return the list of trials, the setup and parameters in a column each."""
    paths = list(dict.fromkeys(path for t in trials for path in (*t.setup, *t.params)))
    columns = ["#", "state", *map(short, paths), "epochs", "val %", "test %", "s", "reason"]
    table = _table(None, columns, columns[-5:-1])
    for trial in trials:
        values = {**trial.setup, **trial.params}
        cells = [_value(values[path]) if path in values else "–" for path in paths]
        table.add_row(
            *(str(trial.number), trial.state, *cells, "–" if trial.epochs is None else str(trial.epochs)),
            *(percent(trial.val_accuracy), percent(trial.test_accuracy), number(trial.seconds, 2)),
            trial.reason or "",
        )
    return table


def teachers_table(teachers: Sequence[TeacherRow]) -> Table:
    """Return the list of teachers."""
    columns = ["digest", "arch", "finetune epochs", "val %", "test %", "calibration error", "path"]
    table = _table(None, columns, columns[2:6])
    for teacher in teachers:
        document = teacher.to_dict()
        recipe = document["recipe"]["teacher"]
        table.add_row(
            *(document["digest"][:12], recipe["arch"], str(recipe["finetune"]["epochs"])),
            *(percent(document["val_accuracy"]), percent(document["test_accuracy"])),
            *(number(document["calibration_error"], 2), document["path"]),
        )
    return table


def print_plan(plan: Mapping[str, Any]) -> None:
    """Print what a launch would do."""
    factors = list(plan["setups"][0])
    table = _table(f"{plan['study']}: {len(plan['setups'])} setups", list(map(short, factors)))
    for setup in plan["setups"]:
        table.add_row(*(level_name(factor, setup[factor]) for factor in factors))
    if factors:
        print_table(table)
    click.echo(f"tuned in each: {', '.join(plan['tuned'])}")
    click.echo(
        f"{plan['trials']} trials ({number(plan['trials_per_setup'])} a setup) in {plan['packs']} packs "
        f"of up to {plan['pack']}, {plan['student_epochs']} student epochs in all"
    )
    units = {"hours": "hours", "gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours"}
    if budgets := [f"{plan[name]:g} {unit}" for name, unit in units.items() if plan[name]]:
        click.echo(f"no new pack once the study has taken {' or '.join(budgets)}, earlier runs included")
    splits = f", on {plan['splits']} splits" if plan["splits"] > 1 else ""
    click.echo(f"{len(plan['teachers'])} teachers are trained first, each once{splits}")
    click.echo(luck_text(plan["luck"]))
    anew = ", and as much for each draw of views" if "views" in plan["luck"] else ""
    for kind in plan["packs_take"]:
        how = f"looped: {kind['why_looped']}" if kind["why_looped"] else "fused or looped, as measured"
        click.echo(
            f"{kind['student']}: {kind['n_parameters']:,} parameters, "
            f"{_bytes(kind['member_bytes'])} a member, "
            f"{_bytes(kind['soft_target_bytes'])} of soft targets a teacher{anew}; {how}"
        )
    for n, error in sorted({(kind["n_validation"], kind["validation_error"]) for kind in plan["packs_take"]}):
        click.echo(
            f"{n:,} validation examples: chance alone scatters an accuracy of 90% by "
            f"{100 * error:.1f} points from trial to trial"
        )
    if found := plan["estimate"]:
        click.echo(
            f"about {_hours(found['hours'])} with {found['slots']} packs at once on this machine's CPUs, "
            f"{_hours(found['teacher_hours'])} of it for teachers, by a few steps of each network; "
            f"{_bytes(found['data_bytes'])} of data in each pack's process"
        )
    for note in plan.get("notes", ()):
        click.echo(f"note: {note}")
    for unknown in plan["unknown"]:
        click.echo(f"not known before: {unknown}")


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{number(hours, 2)} h"
    return f"{number(60 * hours, 2)} min" if hours >= 1 / 60 else f"{number(3600 * hours, 2)} s"


def print_counts(document: Mapping[str, Any], *, most: int) -> None:
    """Print how many samples each class of a data set has in each split; of many classes the first."""
    splits = list(document["samples"])
    table = _table(None, ["class", *splits], right=splits)
    for row in document["classes"][:most]:
        table.add_row(row["class"], *(f"{row[split]:,}" for split in splits))
    if (more := len(document["classes"]) - most) > 0:
        table.add_row(f"… {more} more classes", *("" for _ in splits))
    table.add_row("all", *(f"{document['samples'][split]:,}" for split in splits))
    print_table(table)


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{number(count)} {unit}"
        count /= 1000
    return f"{number(count)} GB"
