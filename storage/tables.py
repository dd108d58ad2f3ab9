"""The tables. Times are Unix seconds; credits are whole; ids of Discord are its snowflakes."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
"""A self-numbering key: SQLite numbers only a column whose type is exactly INTEGER."""

# What each column of a job means stands in core.jobs.Job.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("interaction_id", BigInteger, nullable=False, unique=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("placeholder_id", BigInteger),
    Column("request", JSON, nullable=False),
    Column("provider", String(32), nullable=False),
    Column("model", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("hold", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("worker", String(16)),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("deadline", Double),
    Column("attempts", Integer, nullable=False),
    Column("body", JSON(none_as_null=True)),
    Column("submitted_at", Double),
    Column("provider_job_id", String(200)),
    Column("answer", JSON(none_as_null=True)),
    Column("result_url", Text),
    Column("cost", BigInteger),
    Column("cancel_requested_at", Double),
    Column("posting_at", Double),
    Column("message_id", BigInteger),
    Column("captured", BigInteger),
    Column("error", String(64)),
    Column("error_detail", Text, nullable=False),
    Column("ended_at", Double),
    Column("told_at", Double),
    UniqueConstraint("provider", "provider_job_id"),
    CheckConstraint(
        "state IN ('held', 'queued', 'submitting', 'generating', 'fetching', 'posting',"
        " 'done', 'failed', 'rejected', 'cancelled', 'expired', 'in_doubt')",
        name="state_known",
    ),
    CheckConstraint("hold > 0", name="hold_positive"),
    CheckConstraint("captured BETWEEN 0 AND hold", name="captured_within_hold"),
)

# The worker looks only at jobs that are not finished with: a handful among all that ever were.
Index(
    "ix_jobs_unsettled",
    jobs.c.due_at,
    sqlite_where=text("told_at IS NULL"),
    postgresql_where=text("told_at IS NULL"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("balance", BigInteger, nullable=False),
    Column("may_be_negative", Boolean, nullable=False),
    CheckConstraint("balance >= 0 OR may_be_negative", name="never_below_zero"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", BIG_ID, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("job_id", String(16), ForeignKey("jobs.id")),
    Column("note", Text, nullable=False),
    Column("at", Double, nullable=False),
    UniqueConstraint("job_id", "kind"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", BIG_ID, primary_key=True, autoincrement=True),
    Column("transfer_id", BIG_ID, ForeignKey("transfers.id"), nullable=False, index=True),
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount <> 0", name="not_zero"),
)
