"""A network as it is: taken whole or in two parts, its cut proven, and refused where adoption would refuse it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes IterativeImputer importable
from sklearn.impute import IterativeImputer
from sklearn.preprocessing import FunctionTransformer
from torch import Tensor, nn

from selfheal import MonitoredModel
from selfheal.errors import InputError
from selfheal.parts.network import PLAIN, is_plain
from selfheal.parts.program import export_program


def rows(classes: int = 3, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    return made.assign(y=np.arange(n) % classes)


class Net(nn.Module):
    """As most people write one."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.classifier = nn.Linear(8, outputs)

    def hidden(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.hidden(x))
        return found


def net(kind: type[nn.Module] = Net, **options: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind(**options).eval()


def plain(*last: nn.Module, outputs: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, outputs), *last).eval()


def wanted(module: nn.Module, frame: pd.DataFrame) -> Any:
    """The probabilities by the module itself."""
    module.eval()
    with torch.no_grad():
        return module(torch.tensor(frame[list("abcd")].to_numpy(), dtype=next(module.parameters()).dtype)).numpy()


# ---------------------------------------------------------------------- one module


@pytest.mark.parametrize("head", ["classifier", -1])
def test_one_module_is_cut_before_its_head(head: Any) -> None:
    module = net()
    model = MonitoredModel(module=module, head=head, reference=rows(), target="y")
    expected = torch.from_numpy(wanted(module, rows())).softmax(1).numpy()
    assert np.allclose(model.predict_proba(rows()), expected, atol=1e-6)
    assert model.hidden_dim == 8
    assert "hidden 8, cut before 'classifier', adapter" in repr(model)
    assert model.head is module.classifier  # shared, not copied
    assert isinstance(module.classifier, nn.Linear)  # and the module is as it was


@pytest.mark.parametrize(
    ("last", "outputs", "dropped"),
    [(nn.Softmax(dim=1), 3, "Softmax"), (nn.Softmax(dim=-1), 2, "Softmax"), (nn.LogSoftmax(dim=1), 3, "LogSoftmax"),
     (nn.Sigmoid(), 1, "Sigmoid"), (nn.Dropout(0.5), 3, "")],
)  # fmt: skip
def test_a_last_layer_that_makes_probabilities_is_left_out(last: nn.Module, outputs: int, dropped: str) -> None:
    module, frame = plain(last, outputs=outputs), rows(max(outputs, 2))
    found = [
        MonitoredModel(module=module, head=-1, reference=frame, target="y"),
        MonitoredModel(module[:3], module[3:], frame, target="y"),
        MonitoredModel(module=module, head="3", reference=frame, target="y"),
    ]
    said = wanted(module, frame)
    expected = {"LogSoftmax": np.exp, "": lambda z: torch.from_numpy(z).softmax(1).numpy()}.get(dropped, np.asarray)(
        said
    )
    for model in found:
        proba = model.predict_proba(frame)
        assert np.allclose(proba[:, -outputs:], expected, atol=1e-6)
        assert (f"{dropped} left out" in repr(model)) == bool(dropped)


