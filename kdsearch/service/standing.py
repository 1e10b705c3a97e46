"""How a study is now, as a part that pages renew."""

from typing import Any

from markupsafe import Markup

from kdsearch.analysis.labels import duration_text, setup_names
from kdsearch.analysis.report.pages import page_templates
from kdsearch.service.reader import DatabaseReader, Latest
from kdsearch.spec import StudySpec, setup_key

_MOST_PACKS = 12
"""By hand: what is renewed while a study runs stays one screen."""


def standing_html(reader: DatabaseReader, latest: Latest, spec: StudySpec) -> dict[str, Any]:
    """Return the values of the template: what is decided, which packs run, for how long."""
    answers = latest.kept.answer if latest.kept else None
    packs = reader.running_packs(latest.study.name) if latest.study.progress.running else []
    setups = spec.setups()
    names = dict(zip(map(setup_key, setups), setup_names(setups), strict=True))
    return {
        "decided": (answers.decided, answers.setups) if answers else None,
        "packs": [
            {
                "name": names.get(setup_key(pack.setup), pack.pack),
                "trials": pack.trials,
                "epochs": pack.epochs,
                "of": spec.training.epochs,
            }
            for pack in packs[:_MOST_PACKS]
        ],
        "duration": duration_text,
    }


def rendered_standing(reader: DatabaseReader, latest: Latest, spec: StudySpec) -> Markup:
    """Return how a study is now, as HTML."""
    template = page_templates("kdsearch.service").get_template("standing.html")
    return Markup(template.render(study=latest.study, **standing_html(reader, latest, spec)))  # noqa: S704
