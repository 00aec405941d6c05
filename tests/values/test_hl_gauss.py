"""HL-Gauss against hand-computed numbers, against a float64 loop with math.erf, and as a value that is bootstrapped from."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.values.hl_gauss import HLGauss
from seqel.values.symlog import symexp, symlog


def loop_encode(head: HLGauss, value: float) -> list[float]:
    """The definition, one bin at a time."""
    x = math.copysign(math.log1p(abs(value)), value) if head.symlog else value
    x = min(max(x, head.low), head.high)
    width = (head.high - head.low) / head.bins

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf((edge - x) / (math.sqrt(2) * head.sigma * width)))

    edges = [head.low + i * width for i in range(head.bins + 1)]
    mass = [below(b) - below(a) for a, b in pairwise(edges)]
    return [m / sum(mass) for m in mass]


# ---------------------------------------------------------------------------------------------------- symlog


def test_symlog_by_hand() -> None:
    x = torch.tensor([0.0, math.e - 1, 1 - math.e, 999.0], dtype=torch.float64)
    # ln(1 + e - 1) = 1; odd; ln 1000 = 6.907755
    torch.testing.assert_close(symlog(x), torch.tensor([0.0, 1.0, -1.0, math.log(1000)], dtype=torch.float64))
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_symlog_gradients() -> None:
    for function, expected in ((symlog, [0.5, 1.0, 0.25]), (symexp, [math.e, 1.0, math.e**3])):
        x = torch.tensor([-1.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
        function(x).sum().backward()  # 1 / (1 + |x|) and exp(|x|): at 0 both are 1
        assert x.grad is not None
        assert x.grad.tolist() == pytest.approx(expected)
    x = torch.tensor([-2.0, -0.3, 0.4, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(symlog, x)
    assert torch.autograd.gradcheck(symexp, x)


# ----------------------------------------------------------------------------------------------- worked by hand


def test_centres_and_edges_by_hand() -> None:
    head = HLGauss(bins=4, low=-2.0, high=2.0)
    assert head.edges().tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert head.centres().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert head.centres(dtype=torch.float64).dtype == torch.float64


def test_encode_by_hand() -> None:
    # Bins [-2,-1] [-1,0] [0,1] [1,2] with sigma 1 and the value 0: Phi(1) = .841345, Phi(2) = .977250.
    # Inner bins .841345 - .5 = .341345, outer .977250 - .841345 = .135905; all four .954500; divided by that.
    found = HLGauss(bins=4, low=-2.0, high=2.0, sigma=1.0).encode(torch.tensor(0.0))
    outer, inner = 0.135905 / 0.954500, 0.341345 / 0.954500
    assert found.tolist() == pytest.approx([outer, inner, inner, outer], abs=2e-6)


def test_expectation_by_hand() -> None:
    head = HLGauss(bins=4, low=-2.0, high=2.0)
    # Probabilities 1/8 1/8 1/4 1/2: -1.5/8 - .5/8 + .5/4 + 1.5/2 = .625
    logits = torch.tensor([0.125, 0.125, 0.25, 0.5]).log()
    assert head.expectation(logits).item() == pytest.approx(0.625)


def test_cross_entropy_by_hand() -> None:
    head = HLGauss(bins=4, low=-2.0, high=2.0, sigma=1.0)
    # Uniform logits: ln 4 whatever the target.
    assert head.cross_entropy(torch.zeros(4), torch.tensor(0.7)).item() == pytest.approx(math.log(4))
    # Probabilities 1/8 1/8 1/4 1/2 and the target of test_encode_by_hand:
    outer, inner = 0.135905 / 0.954500, 0.341345 / 0.954500
    expected = outer * math.log(8) + inner * math.log(8) + inner * math.log(4) + outer * math.log(2)
    logits = torch.tensor([0.125, 0.125, 0.25, 0.5]).log()
    assert head.cross_entropy(logits, torch.tensor(0.0)).item() == pytest.approx(expected, abs=1e-5)


# ---------------------------------------------------------------------------------------------- against the loop

HEADS = [
    HLGauss(bins=2, low=0.0, high=1.0),
    HLGauss(bins=51, low=-1.2, high=1.2),
    HLGauss(bins=101, low=-10.0, high=30.0, sigma=2.0),
    HLGauss(bins=101, low=-7.0, high=7.0, symlog=True),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("head", HEADS)
def test_against_the_loop(head: HLGauss, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    value = 2 * head.high * torch.randn(3, 5, generator=generator, dtype=torch.float64)  # also beyond the edges
    value[0, :3] = torch.tensor([0.0, head.low, head.high])
    value = value.to(dtype)
    logits = torch.randn(3, 5, head.bins, generator=generator, dtype=torch.float64).to(dtype)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-10

    expected = torch.tensor([[loop_encode(head, v) for v in row] for row in value.double().tolist()]).double()
    found = head.encode(value)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=max(tolerance, 1e-7))
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 5, dtype=dtype))

    loss = -(expected * logits.double().log_softmax(-1)).sum(-1)
    torch.testing.assert_close(head.cross_entropy(logits, value).double(), loss, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("head", HEADS[1:3])
def test_the_expectation_of_an_encoded_value_is_the_value(head: HLGauss) -> None:
    # At least four sigma from the edges nothing is cut off, so expectation(encode(v)) is v.
    room = 4 * max(head.sigma, 1.0) * head.width
    value = torch.linspace(head.low + room, head.high - room, 500, dtype=torch.float64)
    back = head.expectation(head.encode(value).log())
    torch.testing.assert_close(back, value, rtol=0, atol=1e-4 * head.width + 2e-4 * room)


def test_the_expectation_of_an_encoded_value_is_the_value_in_symlog_space() -> None:
    head = HLGauss(bins=101, low=-10.0, high=10.0, symlog=True)
    large = symexp(torch.linspace(1.0, 9.0, 500, dtype=torch.float64))  # 1.7 to 8102
    for value in (large, -large):
        torch.testing.assert_close(head.expectation(head.encode(value).log()), value, rtol=1e-5, atol=0)
        # The symexp of the middles without the factor is 2 % too large everywhere: the reason for the factor.
        middle = torch.linspace(-10 + head.width / 2, 10 - head.width / 2, 101, dtype=torch.float64)
        uncorrected = (head.encode(value) * symexp(middle)).sum(-1)
        assert ((uncorrected / value) > 1.01).all()


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.5, 0.9])
def test_small_values_are_recovered_in_symlog_space(offset: float) -> None:
    # However the bins lie around the kink at 0: a centre that is 1e-17 instead of 0 must not be taken for positive.
    width = 0.2
    head = HLGauss(bins=101, low=-10.1 + offset * width, high=10.1 + offset * width, symlog=True)
    small = torch.linspace(-1.7, 1.7, 501, dtype=torch.float64)
    back = head.expectation(head.encode(small).log())
    torch.testing.assert_close(back, small, rtol=0, atol=width**2 / 8)
    assert (back.diff() > 0).all()
    if offset == 0.0:
        assert back[250].abs() < 1e-12  # 0 is 0


def test_symlog_values_are_means_of_returns() -> None:
    # Half 0 and half 100 is worth 50, not the symexp of the mean symlog, sqrt(101) - 1 = 9.05.
    head = HLGauss(bins=101, low=-10.0, high=10.0, symlog=True)
    mixture = 0.5 * head.encode(torch.tensor([0.0, 100.0], dtype=torch.float64)).sum(0)
    assert head.expectation(mixture.log()).item() == pytest.approx(50.0, rel=1e-3)


def test_targets_beyond_the_edges_are_clamped() -> None:
    head = HLGauss(bins=11, low=-1.0, high=1.0)
    beyond = head.encode(torch.tensor([5.0, -5.0, math.inf, -math.inf]))
    edge = head.encode(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert torch.equal(beyond, edge)
    assert beyond[0].argmax() == 10
    assert beyond[1].argmax() == 0
    assert head.encode(torch.tensor(math.nan)).isnan().all()  # stays visible to the learner's NaN guard


# ------------------------------------------------------------------------------------------- gradients, autocast


def test_gradient_is_softmax_minus_target() -> None:
    head = HLGauss(bins=7, low=-1.0, high=1.0)
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    value = torch.tensor([-0.5, 0.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    head.cross_entropy(logits, value).sum().backward()
    torch.testing.assert_close(logits.grad, (logits.softmax(-1) - head.encode(value)).detach())
    assert value.grad is None  # a target carries no gradient
    assert torch.autograd.gradcheck(lambda x: head.cross_entropy(x, value.detach()), logits)
    assert torch.autograd.gradcheck(head.expectation, logits)


def test_descending_the_loss_finds_the_mean_target() -> None:
    # Two targets equally often: the value learned must be their mean.
    head = HLGauss(bins=51, low=-2.0, high=2.0)
    logits = torch.zeros(51, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([-0.4, 1.0], dtype=torch.float64)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        optimiser.zero_grad()
        head.cross_entropy(logits.expand(2, 51), target).mean().backward()
        optimiser.step()
    assert head.expectation(logits).item() == pytest.approx(0.3, abs=1e-2)


@pytest.mark.parametrize("head", HEADS)
def test_full_precision_under_autocast(head: HLGauss) -> None:
    logits = torch.randn(8, head.bins, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    value = torch.linspace(head.low, head.high, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expectation, loss = head.expectation(logits), head.cross_entropy(logits, value)
    assert expectation.dtype == loss.dtype == torch.float32
    assert torch.equal(expectation, head.expectation(logits.float()))
    assert torch.equal(loss, head.cross_entropy(logits.float(), value))


def test_compiles_without_a_graph_break() -> None:
    head = HEADS[3]
    logits, value = (
        torch.randn(3, head.bins, generator=torch.Generator().manual_seed(0)),
        torch.tensor([-9.0, 0.0, 4.0]),
    )

    def both(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return head.expectation(x), head.cross_entropy(x, v)

    compiled = torch.compile(both, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits, value), both(logits, value), rtol=0, atol=0)


# --------------------------------------------------------------------------------------------------- clear errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bins": 1}, "at least 2 bins; got 1"),
        ({"low": 1.0}, "low < high; got 1.0 and 1.0"),
        ({"high": math.inf}, "finite edges"),
        ({"low": math.nan}, "finite edges"),
        ({"sigma": 0.0}, "sigma > 0"),
        ({"sigma": math.nan}, "sigma > 0"),
    ],
)
def test_settings_out_of_range(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HLGauss(**({"bins": 5, "low": -1.0, "high": 1.0} | change))  # type: ignore[arg-type]


def test_errors_about_wrong_shapes_name_the_shapes() -> None:
    head = HLGauss(bins=5, low=-1.0, high=1.0)
    with pytest.raises(ValueError, match=r"\(..., 5\).*got \(2, 4\)"):
        head.expectation(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"value \(2, 3\).*got \(2,\)"):
        head.cross_entropy(torch.zeros(2, 3, 5), torch.zeros(2))


def test_gradients_of_symlog_are_finite_where_the_other_branch_is_singular() -> None:
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64, requires_grad=True)
    symlog(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.5, 0.5]