class Residual(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[:, :3]


class SoftmaxByFunction(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(dim=1)


class SoftmaxByHand(Net):
    def forward(self, x: Tensor) -> Tensor:
        e = super().forward(x).exp()
        return e / e.sum(dim=1, keepdim=True)


class ByAttribute(Net):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.hidden(x), self.classifier.weight, self.classifier.bias)


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = self.hidden(x)
        return self.classifier(h) + self.classifier(-h)


class Pair(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Followed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(super().forward(x))
        return found


CANNOT_CUT: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "a residual around it": (lambda: net(Residual), "classifier", r"does more.*residual.*backbone= and head="),
    "a softmax as a function": (lambda: net(SoftmaxByFunction), "classifier", r"applies a softmax.*return the head"),
    "a softmax by hand": (lambda: net(SoftmaxByHand), -1, r"applies a softmax"),
    "a part that is not called": (lambda: net(ByAttribute), "classifier", r"never called"),
    "a part that is called twice": (lambda: net(Twice), "classifier", r"called 2 times"),
    "two outputs": (lambda: net(Pair), "classifier", r"a tuple.*one tensor of logits"),
    "not the last": (lambda: net(Followed), "classifier", r"'last' is computed after it"),
    "no such part": (net, "clasifier", r"no part of Net; did you mean 'classifier'.*body, classifier"),
    "a number": (net, -2, r"head=-2 is no part"),
    "an activation at the end": (lambda: plain(nn.ReLU()), -1, r"'4', a ReLU, which has no weights"),
    "sigmoids for classes": (lambda: plain(nn.Sigmoid()), -1, r"Sigmoid over 3 outputs.*cross-entropy"),
    "a softmax over one": (lambda: plain(nn.Softmax(dim=1), outputs=1), -1, r"Softmax over one output"),
    "a softmax over rows": (lambda: plain(nn.Softmax(dim=0)), "3", r"'4' is computed after it"),
}  # fmt: skip


@pytest.mark.parametrize("what", CANNOT_CUT)
def test_a_cut_that_is_no_cut_is_refused_with_the_reason(what: str) -> None:
    make, head, said = CANNOT_CUT[what]
    with pytest.raises(InputError, match=said):
        MonitoredModel(module=make(), head=head, reference=rows(), target="y", in_memory=True)


@pytest.mark.parametrize(
    "parts",
    [{}, {"module": nn.Linear(4, 2)}, {"backbone": nn.Linear(4, 2)}, {"head": "x", "backbone": nn.Linear(4, 2)}],
)
def test_a_network_that_is_not_given_is_asked_for(parts: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="two modules, or as module="):
        MonitoredModel(**parts, reference=rows(), target="y")


# ---------------------------------------------------------------------- what adoption would refuse


class OwnSoftmax(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(dim=1)


class OwnSigmoid(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x)).squeeze(1)


class Branching(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(self.weight.sum()) > 0 else -x)


class Random(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.rand(len(x), 1)


class Centred(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(dim=0))


class TwoInputs(nn.Linear):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x + other)


def poisoned() -> nn.Module:
    made = nn.Linear(4, 8)
    nn.init.constant_(made.weight, float("nan"))
    return made


NETWORKS: dict[str, tuple[nn.Module, nn.Module, str]] = {
    "a softmax in the head": (nn.Linear(4, 8), OwnSoftmax(8, 3), r"ends in a softmax.*leave it out"),
    "a branch on a value": (Branching(4, 8), nn.Linear(8, 3), r"cannot be stored.*tensor operators.*in_memory=True"),
    "chance": (Random(4, 8), nn.Linear(8, 3), r"differently when asked twice.*self\.training"),
    "the batch's mean": (Centred(4, 8), nn.Linear(8, 3), r"depends on the rows beside it"),
    "the batch's statistics": (
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False)), nn.Linear(8, 3),
        r"depends on the rows beside it: a BatchNorm",
    ),
    "weights that are no numbers": (poisoned(), nn.Linear(8, 3), r"row 0 of the reference no finite logits.*weights"),
    "two inputs": (TwoInputs(4, 8), nn.Linear(8, 3), r"several inputs is given inputs="),
    "a hidden state of three axes": (nn.Unflatten(1, (2, 2)), nn.Linear(2, 3), r"float32 \[60, 2, 2\].*flatten"),
    "too few outputs": (nn.Linear(4, 8), nn.Linear(8, 2), r"2 logits.*3 classes.*classes="),
}  # fmt: skip


@pytest.mark.parametrize("what", NETWORKS)
@pytest.mark.filterwarnings("ignore")
def test_a_network_that_adoption_would_refuse_is_refused_at_once(what: str) -> None:
    backbone, head, said = NETWORKS[what]
    with pytest.raises(InputError, match=said):
        MonitoredModel(backbone, head, rows(), target="y")


def test_one_sigmoid_by_function_is_refused() -> None:
    with pytest.raises(InputError, match="ends in a sigmoid"):
        MonitoredModel(nn.Linear(4, 8), OwnSigmoid(8, 1), rows(2), target="y")


def test_in_memory_a_network_that_cannot_be_stored_is_taken() -> None:
    model = MonitoredModel(Branching(4, 8), nn.Linear(8, 3), rows(), target="y", in_memory=True)
    assert model.predict_proba(rows()).shape == (60, 3)
    own = FunctionTransformer(lambda x: x * 2).fit(rows()[list("abcd")])
    with pytest.raises(InputError, match="lambda"):
        MonitoredModel(nn.Linear(4, 8), nn.Linear(8, 3), rows(), target="y", preprocess=own)
    MonitoredModel(nn.Linear(4, 8), nn.Linear(8, 3), rows(), target="y", preprocess=own, in_memory=True)


