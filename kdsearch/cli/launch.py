"""`kdsearch launch`: run a study, or say what running it would mean."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdsearch.cli.formats import print_as, print_document
from kdsearch.cli.options import again_with, format_option, storage_option
from kdsearch.errors import RequestError, RunError
from kdsearch.spec import StudySpec, level_label, load_spec
from kdsearch.spec.repeats import repeated_baselines
from kdsearch.storage.rows.read import SET_ASIDE

if TYPE_CHECKING:
    from kdsearch.analysis import BestAnswer
    from kdsearch.api import Study
    from kdsearch.distill.preflight.trainings import Preflight
    from kdsearch.schedule.jobs import Submission


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@storage_option
@click.option(
    "--address",
    metavar="auto|HOST:PORT|http://HEAD:8265",
    help="Join a running Ray cluster, or submit the study to it as a Ray job. Default: an embedded Ray.",
)
@click.option("--detach", is_flag=True, help="Submit the Ray job and return at once.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Replace a value of the spec.")
@click.option("--trials", type=click.IntRange(min=1), help="Short for --set search.trials=N.")
@click.option("--dry-run", is_flag=True, help="Check the spec and tell the size of the work; start nothing.")
@click.option("--takeover", is_flag=True, help="Take the study from a driver that seems alive.")
@format_option
def launch(
    spec: Path,
    storage: str,
    address: str | None,
    overrides: tuple[str, ...],
    trials: int | None,
    dry_run: bool,
    takeover: bool,
    detach: bool,
    output: str,
) -> None:
    """Run the study in the file SPEC to its budget.

    One that was interrupted resumes where it stopped.
    """
    from kdsearch.storage import parse_url

    texts = [*overrides, *([f"search.trials={trials}"] if trials else [])]
    checked = load_spec(spec, overrides=texts)
    parse_url(storage)
    as_job = address is not None and address.startswith(("http://", "https://"))
    if detach and not as_job:
        raise RequestError("`--detach` needs a Ray job. Name the head: --address http://HEAD:8265.")
    if dry_run:
        _show_plan(checked, address, output)
    elif address and as_job:
        from kdsearch.schedule.jobs import follow_job, submit_study

        submission = submit_study(checked, spec, texts, storage, address, takeover=takeover)
        _tell_submission(checked.name, submission, address, output if detach else "table")
        if not detach:
            follow_job(submission.job, checked.name, storage, address, echo=click.echo)
    else:
        _run(checked, storage, address, takeover, output, _launched(spec, texts, address))


def _tell_submission(study: str, submission: "Submission", address: str, output: str) -> None:
    document = {"study": study, "address": address, **asdict(submission)}
    print_document(
        output, lambda: document, lambda: [document], lambda: _show_submission(study, submission, address)
    )


def _show_submission(study: str, submission: "Submission", address: str) -> None:
    click.echo(
        f"Submitted as {submission.job}. It goes on without this terminal."
        if submission.is_new
        else f"It runs already, as {submission.job}."
    )
    from kdsearch.schedule.jobs import log_command

    click.echo(f"  follow: {log_command(submission.job, address)}")
    click.echo(f"  stop:   kdsearch stop {study}")


def _launched(spec: Path, overrides: Sequence[str], address: str | None) -> str:
    """Return the command that launched a study, all but its database."""
    options = [word for override in overrides for word in ("--set", override)]
    return shlex.join(["launch", str(spec), *options, *(["--address", address] if address else [])])


def _run(
    spec: StudySpec, storage: str, address: str | None, takeover: bool, output: str, launched: str
) -> None:
    from kdsearch.schedule.cluster.resources import check_local_resources

    if address is None:
        check_local_resources(spec)  # again in launch_study, but here before anything heavy is imported
    import optuna

    from kdsearch.api import open_study
    from kdsearch.cli.progress import Display, discard
    from kdsearch.cli.stopping import InterruptEcho
    from kdsearch.schedule.launch import launch_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with Display(spec) as display, InterruptEcho(display.interrupted):
        ending = launch_study(spec, storage, address=address, takeover=takeover, watch=display)
    if ending == "interrupted":
        raise KeyboardInterrupt
    study = open_study(spec.name, storage=storage)
    try:
        answer = study.best()
        print_as(output, answer, lambda: _tell_answer(study, answer, again_with(storage), launched))
    except BrokenPipeError:
        raise
    except OSError as error:  # a log on a full disk; the study is in the database
        discard(sys.stdout)
        command = f"kdsearch best {spec.name}{again_with(storage)}"
        click.echo(f"The answer can't be shown: {error.strerror}. See `{command}`.", err=True)
    _tell_set_aside(study)


def _tell_set_aside(study: "Study") -> None:
    """Fail where setups were set aside. The study has answers, but not all that were asked for."""
    summary = study.summary()
    if not summary.set_aside:
        return
    reasons = "".join(
        f"\n  {', '.join(f'{path}={level_label(level)}' for path, level in aside.setup.items())}: "
        f"{aside.reason.removeprefix(SET_ASIDE)}"
        for aside in summary.set_aside
    )
    raise RunError(
        f"{len(summary.set_aside)} of {summary.setups} setups were set aside; the others have their trials. "
        f"Mend what fails, then launch again with more --trials.{reasons}"
    )


def _tell_answer(study: "Study", answer: "BestAnswer", storage: str, launched: str) -> None:
    from kdsearch.cli.next_commands import print_next, to_resume
    from kdsearch.cli.tables import print_answer

    print_answer(answer)
    try:
        click.echo(f"\nReport: {study.report(f'{study.name}-report.html')}")
    except RequestError as error:  # all that was asked for is in the database
        click.echo(
            f"\n{error} Write it elsewhere: kdsearch report {study.name}{storage} --out FILE.html", err=True
        )
    factors = [f"compare {study.name} --factor {path}{storage}" for path in list(study.spec.setup)[:1]]
    hints = [
        *to_resume(study.summary(), storage, launched),
        *((compare, "does it depend on a factor?") for compare in factors),
        (f"trials {study.name} --format csv{storage}", "every trial"),
        (f"serve{storage}", "the explorer and the Optuna dashboard, on http://127.0.0.1:8080"),
    ]
    print_next(hints)


def _show_plan(spec: StudySpec, address: str | None, output: str) -> None:
    from kdsearch.schedule.cluster.resources import check_local_resources, local_gpus, with_gpus
    from kdsearch.schedule.preflight import preflight

    if address is None:
        spec = with_gpus(spec, local_gpus())
    is_job = address is not None and address.startswith(("http://", "https://"))
    if is_job:  # its driver sees for itself
        plan = _plan(spec, ["all but the spec, which the job's driver looks at"])
    else:
        found = preflight(spec, address)
        plan = _plan(spec, list(found.unknown)) | (_work(spec, found.engine) if found.engine else {})
    plan["notes"] = [*filter(None, [repeated_baselines(spec)]), *plan["notes"]]
    rows = [{path: level_label(level) for path, level in setup.items()} for setup in plan["setups"]]
    print_document(output, lambda: plan, lambda: rows, lambda: _show(plan))
    if output == "table" and address is None:
        check_local_resources(spec)


def _show(plan: dict[str, Any]) -> None:
    from kdsearch.cli.tables import print_plan

    print_plan(plan)


def _plan(spec: StudySpec, unknown: list[str]) -> dict[str, Any]:
    """Return the size of the work, its teachers, and what is unknown."""
    from kdsearch.schedule.teachers import teacher_documents

    return {
        **size_of_work(spec),
        "teachers": [document["teacher"] for document in teacher_documents(spec)],
        **{"packs_take": [], "estimate": None, "notes": [], "unknown": unknown},
    }


def size_of_work(spec: StudySpec) -> dict[str, Any]:
    """Return setups, packs and epochs, as the spec alone tells them. No code of its user is run."""
    setups = spec.setups()
    n = len(setups)
    epochs = [spec.resolve(setup, {}).training.epochs for setup in setups]
    return {
        "study": spec.name,
        "setups": setups,
        "tuned": list(spec.tune),
        "trials": spec.search.trials,
        **{name: getattr(spec.search, name) for name in ("hours", "gpu_hours", "cpu_hours")},
        "trials_per_setup": spec.search.trials / n,
        "packs": -(-spec.search.trials // spec.pack_size),
        "pack": spec.pack_size,
        "luck": [
            *spec.luck,
            *(["images"] if spec.trainer == "distill" else []),
        ],  # an own trainer's is not known
        "splits": spec.n_splits,
        "student_epochs": round(spec.search.trials * sum(epochs) / n),
    }


def _work(spec: StudySpec, engine: "Preflight") -> dict[str, Any]:
    """Return what packs of each kind take, and the study's hours."""
    from kdsearch.distill.devices import chosen_device
    from kdsearch.distill.factories import undisturbed
    from kdsearch.schedule.preflight import costs

    device, threads = chosen_device(spec.resources.device).type, max(1, int(spec.resources.cpus_per_pack))
    kinds: dict[str, dict[str, Any]] = {}
    with undisturbed():
        for setup in spec.setups():
            training = spec.resolve(setup, {})
            found = asdict(engine.forecast(training))
            if (key := json.dumps(found)) not in kinds:
                epoch_s = engine.epoch_s(training, spec.pack_size, threads)
                own = {"student": training.student.arch, "device": device, "epoch_s": epoch_s}
                kinds[key] = {**own, **found}
        estimate = costs(spec, engine)
    return {"packs_take": list(kinds.values()), "estimate": estimate, "notes": list(engine.notes)}


COMMANDS = (launch,)
