"""What a file may say that somebody else wrote."""

from hypothesis import strategies as st

from router_sdk.plugin import CorruptArtifactError

numbers = st.one_of(
    st.integers(), st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**64, 10**30]), st.floats(), st.booleans(), st.none()
)
values = st.recursive(
    numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DEEP = "[" * 100_000


def accepted(read):
    """Whether it was read; any error but the one kind is passed on."""
    try:
        read()
    except CorruptArtifactError:
        return False
    return True
