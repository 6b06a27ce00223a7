"""Standard normal noise of one tensor: independent numbers for a small one, windows of one short pool for a large one.

Drawing is what dense perturbations cost: a core draws some 360 million normals a second and adds thousands of millions.
So a tensor of more than ``WINDOW`` entries is cut into windows that read one pool, each a little further on, as the
shared table of Salimans et al. (2017, arXiv 1703.03864, section 2) is read at offsets.

What differs from the table: the pool is drawn anew for every seed, and every window has a random sign of its own. Then
entries of one window are independent, and those of two windows uncorrelated even where both read the same number. So
every entry is standard normal and E[z z^T] = I exactly: a slope along z, times z, is the gradient in the mean. Without
signs, entries that read the same number would be equal; with one table for all seeds, two entries of a slice would stay
correlated by about one over the root of the table's length, step after step. What does not hold across windows is that
entries are jointly normal: what needs fourth moments (the gradient of a smoothed loss, beyond the loss's own) is exact
only for tensors of one window.
"""

# W = windows, L = entries of a window

from typing import final

import torch
from torch import Tensor

WINDOW = 16_384
STRIDE = 61
"""From one window's start to the next: no divisor of a usual row's length, so that the rows of a matrix do not meet."""


@final
class Noise:
    """z for a tensor like ``like``, from ``generator``: equal generators give equal noise. It holds one pool."""

    def __init__(self, like: Tensor, generator: torch.Generator) -> None:
        self._shape = like.shape
        count = like.numel()
        whole = (count - 1) // WINDOW if count > WINDOW else 0
        pool = torch.empty(whole * STRIDE + min(count, WINDOW), dtype=like.dtype, device=like.device)
        pool.normal_(generator=generator)
        self._cut = whole * WINDOW
        self._windows_WL = pool.unfold(0, WINDOW, STRIDE)[:whole] if whole else pool.new_empty(0, WINDOW)
        self._last = pool[whole * STRIDE :][: count - self._cut]
        # A tensor of one window needs no sign.
        sign_W1 = pool.new_ones(whole + 1, 1)
        if whole:
            sign_W1.random_(2, generator=generator).mul_(2).sub_(1)
        self._sign_W1, self._last_sign = sign_W1[:whole], sign_W1[whole]

    def add(self, into: Tensor, scale: float | Tensor, *, onto: Tensor | None = None) -> None:
        """``into = onto + scale * z``, ``onto`` being ``into`` where it is not given. ``scale`` is 0-dim."""
        base = into if onto is None else onto
        if not (into.is_contiguous() and base.is_contiguous()):
            torch.add(base, self.times(scale), out=into)
            return
        base, into = base.view(-1), into.view(-1)
        if self._cut:
            wide = self._windows_WL.shape
            below, above = base[: self._cut].view(wide), into[: self._cut].view(wide)
            torch.addcmul(below, self._windows_WL, self._sign_W1 * scale, out=above)
        torch.addcmul(base[self._cut :], self._last, self._last_sign * scale, out=into[self._cut :])

    def times(self, scale: float | Tensor) -> Tensor:
        """``scale * z`` as a tensor of its own."""
        made: Tensor = self._last.new_empty(self._shape)
        flat = made.view(-1)
        if self._cut:
            torch.mul(self._windows_WL, self._sign_W1 * scale, out=flat[: self._cut].view(self._windows_WL.shape))
        torch.mul(self._last, self._last_sign * scale, out=flat[self._cut :])
        return made
