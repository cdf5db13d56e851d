"""Features that were computed before, on disk: SQLite with migrations, and matrices of it for searching."""

from clipcli.cache.feature_cache import (
    NAME,
    TOWERS,
    FeatureCache,
    content_digest,
    default_folder,
    prompts_digest,
)

__all__ = ["NAME", "TOWERS", "FeatureCache", "content_digest", "default_folder", "prompts_digest"]
