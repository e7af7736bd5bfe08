"""The rerun of the recipes: trainings with several seeds, the record of them, and a report."""

from lenet5c.reproduction.record import read_record
from lenet5c.reproduction.records import reproduce_records
from lenet5c.reproduction.rerun import reproduce

__all__ = ["read_record", "reproduce", "reproduce_records"]
