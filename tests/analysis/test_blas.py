"""Products by NumPy's BLAS are those of torch, whatever the strides."""

import pytest
import torch

from analysis.blas import matmul


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_rows_columns_and_slices(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=generator, dtype=dtype) for shape in ((40, 7), (40, 90)))
    for one, other in ((left.T, right), (left[::2].T, right[1::2]), (right[:, :7], left.T), (left[:0], left.T)):
        found = matmul(one, other)
        assert found.dtype == dtype and found.shape == (len(one), other.shape[1])
        assert torch.allclose(found, one @ other, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=1e-5)
