"""One line of the table: what was measured, the figure, what stands beside it, their ratio, the goal."""


def head() -> None:
    """Name the columns."""
    line("what", "ours", "beside it, in the same run", None, "goal")


def line(what: str, ours: str, beside: str = "", ratio: float | None = None, goal: str = "") -> None:
    """Print one line."""
    shown = "" if ratio is None else f"{ratio:.2f}x"
    print(f"{what:<46} {ours:>12}  {beside:<38} {shown:>8}  {goal}", flush=True)


def ms(seconds: float) -> str:
    """Write a time in milliseconds."""
    return f"{seconds * 1000:,.1f} ms"
