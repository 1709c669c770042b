"""Conditions on a site's geometry that several operators share."""

from __future__ import annotations

from spnas.architecture import ConvSite


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
