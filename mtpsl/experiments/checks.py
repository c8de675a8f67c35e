"""What a paper's tables cannot say: whether the data and the profile can decide anything.

Run before methods are compared, on supervised MTL alone. The spread over seeds says how large a
difference the tables can see; full labels against one label an image says whether labels matter.
"""

import math

from mtpsl.experiments.hitts import HEADLINES, mtl
from mtpsl.experiments.spec import Claim, Row, Table

FULL, ONE = "full labels", "one label an image"

SEPARATION = Table(
    name="separation",
    paper="checks",
    title="Supervised MTL with every label and with one label an image",
    source="[check of data and profile]",
    columns=tuple(HEADLINES),
    rows=(
        Row(name=FULL, label=FULL, experiments=(mtl("full"),), printed=(math.nan,) * 3),
        Row(name=ONE, label=ONE, experiments=(mtl("one_label"),), printed=(math.nan,) * 3),
    ),
    claims=tuple(
        Claim(
            text=f"full labels beat one label an image on {title}",
            better=FULL,
            worse=ONE,
            column=column,
        )
        for column, title in HEADLINES.items()
    ),
    notes=(
        "Three seeds see a difference between two rows of the same spread once it is larger than "
        "about 3.5 standard deviations of one row: Student's 4.3 times the square root of 2/3.",
    ),
)

TABLES = {SEPARATION.name: SEPARATION}
