"""Every stand-in fulfills what it has to: run with ``pytest -m slow tests/test_acceptance.py``."""

import pytest
from acceptance import people21, rooms13, streets7
from acceptance.shared import format_report

from mtpsl.data import DATASETS

REPORTS = {
    "rooms13": rooms13.acceptance_report,
    "streets7": streets7.acceptance_report,
    "people21": people21.acceptance_report,
}


def test_every_stand_in_has_acceptance_tests():
    assert set(REPORTS) == {name for name, kind in DATASETS.items() if kind.stand_in}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_it_is_accepted(name, tmp_path):
    findings = REPORTS[name](cache_dir=tmp_path)
    assert all(finding.ok for finding in findings), "\n" + format_report(findings)
