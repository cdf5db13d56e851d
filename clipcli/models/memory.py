"""Memory that a device or this machine has no more of."""

from __future__ import annotations

import torch


def is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own class; CPU and MPS allocators a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        part in str(error) for part in ("out of memory", "can't allocate memory")
    )
