import type { Migration } from '../base/database.ts';

/**
 * The register. Nothing in it is ever overwritten or removed: what was known on any past day can be shown again.
 * Patients are HMACs (`alias.name`) and sealed boxes; days are Asia/Tokyo calendar days as text.
 */
export const gateMigration: Migration = {
  part: 'gate',
  steps: [
    `
    -- One row a name-giving system's patient. Several subjects of one person share a root; a merge repoints roots.
    CREATE TABLE subject(
      id INTEGER PRIMARY KEY,
      root INTEGER NOT NULL,
      united INTEGER NOT NULL DEFAULT 0,         -- 1: has, or had, others of its root; most have none, and nobody looks
      public_id BLOB NOT NULL UNIQUE             -- what producers see; an HMAC of the first name
    ) STRICT;
    CREATE INDEX subject_root ON subject(root);  -- a stop covers every subject of the root

    CREATE TABLE alias(
      name BLOB PRIMARY KEY,                     -- HMAC(index key; authority, normalized id)
      subject INTEGER NOT NULL REFERENCES subject(id),
      sealed BLOB NOT NULL                       -- {authority,id,normalized} under the register key
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX alias_subject ON alias(subject);

    CREATE TABLE merge(
      id INTEGER PRIMARY KEY,
      prior INTEGER NOT NULL, surviving INTEGER NOT NULL,
      prior_root INTEGER NOT NULL,               -- as it was before, so that a wrong merge can be understood
      at INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE notice_version(
      version TEXT PRIMARY KEY, basis TEXT NOT NULL, categories TEXT NOT NULL, from_day TEXT NOT NULL,
      recorded_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE notice(
      subject INTEGER NOT NULL REFERENCES subject(id), version TEXT NOT NULL, notified_on TEXT NOT NULL,
      recorded_at INTEGER NOT NULL,
      PRIMARY KEY (subject, version)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE stop(
      id INTEGER PRIMARY KEY,
      subject INTEGER NOT NULL REFERENCES subject(id),
      basis TEXT NOT NULL,                       -- 'all', or one basis
      stopped_on TEXT NOT NULL,
      recorded_at INTEGER NOT NULL,
      withdrawn_at INTEGER
    ) STRICT;
    CREATE INDEX stop_in_force ON stop(subject) WHERE withdrawn_at IS NULL;

    CREATE TABLE filing(
      id INTEGER PRIMARY KEY,
      producer TEXT NOT NULL, basis TEXT NOT NULL, categories TEXT NOT NULL, from_day TEXT NOT NULL,
      recorded_at INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE feed(
      name TEXT PRIMARY KEY, as_of INTEGER NOT NULL, row_count INTEGER NOT NULL, recorded_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE register(
      one INTEGER PRIMARY KEY CHECK (one = 1),
      version INTEGER NOT NULL,                  -- grows with every change that can change a verdict
      blocked TEXT                               -- why shipping is paused until a person looks: an unreadable stop
    ) STRICT;
    INSERT INTO register VALUES (1, 0, NULL);
    `,
  ],
};
