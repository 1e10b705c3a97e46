"""The errors that a user may meet. The CLI maps each class to an exit code."""


class KDSearchError(Exception):
    """Base of every error that kdsearch raises on purpose."""


class RequestError(KDSearchError, ValueError):
    """A wrong request: a spec, an option, an unknown study (exit code 2)."""


class SpecError(RequestError):
    """A wrong study spec; `problems` has one message for each mistake."""

    def __init__(self, problems: list[str], source: str = "the study spec") -> None:
        self.problems = problems
        self.source = source
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
        super().__init__("\n".join([f"{source} has {count}:", *(f"  {p}" for p in problems)]))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[list[str], str]]:
        return type(self), (self.problems, self.source)


class RunError(KDSearchError, RuntimeError):
    """It failed while running (exit code 1)."""


class LiveDriverError(KDSearchError, RuntimeError):
    """The study has a live driver elsewhere (exit code 3)."""
