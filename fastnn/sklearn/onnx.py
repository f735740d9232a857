"""The estimators as ONNX graphs, with what they do to a table before the network and to its outputs after it.

`to_onnx` makes a model of one estimator; `register` tells skl2onnx how to convert them, so that it can convert pipelines that have them.
Numbers are float32 in the networks and float64 before them; outputs agree with the estimator's to rounding.
"""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..core.atomic_files import replacing
from ..io.onnx_export import nodes_of
from ..io.onnx_format import MODEL, encode, tensor
from .mlp_base import BaseMLP
from .mlp_classifier import MLPClassifier
from .mlp_regressor import MLPRegressor
from .tabular_base import BaseTabular
from .tabular_classifier import TabularClassifier
from .tabular_regressor import TabularRegressor

__all__ = ["register", "to_onnx"]

_OPSET, _ML_OPSET, _IR_VERSION = 18, 3, 8


def to_onnx(estimator, path=None):
    """An estimator as an ONNX model, which needs nothing else to run.

    Its input is ``X``, float32 [rows, n_features], or where the estimator was fitted on a table with categories that are texts, one input
    [rows, 1] for each column, of its name: texts for categories, float32 for numbers. A classifier has the outputs ``label`` and
    ``probabilities``, what `predict` and `predict_proba` give (of a hinge loss the scores); a regressor has ``variable``, [rows, outputs].

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, TabularClassifier or TabularRegressor
        A fitted one.
    path : str or os.PathLike, optional
        A file to write, which appears whole or not at all.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ImportError
        If the package onnx is not installed: ``pip install fastnn[onnx]``.
    TypeError, ValueError
        If it is another estimator, or its classes are neither integers nor texts.
    sklearn.exceptions.NotFittedError
        If it has not been fitted.

    Examples
    --------
    ::

        from fastnn.sklearn import TabularClassifier
        from fastnn.sklearn.onnx import to_onnx

        to_onnx(TabularClassifier().fit(X, y), "classifier.onnx")
        session = onnxruntime.InferenceSession("classifier.onnx")
        label, probabilities = session.run(None, {"X": X.astype(np.float32)})
    """
    _check(estimator)
    graph = _Graph()
    columns = estimator._encoder.columns if isinstance(estimator, BaseTabular) else []
    if any(c["kind"] == "category" and not all(map(_is_number, c["keys"])) for c in columns):
        names = getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(len(columns))])
        inputs = [(str(n), 1, "number" if c["kind"] == "number" else "text") for n, c in zip(names, columns)]
    else:
        inputs = [("X", estimator.n_features_in_, "number")]
    model = graph.model(estimator, inputs)
    if path is not None:
        with replacing(path) as file:
            file.write(model.SerializeToString())
    return model


def register():
    """Tell skl2onnx how the estimators are converted: ``skl2onnx.to_onnx(pipeline, X)`` then takes pipelines that have them. Needs skl2onnx
    (``pip install skl2onnx``). It may be called again.

    Examples
    --------
    ::

        import skl2onnx
        from fastnn.sklearn import TabularClassifier, onnx

        onnx.register()
        model = skl2onnx.to_onnx(TabularClassifier().fit(X, y), X[:1].astype(np.float32), options={"zipmap": False})
    """
    from skl2onnx import update_registered_converter

    for kind in (MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor):
        options = {"zipmap": [True, False, "columns"]} if hasattr(kind, "predict_proba") or kind is MLPClassifier else {}
        update_registered_converter(kind, f"Fastnn{kind.__name__}", _shapes, _convert, options=options)


def _onnx():
    try:
        import onnx
    except ImportError as error:
        raise ImportError("fastnn.sklearn.onnx needs the package onnx: pip install fastnn[onnx]", name="onnx") from error
    return onnx


def _check(estimator):
    if not isinstance(estimator, (BaseMLP, BaseTabular)):
        raise TypeError(f"estimator: expected one of fastnn.sklearn, got {type(estimator).__name__}")
    check_is_fitted(estimator)
    classes = getattr(estimator, "classes_", None)
    if classes is not None and not (classes.dtype.kind in "iu" or all(isinstance(c, str) for c in classes.tolist())):
        raise ValueError(f"classes_: expected integers or texts, which ONNX's labels are, got {classes!r:.60}")


def _is_number(key):
    try:
        float(key)
    except ValueError:
        return False
    return True


# ---- skl2onnx's side ----


def _shapes(operator):
    from skl2onnx.common import data_types

    estimator = operator.raw_operator
    _check(estimator)
    rows = operator.inputs[0].get_first_dimension()
    if not hasattr(estimator, "classes_"):
        operator.outputs[0].type = data_types.FloatTensorType([rows, _Graph.outputs_of(estimator)])
        return
    text, several = estimator.classes_.dtype.kind not in "iu", isinstance(estimator, MLPClassifier) and estimator._several()
    label = data_types.Int64TensorType if several or not text else data_types.StringTensorType
    operator.outputs[0].type = label([rows, len(estimator.classes_)] if several else [rows])
    operator.outputs[1].type = data_types.FloatTensorType([rows, _Graph.outputs_of(estimator)])


