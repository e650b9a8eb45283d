/**
 * A buffer as years without a producer would leave it: millions of records, all of them ready. By SQL through the
 * product's own schema, for taking them one by one would last for hours.
 */
import { randomBytes } from 'node:crypto';
import type { Db } from '../../agent/base/database.ts';
import { Flow } from '../flow/harness.ts';

export interface Fill {
  readonly records: number;
  /** Each with as many records as the others, scattered over the whole time. */
  readonly patients: number;
}

/** A step through the patients that shares no divisor with their number. */
const stride = 7_368_787;

/** What of the schema would be slow to keep while filling, and is made anew behind it, exactly as it was. */
const pieces = `SELECT type, name, sql FROM sqlite_master
  WHERE tbl_name IN ('record', 'delivery') AND type IN ('index', 'trigger') AND sql IS NOT NULL`;

/** Opens a new state in `folder` and fills it. Who is told of 2025-01 may be provided; the first patient is one of them. */
export function fillQueue(folder: string, { records, patients }: Fill): void {
  const flow = new Flow({ folder });
  try {
    flow.filed();
    // The source and the first patient by the product, so that an ordinary offer finds both.
    const source = flow.store.names.source('ehr-feed').id;
    flow.told('1');
    if (records > 0) fill(flow.store.db, { source, records, patients });
  } finally {
    flow.close();
  }
}

/** The numbers of a patient's records begin with the patient's own. */
function fill(db: Db, { source, records, patients }: Fill & { source: number }): void {
  const made = db.prepare<[], { type: string; name: string; sql: string }>(pieces).all();
  // Without a journal: what is cut off is thrown away, and a million rows need not be written twice.
  db.pragma('journal_mode = OFF');
  db.pragma('synchronous = OFF');
  db.pragma('secure_delete = OFF');
  db.pragma('cache_size = -1000000');
  db.exec('BEGIN');
  for (const { type, name } of made) db.exec(`DROP ${type} ${name}`);
  const each = 'WITH RECURSIVE each(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < ?)';
  db.prepare(`${each} INSERT INTO subject(id, root, public_id) SELECT n, n, randomblob(16) FROM each WHERE n > 1`).run(
    patients,
  );
  db.prepare(
    `${each} INSERT INTO record(id, rid, source, native, version, subject, also, category, lane, op, bytes, at, quarantine,
       spool, seal_id, wrapped_key, facts, payload)
     SELECT n, randomblob(16), ?, randomblob(16), NULL, 1 + (n * ${stride}) % ?, NULL,
       'lab-result', 'text', 'INS', 100, ?, NULL, 0, randomblob(16), ?, NULL, ? FROM each`,
  ).run(records, source, patients, 1_795_000_000_000, randomBytes(60), randomBytes(200));
  db.exec(`INSERT INTO delivery SELECT id, 1, 'ready', lane, bytes, NULL, NULL, NULL FROM record`);
  db.exec(`INSERT INTO tally SELECT 1, source, lane, 'ready', count(*), sum(bytes) FROM record GROUP BY source, lane`);
  for (const { sql } of made) db.exec(sql);
  db.exec('COMMIT');
  db.pragma('journal_mode = WAL');
}
