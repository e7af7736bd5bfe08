"""The recorded bits on every processor with fused multiply-add; see same_bits.py."""

from functools import cache

import pytest
import same_bits
from one_test import in_one_test

INSTRUCTION_SETS = same_bits.fused_instruction_sets()
computed = cache(same_bits.computed)


def test_all_topics_are_recorded():
    assert same_bits.recorded().keys() == same_bits.TOPICS.keys()


@in_one_test
@pytest.mark.skipif(not INSTRUCTION_SETS, reason="no instruction set here fuses multiply-adds")
@pytest.mark.parametrize("name", same_bits.TOPICS)
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_same_bits(isa, name):
    """After a deliberate change of the summation order: `python tests/same_bits.py --write`."""
    assert computed(isa)[name] == same_bits.recorded()[name]
