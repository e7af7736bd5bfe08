"""What ``lenet5c reproduce`` does: trainings as processes of their own, and the report on them."""

from lenet5c.reproduction.record import check_reached, reached_text, read_record

__all__ = ["check_reached", "reached_text", "read_record"]
