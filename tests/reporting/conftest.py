"""Records of made-up scores."""

from made_records import make_record  # noqa: F401
