"""What no paper's tables can say: tables and figures of this companion's own."""

from mtpsl.papers import Paper

PAPER = Paper(
    name="companion",
    key="",
    title="Whether data and profile can decide anything, and what each method is made of",
)
