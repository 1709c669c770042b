"""Search spaces: which operators each site of a base network may have."""

from spnas.spaces.load import list_spaces, load_space
from spnas.spaces.space import SearchSpace

__all__ = ["SearchSpace", "list_spaces", "load_space"]
