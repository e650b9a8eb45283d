/**
 * The queries the product prepares, as it prepares them, against the plan SQLite makes of them. One that scans a table
 * that grows with the years is found here and not in the third winter.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Db } from '../../agent/base/database.ts';
import { Flow } from '../flow/harness.ts';

/** Tables that grow with patients, records or time. */
const large = [
  'record',
  'delivery',
  'source_state',
  'alias',
  'subject',
  'notice',
  'stop',
  'parcel',
  'receipt',
  'retraction',
  'gap',
  'ledger',
  'provision',
];

/** Why these may begin at one end of a table: they read in pages, or one row, or it stays small after all. */
const mayScan: Readonly<Record<string, string>> = {
  'SELECT id, root FROM subject WHERE id > ? ORDER BY id LIMIT ?': 'pages',
  'SELECT max(id) AS id FROM record': 'the last row alone',
  'SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1': 'the last row alone',
  'SELECT count(*) FILTER (WHERE acknowledged_at IS NULL) AS open, count(acknowledged_at) AS acknowledged, min(at) FILTER (WHERE acknowledged_at IS NULL) AS oldest FROM retraction':
    'one row a person who stopped after delivery: hundreds in ten years',
};

/** Indexes over the few rows of a kind: reading one from end to end reads what is wanted. */
const partial = ['record_quarantine', 'gap_waiting', 'gap_open', 'delivery_ready', 'delivery_held', 'delivery_until'];

let flow: Flow;
let prepared: readonly string[] = [];

beforeAll(() => {
  const seen: string[] = [];
  const watch = (db: Db) => {
    const prepare = db.prepare.bind(db);
    db.prepare = (sql: string) => {
      seen.push(sql);
      return prepare(sql);
    };
  };
  flow = new Flow({ onDatabase: watch });
  prepared = [...new Set(seen)];
});
afterAll(() => flow.remove());

function planOf(sql: string): string[] {
  const { db } = flow.store;
  const values = db.prepare(`EXPLAIN QUERY PLAN ${sql}`);
  const names = [...sql.matchAll(/@(\w+)/g)].map(([, name = '']) => [name, null] as const);
  const count = sql.split('?').length - 1;
  const rows =
    names.length > 0 ? values.all(Object.fromEntries(names)) : values.all(...Array.from({ length: count }, () => null));
  return (rows as { detail: string }[]).map(({ detail }) => detail);
}

const squeezed = (sql: string) => sql.replaceAll(/\s+/g, ' ').trim();

it('sees the statements of every class', () => {
  expect(prepared.length).toBeGreaterThan(50);
});

it('has no statement that scans a table that grows', () => {
  const scans = prepared.flatMap((sql) =>
    planOf(sql)
      // A bare SEARCH is what SQLite calls a scan for the greatest value.
      .filter((step) => large.some((table) => new RegExp(`^(SCAN ${table}\\b|SEARCH ${table}$)`).test(step)))
      .filter((step) => !(squeezed(sql) in mayScan) && !partial.some((index) => step.endsWith(`INDEX ${index}`)))
      .map((step) => `${step}: ${squeezed(sql)}`),
  );
  expect(scans).toEqual([]);
});

it('sorts nothing it has read on the way of a record', () => {
  const sorts = prepared
    .filter((sql) => /\b(delivery|record|source_state)\b/.test(sql))
    .filter((sql) => planOf(sql).some((step) => step.includes('TEMP B-TREE')))
    .map(squeezed);
  // A person's records under either of two columns: a handful, made distinct.
  expect(sorts.filter((sql) => !sql.includes('UNION'))).toEqual([]);
});

it.each([
  ['a record by its id', 'FROM record WHERE rid = ?', 'sqlite_autoindex_record_1'],
  ['a record by its native key', 'FROM record WHERE rid BETWEEN ? AND ?', 'sqlite_autoindex_record_1'],
  ['the records of a patient', 'FROM record WHERE subject = ?', 'record_subject'],
  ['the merges of a patient', 'FROM record WHERE also = ?', 'record_also'],
  ['what is in quarantine', 'quarantine IS NOT NULL', 'record_quarantine'],
  ['whether a spool file is needed', 'spool = 1 AND seal_id = ?', 'record_spool'],
  ['what is ready, oldest first', "lane = ? AND state = 'ready' ORDER BY record", 'delivery_ready'],
  ['the oldest that is ready', "delivery.state = 'ready' ORDER BY delivery.record LIMIT 1", 'delivery_ready'],
  ['what is held, in slices', "delivery.state = 'held' AND delivery.record > ?", 'delivery_held'],
  ['what is ready, in slices', "delivery.state = 'ready' AND delivery.record > ?", 'delivery'],
  ['what has been held too long', "state = 'held' AND until <= ?", 'delivery_until'],
  ['the deliveries of a parcel', 'FROM delivery WHERE parcel = ?', 'delivery_parcel'],
  ['the deliveries of a parcel with their patients', 'WHERE delivery.parcel = ?', 'delivery_parcel'],
  ['a subject by its name', 'FROM alias WHERE name = ?', 'PRIMARY KEY'],
  ['the names of a subject', 'FROM alias WHERE subject = ?', 'alias_subject'],
  ['the subjects of a person', 'FROM subject WHERE root = ?', 'subject_root'],
  ['a stop in force', 'JOIN stop ON stop.subject = me.id', 'stop_in_force'],
  ['a stop in force of a family', 'JOIN stop ON stop.subject = kin.id', 'stop_in_force'],
  ['a family', 'JOIN subject AS kin ON kin.root = me.root', 'subject_root'],
  ['the notices of a person', 'JOIN notice ON notice.subject = me.id', 'PRIMARY KEY'],
  ['the notices of a family', 'JOIN notice ON notice.subject = kin.id', 'PRIMARY KEY'],
  ['one memory of a source', 'FROM source_state WHERE source = ? AND kind = ? AND key = ?', 'PRIMARY KEY'],
  ['the memories of a source below a mark', 'mark < ? ORDER BY mark', 'source_state_mark'],
  ['parcels by state', 'FROM parcel WHERE state = ? AND producer = ?', 'parcel_state'],
  ['the first that will be destroyed', "WHERE state = 'held' ORDER BY until LIMIT 1", 'delivery_until'],
  ['the parcel stored last', 'max(stored_at) AS at', 'parcel_stored'],
  ['the parcel published last', 'statement IS NOT NULL ORDER BY sequence DESC', 'parcel_published'],
  ['the receipt that came last', 'FROM receipt WHERE producer = ? ORDER BY sequence DESC', 'PRIMARY KEY'],
  ['open retractions', 'acknowledged_at IS NULL ORDER BY at', 'retraction_open'],
  ['a gap to be closed', 'UPDATE gap SET closed_at', 'gap_open'],
])('finds %s by an index made for it', (_, fragment, index) => {
  const found = prepared.filter((sql) => squeezed(sql).includes(fragment));
  expect(found.length).toBeGreaterThan(0);
  for (const sql of found) {
    const plan = planOf(sql).join('\n');
    expect(plan).toContain(index);
  }
});
