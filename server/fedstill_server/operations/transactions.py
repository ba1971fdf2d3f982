"""Transactions of a fleet's database, whose errors are ours: one line that names the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, MetaData
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from fedstill_server.operations.address import shown
from fedstill_server.operations.errors import OperationsError


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A context in which all or nothing is written; raises OperationsError where the database is gone."""
    with _in_one_line(engine), engine.begin() as connection:
        yield connection


def create_tables(engine: Engine, tables: MetaData) -> None:
    """Make the tables that are not there yet; raises OperationsError where the database is gone."""
    with _in_one_line(engine):
        tables.create_all(engine)


@contextmanager
def _in_one_line(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        problem = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:200]
        raise OperationsError(f"{shown(engine)}: the database does not answer: {problem}") from None
