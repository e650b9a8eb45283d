/**
 * What the intake remembers. No patient data: parcels stay sealed, a retraction's detail stays encrypted, and a
 * record id is the agent's HMAC, which means nothing without its key.
 */
import type { Migration } from '../../agent/base/database.ts';

/** In the data folder. */
export const databaseFile = 'intake.sqlite';

export const intakeMigration: Migration = {
  part: 'intake',
  steps: [
    `
    CREATE TABLE agent(
      code           TEXT PRIMARY KEY,
      -- Ed25519 public key (JWK x), pinned at the first hello or registered beforehand.
      key_x          TEXT,
      epoch          INTEGER NOT NULL DEFAULT 0,
      -- The last ledger head witnessed, and the epoch it was told in.
      ledger_epoch   INTEGER NOT NULL DEFAULT 0,
      ledger_seq     INTEGER,
      ledger_hash    TEXT,
      heartbeat_seq  INTEGER NOT NULL DEFAULT 0,
      heartbeat_at   INTEGER,
      heartbeat_body TEXT,
      hello_at       INTEGER,
      -- Kept here because counting a hospital's rows of ten years at each announcement would be felt.
      parcel_count   INTEGER NOT NULL DEFAULT 0,
      sequence_max   INTEGER NOT NULL DEFAULT 0,
      stored_at      INTEGER
    ) STRICT, WITHOUT ROWID;

    -- One row a parcel id for ever; 'void' rows are the tombstones.
    CREATE TABLE parcel(
      agent     TEXT NOT NULL REFERENCES agent(code),
      parcel_id TEXT NOT NULL,
      state     TEXT NOT NULL CHECK(state IN ('receiving','stored','opened','rejected','void')),
      epoch     INTEGER,
      sequence  INTEGER,
      bytes     INTEGER NOT NULL,
      statement TEXT,
      -- Bytes that survive a power cut: what HEAD tells.
      received  INTEGER NOT NULL DEFAULT 0,
      -- Times opening was begun without an answer, and when last: a parcel that kills the process must not do so again
      -- and again.
      attempts  INTEGER NOT NULL DEFAULT 0,
      attempted_at INTEGER NOT NULL DEFAULT 0,
      at        INTEGER NOT NULL,
      PRIMARY KEY(agent, parcel_id)
    ) STRICT, WITHOUT ROWID;
    -- One parcel a sequence number. A voided one frees its number.
    CREATE UNIQUE INDEX parcel_sequence ON parcel(agent, epoch, sequence) WHERE state <> 'void';
    -- The gap count, from the index alone.
    CREATE INDEX parcel_by_sequence ON parcel(agent, sequence);
    -- The quota's sum, without touching what is done.
    CREATE INDEX parcel_waiting ON parcel(agent, state, bytes) WHERE state IN ('receiving','stored');
    -- The opener's queue.
    CREATE INDEX parcel_to_open ON parcel(at, parcel_id) WHERE state = 'stored';
    -- A tombstone keeps its length until its bytes are off the disk.
    CREATE INDEX parcel_to_bury ON parcel(agent) WHERE state = 'void' AND bytes > 0;

    CREATE TABLE receipt(
      agent            TEXT NOT NULL REFERENCES agent(code),
      receipt_sequence INTEGER NOT NULL,
      parcel_id        TEXT NOT NULL,
      status           TEXT NOT NULL CHECK(status IN ('stored','opened','rejected')),
      jws              TEXT NOT NULL,
      PRIMARY KEY(agent, receipt_sequence),
      UNIQUE(agent, parcel_id, status)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE retraction(
      agent         TEXT NOT NULL REFERENCES agent(code),
      retraction_id TEXT NOT NULL,
      jws           TEXT NOT NULL,
      receipt       TEXT NOT NULL,
      at            INTEGER NOT NULL,
      -- 0 open, -1 open because it cannot be read here, 1 done by the opener, 2 done by a person.
      applied       INTEGER NOT NULL DEFAULT 0,
      PRIMARY KEY(agent, retraction_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX retraction_open ON retraction(agent, at) WHERE applied <= 0;
    `,
  ],
};
