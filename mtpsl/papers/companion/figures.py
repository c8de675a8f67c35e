"""Pictures of the data itself, and of what label settings withhold."""

from mtpsl.papers.companion import scenes
from mtpsl.report import arrays
from mtpsl.report.figure import Figure

FIGURES: tuple[Figure, ...] = (
    Figure(
        name="overview",
        paper="companion",
        title="Dense labels, and which of them one-label training sees",
        source="embedded data, rooms13",
        caption=(
            "Generated rooms with their three dense labels; under the one-label setting a "
            "network sees the vivid label of each image and never the pale ones."
        ),
        alt=(
            "Six generated room images in a row, below each its class map, depth map and "
            "surface normal map, two of the three faded because they are withheld."
        ),
        arrays=arrays.overview,
        draw=scenes.draw_overview,
    ),
    Figure(
        name="label_settings",
        paper="companion",
        title="Label settings",
        source="[HiTTs, Sec. 4.1]",
        caption=(
            "Which of 795 training images carry which task's label in each label setting; a "
            "column is an image."
        ),
        alt="For each label setting a strip with a row for each task and a column an image.",
        arrays=arrays.label_settings,
        draw=scenes.draw_label_settings,
    ),
)
