"""Every level can be set, and each says less than the one before."""

import logging

from meshd.core.log_levels import LEVELS


def test_every_level_is_one_that_logging_knows_each_stricter_than_the_last():
    numbers = [logging.getLevelNamesMapping()[level.upper()] for level in LEVELS]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(LEVELS) > 0
