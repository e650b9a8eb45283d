import type { Migration } from '../base/database.ts';

/**
 * What was taken and is not yet delivered, and the tombstones of what was. In the clear are only row numbers, states,
 * sizes, times and configured names; keys are HMACs, facts and payloads are sealed.
 */
export const bufferMigration: Migration = {
  part: 'buffer',
  steps: [
    `
    CREATE TABLE source(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, lineage TEXT NOT NULL) STRICT;
    CREATE TABLE producer(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

    CREATE TABLE record(
      id INTEGER PRIMARY KEY,                    -- order of arrival; never used twice, for no row is ever removed
      rid BLOB NOT NULL UNIQUE,                  -- the record's id outside; begins with half of native, see buffer/identity.ts
      source INTEGER NOT NULL REFERENCES source(id),
      native BLOB NOT NULL,                      -- HMAC of lineage and native key
      version BLOB,                              -- HMAC of lineage and version key
      subject INTEGER,                           -- NULL: nobody's (a master), or not known yet (quarantine)
      also INTEGER,                              -- the other subject of a merge, judged too
      category TEXT NOT NULL,
      lane TEXT NOT NULL,
      op TEXT NOT NULL,
      bytes INTEGER NOT NULL,                    -- of prefix and body
      at INTEGER NOT NULL,
      quarantine TEXT,
      spool INTEGER NOT NULL,                    -- 1: the sealed payload is a file named by seal_id
      seal_id BLOB NOT NULL,
      wrapped_key BLOB,                          -- NULL: destroyed, and with it payload and facts
      facts BLOB,                                -- sealed, of a spooled payload
      payload BLOB                               -- up to 256 KiB, sealed with its facts; last: scans of the others stay short
    ) STRICT;
    CREATE INDEX record_subject ON record(subject) WHERE subject IS NOT NULL;   -- a stop touches one patient of a million
    CREATE INDEX record_also ON record(also) WHERE also IS NOT NULL;
    CREATE INDEX record_quarantine ON record(id) WHERE quarantine IS NOT NULL;

    CREATE INDEX record_spool ON record(seal_id) WHERE spool = 1;   -- orphans are looked for at every start

    CREATE TABLE delivery(
      record INTEGER NOT NULL REFERENCES record(id),
      producer INTEGER NOT NULL REFERENCES producer(id),
      state TEXT NOT NULL CHECK (state IN ('held','ready','packed','stored','opened','stopped','refused','expired','rejected')),
      lane TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      until INTEGER,                             -- held: when it is destroyed if it still may not leave
      reason TEXT,                               -- held: why; ended: by what
      parcel INTEGER,
      PRIMARY KEY (record, producer)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX delivery_ready ON delivery(producer, lane, record, bytes) WHERE state = 'ready';
    CREATE INDEX delivery_held ON delivery(record) WHERE state = 'held';
    CREATE INDEX delivery_until ON delivery(until) WHERE state = 'held';
    CREATE INDEX delivery_rejected ON delivery(producer) WHERE state = 'rejected';   -- few; sent again by a person's command
    CREATE INDEX delivery_parcel ON delivery(parcel) WHERE parcel IS NOT NULL;

    -- Counting by scan took 5.7 s at ten million rows. New deliveries are counted by the transaction that adds them, once
    -- for all of them (buffer/tally-sheet.ts): a trigger would cost as much as the row. Those that move, by the trigger.
    CREATE TABLE tally(
      producer INTEGER NOT NULL, source INTEGER NOT NULL, lane TEXT NOT NULL, state TEXT NOT NULL,
      n INTEGER NOT NULL, bytes INTEGER NOT NULL,
      PRIMARY KEY (producer, source, lane, state)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER delivery_moved AFTER UPDATE OF state, bytes ON delivery
    WHEN old.state <> new.state OR old.bytes <> new.bytes BEGIN
      UPDATE tally SET n = n - 1, bytes = bytes - old.bytes
        WHERE producer = old.producer AND lane = old.lane AND state = old.state
          AND source = (SELECT source FROM record WHERE id = old.record);
      INSERT INTO tally
        SELECT new.producer, record.source, new.lane, new.state, 1, new.bytes FROM record WHERE record.id = new.record
        ON CONFLICT DO UPDATE SET n = n + 1, bytes = bytes + excluded.bytes;
    END;

    -- The same for what is held, by reason: the first of a million held rows is asked for at every look at the status.
    CREATE TABLE held_tally(reason TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TRIGGER delivery_held_added AFTER INSERT ON delivery WHEN new.state = 'held' BEGIN
      INSERT INTO held_tally VALUES (new.reason, 1) ON CONFLICT DO UPDATE SET n = n + 1;
    END;
    CREATE TRIGGER delivery_held_moved AFTER UPDATE OF state, reason ON delivery
    WHEN (old.state = 'held' OR new.state = 'held') AND (old.state <> new.state OR old.reason IS NOT new.reason) BEGIN
      UPDATE held_tally SET n = n - 1 WHERE old.state = 'held' AND reason = old.reason;
      INSERT INTO held_tally SELECT new.reason, 1 WHERE new.state = 'held'
        ON CONFLICT DO UPDATE SET n = n + 1;
    END;

    CREATE TABLE source_state(
      source INTEGER NOT NULL, kind TEXT NOT NULL, key BLOB NOT NULL, mark INTEGER NOT NULL, sealed BLOB NOT NULL,
      PRIMARY KEY (source, kind, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX source_state_mark ON source_state(source, kind, mark);

    CREATE TABLE gap(
      id INTEGER PRIMARY KEY, source INTEGER NOT NULL, code TEXT NOT NULL,
      reference BLOB NOT NULL,                   -- HMAC, to close it by
      sealed BLOB NOT NULL, at INTEGER NOT NULL, closed_at INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX gap_open ON gap(source, reference) WHERE closed_at IS NULL;
    CREATE INDEX gap_waiting ON gap(id) WHERE closed_at IS NULL;                -- shown oldest first, years of closed ones aside

    CREATE TABLE parcel(
      id INTEGER PRIMARY KEY,
      pid TEXT NOT NULL UNIQUE,
      producer INTEGER NOT NULL REFERENCES producer(id),
      lane TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('packing','sealed','uploading','stored','opened','voiding','void','rejected')),
      sequence INTEGER NOT NULL,                 -- 1, 2, 3 … per producer among the published
      previous TEXT,
      register_version INTEGER NOT NULL,         -- as judged last
      judged_on TEXT NOT NULL,                   -- the day it was judged last, Asia/Tokyo
      records INTEGER NOT NULL, payload_bytes INTEGER NOT NULL,
      subjects INTEGER,
      bytes INTEGER, sha256 TEXT,                -- of the sealed file, once packed
      statement TEXT,                            -- the JWS beside it, once published
      bytes_sent INTEGER NOT NULL DEFAULT 0,     -- the most that may have left
      provision BLOB,                            -- sealed list of what is in it, for the provision record
      created_at INTEGER NOT NULL, published_at INTEGER, stored_at INTEGER, ended_at INTEGER,
      reason TEXT
    ) STRICT;
    CREATE INDEX parcel_state ON parcel(state, producer, id);
    CREATE INDEX parcel_stored ON parcel(producer, stored_at) WHERE stored_at IS NOT NULL;   -- when the last one was
    CREATE INDEX parcel_published ON parcel(producer, sequence) WHERE statement IS NOT NULL;

    CREATE TABLE receipt(
      producer INTEGER NOT NULL, sequence INTEGER NOT NULL, jws TEXT NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL,
      PRIMARY KEY (producer, sequence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE retraction(
      id TEXT PRIMARY KEY, producer INTEGER NOT NULL, subject INTEGER NOT NULL,
      sealed BLOB NOT NULL,                      -- a RetractionDetail under the register key
      at INTEGER NOT NULL,
      jws TEXT,                                  -- made at the first attempt, the same at every later one
      acknowledged_at INTEGER, receipt TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX retraction_open ON retraction(producer, at) WHERE acknowledged_at IS NULL;
    `,
  ],
};
