"""The front door: HTTP in, rows and a wake-up out."""

from api.memory import left_out

# The log's renderer for terminals would load rich, five megabytes that JSON lines never use.
with left_out("rich"):
    import structlog as structlog
