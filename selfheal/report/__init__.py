"""A model's story as one HTML page that needs nothing beside it: for whoever was not there."""

from selfheal.report.page import written
from selfheal.report.story import Story, tell

__all__ = ["Story", "tell", "written"]
