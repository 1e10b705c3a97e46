"""A study while it runs: asks for packs and records results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kdsearch.errors import RunError
from kdsearch.schedule.failures import Failures
from kdsearch.search import Pack, PackAsker
from kdsearch.spec import Setup, StudySpec
from kdsearch.storage import Hours, Lease, StudyRecord
from kdsearch.trial import Metrics, TrialResult, has_result


class StudyRun:
    """The driver's side of a study: what Tune asks for and reports goes through here.

    The budget counts trials that are complete, pruned or diverged. Others that failed are replaced, until
    their setup is set aside; one that was lost and is run again has not failed. Once all are set aside the
    study has failed.
    A budget of hours is spent once this driver and earlier ones, or their packs, have taken it; packs that
    run then go on to their end.
    """

    def __init__(
        self,
        spec: StudySpec,
        record: StudyRecord,
        asker: PackAsker,
        lease: Lease,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._record = record
        self._asker = asker
        self._lease = lease
        self._watch = watch
        self._open: dict[int, tuple[Setup, str]] = {}
        self._finished = record.finished_count()
        self._failures = Failures(spec.setups())
        self._pack_index = record.last_pack()
        self._decided = False
        self._hours_spent: str | None = None
        self._check_hours()

    @property
    def finished(self) -> bool:
        """Whether nothing runs, and the budget is spent or a stop asked."""
        nothing_more = self._room() == 0 or self._hours_spent is not None or self._decided
        return not self._open and (nothing_more or self.stopping)

    @property
    def spent(self) -> str | None:
        """Which budget is spent, or that every setup is decided, in words. None while there is more to do."""
        search = self._spec.search
        if self._finished >= search.trials:
            return f"all {search.trials} trials are done"
        if self._decided and self._failures.aside:
            return "no setup that is not set aside needs more trials"
        if self._decided and search.stop.regret is not None:
            return f"every setup is decided, expected to lose at most {100 * search.stop.regret:g} points"
        return self._hours_spent

    @property
    def stopping(self) -> bool:
        """Whether a user asked the study to stop."""
        return self._lease.stop_requested

    def beat(self) -> None:
        """Show how the study is: long epochs are no silence."""
        self._watch()

    def next_pack(self) -> Pack | None:
        """Return the next pack, or None where none may start.

        None may once the rest of the budget is running, and after a stop.
        """
        self._check_lease()
        self._check_failures()
        self._check_hours()
        self._watch()
        room = self._room()
        if room == 0 or self._hours_spent is not None or self.stopping:
            return None
        pack = self._asker.ask(f"p{self._pack_index + 1:05d}", room)
        self._decided = pack is None and not self._open  # what still runs may undo it
        if pack is not None:
            self._pack_index += 1
            self._open |= {trial.number: (trial.setup, pack.name) for trial in pack.trials}
        return pack

    def start_pack(self, pack: Pack) -> None:
        """Count what a pack holds from now on."""
        self._check_lease()
        self._record.start_pack(pack.name)

    def take_epochs(self, epochs: Sequence[tuple[int, Mapping[int, Metrics]]]) -> None:
        """Record epochs of running trials."""
        self._check_lease()
        self._record.report_all(
            [(epoch, {n: own for n, own in metrics.items() if n in self._open}) for epoch, metrics in epochs]
        )
        self._watch()

    def take_results(self, results: Sequence[TrialResult]) -> None:
        """Record how trials ended; one that has ended before changes nothing."""
        ended = [self._with_pruner(result) for result in results if result.number in self._open]
        if not ended:
            return
        self._check_lease()
        self._record.finish(*ended)
        for result in ended:
            of_trial = self._open.pop(result.number)
            if has_result(result.state, result.reason):
                self._finished += 1
            else:
                self._failures.add(*of_trial, result.reason or "unknown")
        self._watch()

    def end_pack(self, pack: Pack, reason: str | None) -> None:
        """Record trials that ended without a result as lost. Their parameters are run again.

        Without a reason they stay as they are: the study ends, and then all that run wait again.
        """
        self._check_lease()
        self._record.end_pack(pack.name)
        lost = [trial.number for trial in pack.trials if trial.number in self._open]
        if lost and reason is not None:
            for number in self._record.lose(lost, reason):
                self._failures.add(*self._open[number], reason)
            for number in lost:
                del self._open[number]

    def _with_pruner(self, result: TrialResult) -> TrialResult:
        """Return a result with what pruned it, if anything did."""
        if result.state != "pruned":
            return result
        return replace(result, reason=f"{self._spec.search.pruner} at epoch {result.epochs}")

    def _room(self) -> int:
        return max(0, self._spec.search.trials - self._finished - len(self._open))

    def _check_hours(self) -> None:
        if Hours().budgets(self._spec):
            self._hours_spent = self._record.hours().spent(self._spec)

    def _check_lease(self) -> None:
        self._lease.check_held()

    def _check_failures(self) -> None:
        if not self._failures.are_new:
            return
        if self._failures.judge(self._record.trials()):
            self._asker.set_aside(self._failures.aside)
        if self._failures.all_aside:
            raise RunError(self._failures.summary(self._finished))
