import type { DeliveryState } from '../buffer/deliveries.ts';
import type { RecordHead } from '../buffer/records.ts';
import { TallySheet } from '../buffer/tally-sheet.ts';
import type { FiledCategory } from '../model/category.ts';
import { ConnectorError } from '../model/errors.ts';
import type { PatientName } from '../model/record.ts';
import { judge } from './judge.ts';
import { type AfterCommit, nothingAfter, type Store } from './store.ts';

/** What an operator knows of a record that the connector could not read. */
export interface ReleaseAs {
  readonly patient?: PatientName;
  readonly category?: FiledCategory;
}

/**
 * Lets a record out of quarantine and to the gate, which judges it like any other.
 *
 * @throws ConnectorError QUARANTINE_NOT_FOUND, QUARANTINE_NEEDS_PATIENT
 */
export function releaseQuarantined(store: Store, row: number, as: ReleaseAs): 'kept' | 'held' | 'refused' {
  return store.db
    .transaction(() => {
      const record = find(store, row);
      const subject = as.patient ? store.subjects.ensure(as.patient) : record.subject;
      if (subject === null) throw new ConnectorError('QUARANTINE_NEEDS_PATIENT', { row });
      const category = as.category ?? record.category;
      store.records.release(row, subject, category);
      const released = { ...record, subject, category };
      const at = store.time.now();
      store.ledger.append('quarantine', at, {
        row,
        act: 'release',
        subject: store.subjects.publicId(subject),
        category,
      });
      return deliver(store, released, at);
    })
    .immediate();
}

/** What has left, or is on its way, is not touched: a record can be damaged here after one producer has had it. */
const underway: ReadonlySet<DeliveryState> = new Set(['packed', 'stored', 'opened']);

function deliver(store: Store, record: RecordHead, at: number): 'kept' | 'held' | 'refused' {
  const sheet = new TallySheet();
  const states = store.producers.map((producer) => {
    const begun = store.deliveries.get({ record: record.id, producer: producer.id })?.state;
    if (begun !== undefined && underway.has(begun)) return begun;
    const verdict = judge(store, record, producer);
    const state = verdict.pass ? 'ready' : verdict.act === 'hold' ? 'held' : 'refused';
    const { lane, bytes } = record;
    const until = state === 'held' ? at + store.holdMs : null;
    const reason = verdict.pass ? null : verdict.reason;
    const delivery = { record: record.id, producer: producer.id, state, lane, bytes, until, reason } as const;
    if (begun !== undefined) store.deliveries.renew(delivery);
    else {
      store.deliveries.add(delivery);
      sheet.added(record.source, delivery);
    }
    return state;
  });
  sheet.write(store.deliveries);
  // Whoever it is has said no: the key goes now, a spooled file that nothing opens any more at the next start.
  if (states.every((state) => state === 'refused')) store.records.destroy(record.id);
  if (states.includes('ready')) return 'kept';
  return states.includes('held') ? 'held' : 'refused';
}

/** Destroys a quarantined record. @throws ConnectorError QUARANTINE_NOT_FOUND */
export function discardQuarantined(store: Store, row: number): AfterCommit {
  return store.db
    .transaction(() => {
      const after = nothingAfter();
      const { quarantine } = find(store, row);
      for (const delivery of store.deliveries.of(row)) {
        if (delivery.state === 'rejected') store.deliveries.move(delivery, 'refused', 'discarded');
      }
      const spooled = store.records.destroy(row);
      if (spooled) after.spool.push(spooled);
      store.ledger.append('quarantine', store.time.now(), { row, act: 'discard', reason: quarantine });
      return after;
    })
    .immediate();
}

function find(store: Store, row: number): RecordHead {
  const record = store.records.head(row);
  if (!record || record.quarantine === null) throw new ConnectorError('QUARANTINE_NOT_FOUND', { row });
  return record;
}
