"""Every table of the project, by ``paper/table``."""

from mtpsl.experiments import checks, hitts, xtc
from mtpsl.experiments.spec import Table

TABLES: dict[str, Table] = {
    f"{table.paper}/{table.name}": table
    for tables in (checks.TABLES, hitts.TABLES, xtc.TABLES)
    for table in tables.values()
}
