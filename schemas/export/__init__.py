"""What follows from `schemas.topics`: the JSON Schemas and the AsyncAPI document.

`python -m schemas.export [--check | --release]` writes, checks or releases them.
"""

from schemas.export.export import HOME, BreakingChangeError, all_topics, folder_name, plan, release

__all__ = ["HOME", "BreakingChangeError", "all_topics", "folder_name", "plan", "release"]