def test_a_gap_that_nothing_fills_is_refused_and_an_imputer_that_samples() -> None:
    frame = rows()
    frame.loc[::7, "b"] = np.nan
    with pytest.raises(InputError, match=r"row 0 .*1 of its inputs are missing.*SimpleImputer"):
        MonitoredModel(nn.Linear(4, 8), nn.Linear(8, 3), frame, target="y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = IterativeImputer(sample_posterior=True, random_state=0).fit(frame[list("abcd")])
    with pytest.raises(InputError, match="on chance"):
        MonitoredModel(nn.Linear(4, 8), nn.Linear(8, 3), frame, target="y", preprocess=samples)


def test_a_network_of_64_bit_floats_is_served_in_32() -> None:
    module = plain().double()
    model = MonitoredModel(module=module, head=-1, reference=rows(), target="y")
    assert np.allclose(model.predict_proba(rows()), torch.from_numpy(wanted(module, rows())).softmax(1), atol=1e-5)
    assert next(module.parameters()).dtype == torch.float64
    assert next(model.backbone.parameters()).dtype == torch.float32
    backbone, head = nn.Linear(4, 2).double(), nn.Linear(2, 1).double()
    with torch.no_grad():  # the difference of two large numbers
        backbone.weight.copy_(torch.tensor([[1e7 / 3, 0, 0, 0], [1e7 / 3 + 0.1, 0, 0, 0]]))
        head.weight.copy_(torch.tensor([[1.0, -1.0]]))
    with pytest.raises(InputError, match=r"64-bit floats.*limit 0\.001"):
        MonitoredModel(backbone, head, rows(2), target="y")


def test_a_wrapped_network_is_unwrapped() -> None:
    module = net()
    model = MonitoredModel(module=nn.DataParallel(module), head="classifier", reference=rows(), target="y")
    assert model.head is module.classifier


def test_every_plain_layer_is_stored() -> None:
    """A network of these is not exported when a model is made: each of them can be."""
    given = {nn.Linear: (4, 4), nn.BatchNorm1d: (4,), nn.LayerNorm: (4,), nn.Sequential: (nn.Linear(4, 4),)}
    for kind in sorted(PLAIN, key=lambda k: k.__name__):
        made = nn.Sequential(nn.Linear(4, 4), kind(*given.get(kind, ()))).eval()
        assert is_plain(made)
        assert export_program(made, torch.randn(5, 4))
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    assert not is_plain(hooked)
    assert not is_plain(net())


# ---------------------------------------------------------------------- classes


def test_labels_that_the_reference_lacks_are_named() -> None:
    frame = rows(2)
    model = MonitoredModel(nn.Linear(4, 8), nn.Linear(8, 3), frame, target="y", classes=[0, 1, 2])
    assert model.predict_proba(frame).shape == (60, 3)
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "classes", "kind"),
    [
        ([True, False], None, [False, True]),
        (["no", "yes"], None, ["no", "yes"]),
        (["no", "yes"], ["maybe", "no", "yes"], ["maybe", "no", "yes"]),
        ([1.0, 2.0], None, [1.0, 2.0]),
        (pd.array([0, 1], dtype="Int64"), None, [0, 1]),
        (pd.array([True, False], dtype="boolean"), None, [False, True]),
        (pd.Categorical(["b", "a"]), None, ["a", "b"]),
    ],
)
def test_labels_are_booleans_text_or_numbers(labels: Any, classes: Any, kind: list[Any]) -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0], "y": labels})
    model = MonitoredModel(nn.Linear(2, 8), nn.Linear(8, len(kind)), frame, target="y", classes=classes)
    assert model.classes_.tolist() == kind
    assert set(model.predict(frame).tolist()) <= set(kind)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([2, 1, 0], "not sorted.*put the head's outputs in that order"),
        ([0, 0, 1], "not sorted"),
        ([0, 2], "1 is a label of the reference, and not among"),
        (["0", "1"], "not of the kind"),
        ([False, True], "not of the kind"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        MonitoredModel(nn.Linear(4, 8), nn.Linear(8, len(classes)), rows(2), target="y", classes=classes)


def test_more_columns_than_a_table_has_are_refused() -> None:
    wide = pd.DataFrame(np.zeros((2, 1_600)), columns=[f"c{i}" for i in range(1_600)]).assign(y=[0, 1])
    with pytest.raises(InputError, match="1600 columns and 2 classes are more than"):
        MonitoredModel(nn.Linear(1_600, 2), nn.Linear(2, 2), wide, target="y")
