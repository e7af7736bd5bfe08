"""Reproduction of the recipes: training with several seeds, records and reports."""

from lenet5c.reproduction.record import read_record
from lenet5c.reproduction.records import reproduce_records
from lenet5c.reproduction.rerun import reproduce

__all__ = ["read_record", "reproduce", "reproduce_records"]