def _convert(scope, operator, container):
    from skl2onnx.common.data_types import StringTensorType
    from skl2onnx.helpers import add_onnx_graph

    inputs = [
        (f"input{i}", v.type.shape[1] if len(v.type.shape) > 1 else 1, "text" if isinstance(v.type, StringTensorType) else "number")
        for i, v in enumerate(operator.inputs)
    ]
    add_onnx_graph(scope, operator, container, _Graph().model(operator.raw_operator, inputs))


# ---- the graph ----


class _Graph:
    """Collects nodes. Values are known by their names."""

    def __init__(self):
        self._onnx = _onnx()
        self.nodes, self.initializers, self._count = [], [], 0

    def add(self, kind, *inputs, outputs=1, domain="", **attributes):
        names = [f"value{self._count + i}" for i in range(outputs)]
        self._count += outputs
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, name=f"{kind}{len(self.nodes)}", domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values, dtype=np.float32):
        name = f"constant{len(self.initializers)}"
        self.initializers.append(self._onnx.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def cast(self, x, dtype):
        return self.add("Cast", x, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def model(self, estimator, inputs):
        """The whole of it. inputs: (name, columns, "number" or "text")."""
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        found = self._mlp(estimator, inputs) if isinstance(estimator, BaseMLP) else self._tabular(estimator, inputs)
        given = [helper.make_tensor_value_info(name, kinds.STRING if kind == "text" else kinds.FLOAT, [None, n]) for name, n, kind in inputs]
        outputs = []
        for name, value in zip(("label", "probabilities") if len(found) > 1 else ("variable",), found):
            self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
            text = name == "label" and estimator.classes_.dtype.kind not in "iu"
            several = name == "label" and isinstance(estimator, MLPClassifier) and estimator._several()
            kind = kinds.FLOAT if name != "label" else kinds.STRING if text and not several else kinds.INT64
            width = None if name == "label" and not several else self.outputs_of(estimator)
            outputs.append(helper.make_tensor_value_info(name, kind, [None] if width is None else [None, width]))
        graph = helper.make_graph(self.nodes, "estimator", given, outputs, self.initializers)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        return helper.make_model(graph, producer_name="fastnn", opset_imports=opsets, ir_version=_IR_VERSION)

    @staticmethod
    def outputs_of(estimator):
        """The columns of the last output."""
        if hasattr(estimator, "classes_"):
            scores = isinstance(estimator, MLPClassifier) and not hasattr(estimator, "predict_proba")
            return estimator.n_outputs_ if scores else len(estimator.classes_)
        return 1 if getattr(estimator, "_levels", ()) else estimator.n_outputs_

    def network(self, model, x):
        """A network's outputs; its values and arrays are renamed."""
        prefix = f"network{len(self.nodes)}_"
        nodes, arrays, *_ = nodes_of(model)
        data = encode({"graph": {"node": nodes, "initializer": [tensor(n, a) for n, a in arrays.items()]}}, MODEL)
        graph = self._onnx.ModelProto.FromString(data).graph
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [x if name == "x" else prefix + name for name in names]
            node.name = prefix + node.name
        for array in graph.initializer:
            array.name = prefix + array.name
        self.nodes += graph.node
        self.initializers += graph.initializer
        return prefix + "y"

    def labels(self, numbers, classes):
        """Of numbers of classes."""
        if classes.dtype.kind in "iu":
            return self.add("Gather", self.constant(classes, np.int64), numbers)
        keys = list(range(len(classes)))
        return self.add("LabelEncoder", numbers, domain="ai.onnx.ml", keys_int64s=keys, values_strings=[str(c) for c in classes])

    # ---- the perceptron ----

    def _mlp(self, e, inputs):
        parts = [self.cast(name, np.float32) for name, _, _ in inputs]
        y = self.network(e.to_model(), parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1))
        if isinstance(e, MLPRegressor):
            return [self.add("Exp", y) if e._counts() else y]
        over = self.add("Greater", y, self.constant(e._limit()))
        if e._chosen_by_largest():
            label = self.labels(self.add("ArgMax", y, axis=1, keepdims=0), e.classes_)
            return [label, self.add("Softmax", y, axis=1) if hasattr(e, "predict_proba") else y]
        if e._several():
            return [self.cast(over, np.int64), self.add("Sigmoid", y) if hasattr(e, "predict_proba") else y]
        number = self.add("Squeeze", self.cast(over, np.int64), self.constant([1], np.int64))
        if len(e.classes_) == 1:
            number = self.add("Mul", number, self.constant(0, np.int64))
        label = self.labels(number, e.classes_)
        if not hasattr(e, "predict_proba"):
            return [label, y]
        yes = self.add("Sigmoid", y)
        return [label, self.add("Concat", self.add("Sub", self.constant(1), yes), yes, axis=1)]

    # ---- the networks for tables ----

    def _tabular(self, e, inputs):
        x = self.encoded(e._encoder, inputs)
        outputs = [self.network(model, x) for model in e._models]
        if isinstance(e, TabularClassifier):
            p = self.add("Mean", *(self.add("Softmax", y, axis=1) for y in outputs))
            if len(e.classes_) == 1:
                p = self.add("Gather", self.add("Add", self.add("Mul", p, self.constant(0)), self.constant(1)), self.constant([0], np.int64), axis=1)
            return [self.labels(self.add("ArgMax", p, axis=1, keepdims=0), e.classes_), p]
        if e._range is not None:
            low, high = (self.constant(limit) for limit in e._range)
            outputs = [self.add("Max", self.add("Min", y, high), low) for y in outputs]
        y = self.cast(self.add("Mean", *outputs), np.float64)
        y = self.add("Add", self.add("Mul", y, self.constant(e._deviation, np.float64)), self.constant(e._mean, np.float64))
        y = self.cast(y, np.float32)
        if e._levels:
            count = self.constant([len(e._levels)], np.int64)
            y, _ = self.add("TopK", y, count, outputs=2, axis=1, largest=0, sorted=1)
            place = int(np.argsort(np.argsort(e._levels))[e._middle()])
            y = self.add("Gather", y, self.constant([place], np.int64), axis=1)
        return [y]

    def encoded(self, encoder, inputs):
        """What `TableEncoder.transform` makes of the columns."""
        columns = []  # (value [rows, 1], "number" or "text")
        for name, count, kind in inputs:
            for i in range(count):
                columns.append((name if count == 1 else self.add("Gather", name, self.constant([i], np.int64), axis=1), kind))
        if len(columns) != len(encoder.columns):
            raise ValueError(f"inputs: expected {len(encoder.columns)} columns, as the estimator was fitted on, got {len(columns)}")
        parts = []
        for (x, kind), column in zip(columns, encoder.columns):
            if column["kind"] == "number":
                if kind == "text":
                    raise ValueError(f"inputs: expected numbers for a column that had numbers in training, got texts in {x!r}")
                found = self.numbers(self.cast(x, np.float64), column)
            else:
                found = [self.category(x, kind, column["keys"], encoder.is_coded(column))]
            parts += found
        whole = parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)
        if (np.diff(encoder.order) < 0).any():
            whole = self.add("Gather", whole, self.constant(encoder.order, np.int64), axis=1)
        return self.cast(whole, np.float32)

    def numbers(self, x, column):
        """z / √(1 + (z / 3)²) of z = (x - center) · factor, 0 where it is missing; and whether it is."""
        z = self.add("Mul", self.add("Sub", x, self.constant(column["center"], np.float64)), self.constant(column["factor"], np.float64))
        third = self.add("Div", z, self.constant(3, np.float64))
        root = self.add("Sqrt", self.add("Add", self.add("Mul", third, third), self.constant(1, np.float64)))
        missing = self.add("IsNaN", x)
        z = self.add("Where", missing, self.constant(0, np.float64), self.add("Div", z, root))
        if not column["indicator"]:
            return [z]
        return [z, self.add("Where", missing, self.constant(1, np.float64), self.constant(-1, np.float64))]

    def category(self, x, kind, keys, coded):
        """A column for each category, of two one of -1 and 1; 0 for others. Or one of codes, and -1 for others."""
        if not keys:
            text = kind == "text"
            any_ = self.add("OneHotEncoder", x, domain="ai.onnx.ml", cats_strings=["0"], zeros=1) if text else self.add("IsNaN", x)
            shaped = self.add("Reshape", any_, self.constant([-1, 1], np.int64))
            return self.add("Mul", self.cast(shaped, np.float64), self.constant(0, np.float64))
        if kind == "text":
            hot = self.add("OneHotEncoder", x, domain="ai.onnx.ml", cats_strings=list(keys), zeros=1)
            hot = self.add("Reshape", hot, self.constant([-1, len(keys)], np.int64))
        else:
            numbers = [float(k) if _is_number(k) else np.nan for k in keys]  # NaN is equal to nothing
            hot = self.add("Equal", self.cast(x, np.float32), self.constant([numbers]))
        hot = self.cast(hot, np.float64)
        if coded:
            return self.add("Sub", self.add("MatMul", hot, self.constant(np.arange(1, len(keys) + 1)[:, None], np.float64)), self.constant([1], np.float64))
        return hot if len(keys) != 2 else self.add("MatMul", hot, self.constant([[-1], [1]], np.float64))
