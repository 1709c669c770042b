"""What several operators ask of a site's geometry, and make of their ratio."""

from __future__ import annotations

from spnas.architecture import ConvSite

_SLACK = 1e-2  # 1/ratio this near to an integer is that integer, so that 0.333 means 1/3


def share_of(channels: int, ratio: float) -> int:
    """Count a share of channels, `int(ratio * channels)` safe from rounding below."""
    return int(ratio * channels + 1e-6)


def one_over(ratio: float) -> int | None:
    """Give the integer of at least 2 that the ratio is one over; None where there is none."""
    whole = round(1 / ratio) if ratio > 0 else 0
    return None if whole < 2 or abs(1 / ratio - whole) > _SLACK else whole


def off_centre(site: ConvSite) -> str | None:
    """Say why a 1x1 convolution of the site's stride would not read the pixels that the k x k kernels are centred on.

    Where they are, both have the same output size, at any input size and stride.

    Returns:
        The reason as a refusal gives it, None where the kernel is centred.
    """
    if site.kernel_size % 2 and 2 * site.padding == site.dilation * (site.kernel_size - 1):
        return None
    return (
        "expected an odd kernel whose padding keeps the size at stride 1, "
        f"got {site.kernel_size}x{site.kernel_size} with padding {site.padding}, dilation {site.dilation}"
    )
