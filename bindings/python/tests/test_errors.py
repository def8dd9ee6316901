from __future__ import annotations

import inspect

import pytest

import ditto
from ditto import DittoError, _errors, _ffi


def test_every_class_is_exported_and_has_one_code() -> None:
    classes = {kind for _, kind in inspect.getmembers(_errors, inspect.isclass) if issubclass(kind, DittoError)}
    assert {kind.__name__ for kind in classes} <= set(ditto.__all__)
    for code, kind in _errors._BY_CODE.items():
        assert kind.default_code == code
        assert kind("reason").code == code


def native(variant: str, code: str, *place: int) -> Exception:
    """An error as the generated module raises it."""
    error: Exception = getattr(_ffi.DittoError, variant)("r", code, *place)
    return error


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (native("Closed", "lifecycle/closed"), ditto.DittoClosedError),
        (native("Transaction", "store/nested-transaction"), ditto.DittoNestedTransactionError),
        (native("Store", "store/of-tomorrow"), ditto.DittoStoreError),
        (native("QueryFailed", "query/evaluation", 1, 2), ditto.DittoQueryError),
        (native("Sync", "mesh/of-tomorrow"), ditto.DittoSyncError),
        (native("Internal", "group/of-tomorrow"), DittoError),
        (_ffi.InternalError("a panic"), ditto.DittoInternalError),
    ],
    ids=repr,
)
def test_codes_choose_the_class(raised: Exception, kind: type[DittoError]) -> None:
    with pytest.raises(DittoError) as caught, _errors.native_errors:
        raise raised
    assert type(caught.value) is kind
    assert caught.value.code == getattr(raised, "code", "internal")
    assert caught.value.line == getattr(raised, "line", None)
    assert caught.value.__suppress_context__


def test_other_exceptions_pass() -> None:
    with pytest.raises(KeyError), _errors.native_errors:
        raise KeyError


def test_an_error_of_the_app_may_use_the_base_class() -> None:
    error = DittoError("why", code="app/own", line=3, column=4)
    assert str(error) == "DittoError(app/own): why (line 3, column 4)"
    assert (error.reason, error.code, error.line, error.column) == ("why", "app/own", 3, 4)
