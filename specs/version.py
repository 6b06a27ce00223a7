"""The version of the whole product; pyproject.toml reads it from here, and so do images that hold no package."""

VERSION = "0.1.0"
