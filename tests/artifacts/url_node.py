"""One node in a process of its own: `python url_node.py URL WHAT SPEC`, its folder named by KDSEARCH_CACHE.

Only what trains loads torch, which takes most of a process's time here.
"""

import json
import sys

from kdsearch.artifacts.files import exclusive
from kdsearch.artifacts.store import place_below, store_at
from kdsearch.spec import TrainingSpec


def pack(url: str, spec: TrainingSpec, pause_at: int) -> None:
    """Train a pack of two and print each epoch.

    It is printed as it is trained and as it is reported; at one of them it waits for ever.
    """
    from kdsearch.distill import train_pack
    from kdsearch.distill.training import pack as pack_training

    train_epoch = pack_training.PackTraining.train_epoch

    def train(self: pack_training.PackTraining, epoch: int) -> list[float]:
        print(json.dumps(["trained", epoch, None]), flush=True)
        return train_epoch(self, epoch)

    pack_training.PackTraining.train_epoch = train

    def report(epoch: int, metrics: object) -> set[int]:
        print(json.dumps(["reported", epoch, metrics]), flush=True)
        if epoch == pause_at:
            sys.stdin.read()
        return set()

    members = [{"number": k, "seed": k, "objective.temperature": 2.0 + k} for k in range(2)]
    place = place_below(url, "checkpoints")
    train_pack(spec, members, artifacts=url, report=report, checkpoint=place)


def teacher(url: str, spec: TrainingSpec) -> None:
    """Wait for a word, ask for the teacher, and print it.

    What is printed is its record and what its weights sum to.
    """
    from kdsearch.distill.teachers.made import ensure_teacher, load_weights_of, recipe_of

    print("ready", flush=True)
    sys.stdin.readline()
    record = ensure_teacher(recipe_of(spec), url)
    total = sum(float(weights.double().sum()) for weights in load_weights_of(record).values())
    print(json.dumps([record.val_accuracy, record.seconds, total]))


def keep(url: str, _spec: TrainingSpec) -> None:
    """Keep a large entry."""
    store = store_at(url)
    with exclusive(store.root / "teachers/large"):
        if not store.recover("teachers/large"):
            store.keep("teachers/large", {"weights.pt": bytes(50_000_000), "record.json": b"{}"})


def replace(url: str, _spec: TrainingSpec) -> None:
    """Replace a file by a large version."""
    store_at(url).replace("pack.pt", bytes(50_000_000))


if __name__ == "__main__":
    url, what, document, *more = sys.argv[1:]
    spec = TrainingSpec.model_validate_json(document)
    {"pack": pack, "teacher": teacher, "keep": keep, "replace": replace}[what](url, spec, *map(int, more))
