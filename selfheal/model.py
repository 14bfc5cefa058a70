"""MonitoredModel: a frozen classifier, its reference, its policy and the one adapter it serves with."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.special  # noqa: F401  before torch, see selfheal.parts.preprocessing
import torch
from numpy.typing import NDArray
from torch import nn

from selfheal.adapter import Adapter
from selfheal.adapter_file import check_fits
from selfheal.errors import ArtifactError, InputError
from selfheal.input_map import bounded
from selfheal.parts import columns as kinds
from selfheal.parts import lists, network, words
from selfheal.parts.content import feed
from selfheal.parts.cut import check_dropped, take
from selfheal.parts.inputs import join
from selfheal.parts.path import softmax as softmax
from selfheal.parts.preprocessing import check_preprocessing
from selfheal.parts.signature import Signature
from selfheal.policy import Policy, check_name

Floats = NDArray[np.float64]


class MonitoredModel:
    """A PyTorch classifier that can be watched and healed. Immutable: healing gives a new object.

    Parameters
    ----------
    backbone
        Module, float32 [n, d_in] → [n, d]. Frozen; put to ``eval()``.
    head
        Module, [n, d] → logits [n, k], or [n] / [n, 1] for two classes. Frozen; put to ``eval()``. A Softmax,
        LogSoftmax or Sigmoid layer at its end is left out. With ``module``: the name of a part of it, or -1.
    reference
        Labelled rows that the model was not trained on, in time order where there is one: features and target. A column
        ``emb`` of lists of d numbers, an embedding say, becomes the columns ``emb_0`` to ``emb_{d-1}`` in its place;
        rows may then have either.
    target
        Name of the label column; may be left out when the policy names it.
    preprocess
        A fitted scikit-learn transformer from the feature columns to [n, d_in], or None for numeric columns.
    policy
        A file, a dict or a :class:`selfheal.policy.Policy`; None for one without rules.
    name
        The registered name; by default the policy's ``model``.
    adapter
        What it serves with; the identity by default.
    module
        In place of two modules: one, which is cut where its part ``head`` begins (-1: its last layer). That the parts
        answer as the module does is tried on the reference.
    inputs
        In place of ``preprocess``, for a network of several inputs: argument of its ``forward()`` → a fitted
        transformer, or a list of numeric columns; or a list of these in its order. ``forward()`` gets each as
        [n, columns] float32, int64 where it takes whole numbers alone (embeddings), [n] where it takes one column so.
    classes
        All labels that the head knows, sorted, where the reference lacks some.
    in_memory
        For a model that is never adopted: what adoption would refuse is not asked, but for what cannot be scored.
    as_stored
        For what opens a stored model: its parts were asked when it was adopted, and are taken as they are.

    Attributes
    ----------
    cut
        Where the network was cut, and what was left out of it.
    nulls
        Text column → what a missing value of it is in the reference: None, NaN or NA.
    digest
        SHA-256 of parameters, buffers and preprocessing: which adapters fit.
    manifest
        SHA-256 of the manifest that it was loaded by, which names all that was adopted; empty for one made in memory.

    Raises
    ------
    InputError
        If reference, network and policy do not fit together, or one of them cannot be adopted; the message names what,
        and the way out.

    Notes
    -----
    A network of torch's own layers is made in milliseconds. One with a ``forward()`` of its own is exported on trial: a
    tenth of a CPU second for a small one, and some four once a process; ``in_memory=True`` leaves that out.

    Examples
    --------
    >>> net = torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)
    >>> rows = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0], "y": ["no", "yes"]})
    >>> model = MonitoredModel(*net, reference=rows, target="y")
    >>> model.predict_proba(rows[["a", "b"]]).shape
    (2, 2)
    """

    def __init__(
        self,
        backbone: nn.Module | None = None,
        head: nn.Module | str | int | None = None,
        reference: pd.DataFrame | None = None,
        target: str | None = None,
        preprocess: Any = None,
        policy: Policy | Mapping[str, Any] | str | Path | None = None,
        name: str | None = None,
        adapter: Adapter | None = None,
        *,
        module: nn.Module | None = None,
        inputs: Mapping[str, Any] | Sequence[Any] | None = None,
        classes: Sequence[Any] | NDArray[Any] | None = None,
        in_memory: bool = False,
        as_stored: bool = False,
    ) -> None:
        self.policy = Policy.load(policy)
        self.name = name or self.policy.model
        if self.name is not None:
            check_name(self.name)
        if not isinstance(reference, pd.DataFrame) or not len(reference):
            raise InputError("reference is missing: a DataFrame of labelled rows that the model was not trained on")
        self.target = kinds.target_of(reference, target or self.policy.target)
        given: lists.Lists = {}
        if not as_stored:
            reference, given = lists.made_plain(reference, self.target)
            reference = kinds.plain(reference)
        labels = reference[self.target]
        if labels.isna().any():
            raise InputError(f"reference: {int(labels.isna().sum())} rows have no {self.target!r}; drop them")
        self.features: tuple[str, ...] = tuple(str(c) for c in reference.columns if c != self.target)
        self.classes_: NDArray[Any] = kinds.classes_of(labels, classes)
        self.reference = reference[list(self.features)].reset_index(drop=True)
        self.reference_labels = labels.reset_index(drop=True)
        self.dtypes: dict[str, str] = {c: kinds.kind(self.reference[c]) for c in self.features}
        self.nullable = frozenset(c for c in self.features if self.reference[c].isna().any())
        classes = tuple(self.classes_.tolist())
        self.signature = Signature(self.features, self.dtypes, self.nullable, self.target, classes, given)
        # A null of text is None, NaN or NA, and preprocessing that was fitted to one of them knows no other.
        texts = [c for c in self.features if c in self.nullable and self.dtypes[c] == "str"]
        self.nulls: dict[str, Any] = {c: self.reference[c][self.reference[c].isna()].iloc[0] for c in texts}
        self.policy.check(self.features, self.classes_.tolist(), kinds=None if as_stored else self.dtypes)
        if inputs is not None:
            rows = kinds.as_fitted(self.check_rows(self.reference), self.nulls)
            tensors = lists.spread_inputs(inputs, given)
            preprocess, module, backbone = join(tensors, preprocess, module, backbone, rows)
        self.preprocess = preprocess
        entered = self._entered(2 if as_stored else network.ROWS)
        with network.said():
            self.cut = take(module, backbone, head, entered, as_stored=as_stored)
        self.backbone, self.head = self.cut.backbone, self.cut.head
        self._check_width(entered[:2])
        if not as_stored:
            self._check_parts(entered, in_memory)
        self.digest = self._frozen_digest()
        self.manifest = ""
        self.adapter = self._fitting(adapter or Adapter())

    # ------------------------------------------------------------------ scoring

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """Class probabilities for raw rows.

        Parameters
        ----------
        frame : DataFrame [n, >= d] holding every feature column, in raw units; other columns are ignored.

        Returns
        -------
        float64 [n, k], columns in the order of ``classes_``.

        Raises
        ------
        InputError
            No DataFrame; or naming the missing column, or the column, row and value that cannot be scored.
        """
        rows = self.check_rows(frame)
        if rows.empty:  # nothing is asked of it, and a transformer refuses it
            return np.empty((0, len(self.classes_)))
        with words.named(self.input_of, self.reference, rows):
            return self.proba_of_units(self.adapter.input_map.apply(rows))

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Labels [n] for raw rows; by expected cost where the policy declares one."""
        return self.classes_[self.decide(self.predict_proba(frame))]

    def decide(self, proba: Floats) -> NDArray[np.int64]:
        """Class index [n] for probabilities [n, k]: the most likely, or the cheaper where costs are declared."""
        if self.policy.cost is not None:
            cost = self.policy.cost
            return np.asarray(proba[:, 1] * cost.false_negative >= proba[:, 0] * cost.false_positive, dtype=np.int64)
        return np.asarray(proba.argmax(axis=1), dtype=np.int64)

    def model_units(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Raw rows as the serving input map leaves them; what rules, signals and reports compare. No row is refused."""
        return bounded(self.adapter.input_map.apply(self.signature.spread_frame(frame)[list(self.features)]))

    def proba_of_units(self, units: pd.DataFrame) -> Floats:
        """Probabilities float64 [n, k] for rows in model units (ReflexiveLayer and logit offset applied)."""
        logits = self.logits_of_hidden(self.hidden_of_units(units))
        return softmax(logits)

    def hidden_of_units(self, units: pd.DataFrame) -> torch.Tensor:
        """The backbone's output float32 [n, d] for rows in model units, before the ReflexiveLayer."""
        with torch.inference_mode():
            hidden: torch.Tensor = self.backbone(torch.from_numpy(self.network_input(units)))
        return hidden.clone()

    def logits_of_hidden(self, hidden: torch.Tensor) -> Floats:
        """Logits float64 [n, k] of the backbone's output, through ReflexiveLayer, head and offset."""
        with torch.inference_mode():
            adapted = hidden if self.adapter.reflexive is None else self.adapter.reflexive(hidden)
            logits = self.head_logits(adapted).double().numpy()
        return logits if self.adapter.logit_offset is None else logits + self.adapter.logit_offset

    def logits_of_base(self, units: pd.DataFrame) -> Floats:
        """Logits float64 [n, k] of the frozen base alone for rows in model units: what every heal starts from."""
        with torch.inference_mode():
            logits: Floats = self.head_logits(self.hidden_of_units(units)).double().numpy()
        return logits

    def head_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The frozen head's logits [n, k]; gradients flow to ``hidden``. One output column means [0, z]."""
        raw = self.head(hidden)
        raw = raw.reshape(len(hidden), -1)
        return torch.cat([torch.zeros_like(raw), raw], dim=1) if raw.shape[1] == 1 else raw

    def network_input(self, units: pd.DataFrame) -> NDArray[np.float32]:
        """Rows in model units → float32 [n, d_in], through the frozen preprocessing."""
        columns = bounded(kinds.only(units, self.features))
        if self.preprocess is None:
            return np.ascontiguousarray(columns.to_numpy(dtype=np.float32))
        with np.errstate(over="ignore"):  # what 32 bits do not hold is infinite, and the network's answer says so
            made = kinds.transformed(self.preprocess, kinds.as_fitted(columns, self.nulls))
            return np.ascontiguousarray(kinds.dense(made), dtype=np.float32)

    def input_of(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Raw rows → float32 [n, d_in]: :meth:`network_input` of them in model units."""
        return self.network_input(self.adapter.input_map.apply(rows))

    # ------------------------------------------------------------------ rows

    def refused_words(self, frame: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
        """Per column of words or codes, the rows [n] that preprocessing refuses; columns it takes whole left out."""
        columns = [c for c in self.coded if c not in self.adapter.input_map.columns]
        return words.refused(self.network_input, self.reference, frame, columns)

    @cached_property
    def coded(self) -> tuple[str, ...]:
        """The columns that preprocessing may know value by value: words, and numbers of few values."""
        return () if self.preprocess is None else words.coded(self.reference)

    def check_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The feature columns of ``frame`` in order, numbers as numbers; see :meth:`Signature.checked`."""
        return self.signature.checked(frame)[0]

    # ------------------------------------------------------------------ adapters and integrity

    def with_adapter(self, adapter: Adapter) -> MonitoredModel:
        """The same frozen model serving with another adapter; this object is untouched.

        Raises
        ------
        ArtifactError
            If the adapter belongs to another base model or does not fit this one.
        """
        other = copy.copy(self)
        other.adapter = self._fitting(adapter)
        return other

    def with_policy(self, policy: Policy | Mapping[str, Any] | str | Path) -> MonitoredModel:
        """The same model under another policy, held against its columns first; a ``Policy`` may be in force already."""
        other = copy.copy(self)
        other.policy = Policy.load(policy)
        kinds = None if isinstance(policy, Policy) else self.dtypes
        other.policy.check(self.features, self.classes_.tolist(), kinds=kinds)
        return other

    @property
    def measured(self) -> frozenset[str]:
        """Columns that the policy declares as measurement, one by one or as the lists that they were given in."""
        named = set(self.policy.declare.measurement)
        return frozenset(c for c in self.features if c in named or lists.block_of(c) in named)

    def check_unchanged(self) -> None:
        """Compare backbone, head and preprocessing with the digest taken when this model was made.

        Raises
        ------
        ArtifactError
            If a parameter or buffer changed.
        """
        now = self._frozen_digest()
        if now != self.digest:
            raise ArtifactError(
                f"the frozen base model changed: its digest was {self.digest[:12]} and is {now[:12]}. Nothing may "
                "write to backbone, head or preprocessing (a train() call? a shared optimiser?); load it anew"
            )

    @cached_property
    def hidden_dim(self) -> int:
        """Width d of the backbone's output."""
        return int(self.hidden_of_units(self.reference.iloc[:1]).shape[1])

    def _fitting(self, adapter: Adapter) -> Adapter:
        check_fits(adapter, self.digest, self.dtypes, lambda: self.hidden_dim, len(self.classes_))
        return adapter.belonging_to(self.digest, adapter.base_version)

    # ------------------------------------------------------------------ what is taken

    def _entered(self, most: int) -> torch.Tensor:
        """What preprocessing makes of the reference's first rows, float32 [m, d_in]."""
        rows = self.check_rows(self.reference).iloc[:most]
        with network.said("preprocess cannot transform the reference's first rows", network.PREPROCESS):
            return torch.from_numpy(self.network_input(rows))

    def _check_width(self, entered: torch.Tensor) -> None:
        with network.said(), torch.inference_mode():
            width = int(self.head(self.backbone(entered)).reshape(len(entered), -1).shape[1])
        check_dropped(self.cut.dropped, width)
        if max(width, 2) != len(self.classes_):
            raise InputError(
                f"the head gives {width} logits, the reference's {self.target!r} has {len(self.classes_)} classes: "
                f"{self.classes_.tolist()}. If the head knows labels that the reference lacks, name all of them in "
                "classes="
            )

    def _check_parts(self, entered: torch.Tensor, in_memory: bool) -> None:
        """Refuse what cannot be served or healed, and, but for a model in memory, what adoption would refuse."""
        with network.said():
            network.check_network(self.backbone, self.head, entered)
        network.check_rows_alone(entered, self._entered(1))
        if in_memory:
            return
        kinds.refuse_many(self.features, len(self.classes_))
        if self.preprocess is not None:
            check_preprocessing(self.preprocess)
        network.check_storable(self.backbone, self.head, entered)

    def _frozen_digest(self) -> str:
        digest = hashlib.sha256()
        for part, module in (("backbone", self.backbone), ("head", self.head)):
            for name, tensor in sorted(module.state_dict().items()):
                array = tensor.detach().cpu().contiguous().numpy()
                digest.update(f"{part}.{name}:{array.dtype}:{array.shape}".encode())
                digest.update(array.tobytes())
        feed(digest, self.preprocess)
        return digest.hexdigest()

    def __repr__(self) -> str:
        is_of = f"{len(self.features)} features, classes {self.classes_.tolist()}, hidden {self.hidden_dim}"
        parts = [self.name or "unnamed", is_of, str(self.cut), f"adapter: {self.adapter.changed_part}"]
        return f"MonitoredModel({', '.join(part for part in parts if part)})"
