"""The best programs of a search, by number of operations."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np

from ...arguments import Array, checked, nonnegative
from .._program import MAX_REGISTERS, Program

FORMAT = "numcore front 1"
MAX_OPS = (MAX_REGISTERS - 1) // 4

Reason: TypeAlias = Literal["budget", "time", "callback", "interrupt", "exhausted", "running"]


@dataclass(frozen=True, eq=False)
class Front:
    """The best programs of a search, by number of operations.

    Attributes
    ----------
    programs : tuple of Program
        Sorted by `n_ops`; each has a smaller error than all before it.
    errors : float64 array of shape (n,)
        Largest errors on validation points, none of which was used in fitting but the ends of the
        interval.
    n_ops : int64 array of shape (n,)
    evaluations : int
        Programs whose constants were fitted.
    history : float64 array of shape (h, 3)
        A row (evaluations, n_ops, error) for each time the front improved.
    reason : {"budget", "time", "callback", "interrupt", "exhausted", "running"}
        Why the search ended; "exhausted" where no mutation gives a program that has not been fitted
        often enough, "running" in what the callback gets.
    arithmetic : str
        What the programs were run in for `errors`: "float64", in which no relative error below
        about 1e-15 can be seen; "long double", where the target has a method `exact`; or "float32",
        where that was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from numcore.special import Front, evolve
    >>> front = evolve(np.exp2, (0, 1), max_ops=4, budget=300, rng=0)
    >>> again = Front.from_json(front.to_json())
    >>> again.programs == front.programs
    True
    """

    programs: tuple[Program, ...]
    errors: Array
    n_ops: Array
    evaluations: int
    history: Array
    reason: Reason = "budget"
    arithmetic: Literal["float64", "long double", "float32"] = "float64"

    def __len__(self) -> int:
        return len(self.programs)

    def __str__(self) -> str:
        rows = [
            f"{n:4d}  {e:.3e}  {p.simplify()!r}"
            for n, e, p in zip(self.n_ops, self.errors, self.programs, strict=True)
        ]
        return "\n".join([" ops  error", *rows])

    @checked
    def best(self, max_ops: Annotated[int, nonnegative]) -> Program:
        """The program with the smallest error among those of at most `max_ops` operations;
        ValueError if there is none."""
        fitting = np.flatnonzero(self.n_ops <= max_ops)
        if not fitting.size:
            smallest = self.n_ops.min(initial=MAX_OPS)
            raise ValueError(f"max_ops must be >= {smallest}, the smallest program (got {max_ops})")
        return self.programs[fitting[-1]]

    def to_json(self) -> str:
        """The front as text, exact to the last bit."""
        return json.dumps(
            {
                "format": FORMAT,
                "evaluations": self.evaluations,
                "reason": self.reason,
                "arithmetic": self.arithmetic,
                "programs": [
                    {"code": p.code.tolist(), "constants": p.constants.tolist()}
                    for p in self.programs
                ],
                "errors": self.errors.tolist(),
                "history": self.history.tolist(),
            }
        )

    @classmethod
    @checked
    def from_json(cls, text: str) -> "Front":
        """The front that `to_json` wrote; ValueError for any other text."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"format must be {FORMAT!r} (got {data['format']!r})")
            programs = tuple(Program(p["code"], p["constants"]) for p in data["programs"])
            errors = np.array(data["errors"], np.float64)
            history = np.array(data["history"], np.float64).reshape(-1, 3)
            if errors.shape != (len(programs),):
                raise ValueError("a front must have one error for each program")
            return cls(
                programs,
                errors,
                np.array([p.n_ops for p in programs], np.int64),
                int(data["evaluations"]),
                history,
                str(data["reason"]),
                str(data["arithmetic"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"text must be the JSON of a Front ({error})") from None
