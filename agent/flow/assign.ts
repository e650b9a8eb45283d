import assert from 'node:assert';
import { randomUUID } from 'node:crypto';
import { dayJst } from '../base/clock.ts';
import type { Lane } from '../model/record.ts';
import { hasRoom } from '../parcel/limits.ts';
import type { RecordRow } from '../buffer/records.ts';
import type { ProducerRow, Store } from './store.ts';

export interface AssignOptions {
  readonly lane: Lane;
  /** The highest sequence the producer has seen, which is more than ours only after a restore. */
  readonly sequenceFloor?: number;
  /** Newest record to take: a run that took what came meanwhile would never end at a busy hospital. */
  readonly upTo?: number;
}

/**
 * Binds the oldest ready deliveries of one lane to a new parcel, as many as fit. Returns its row number, or undefined
 * when nothing is ready. One at a time for a producer, so that sequence numbers have no holes: while one was bound and
 * has no file yet (the disk was full, the window closed) it is that one again, and while one waits to be published
 * there is none.
 *
 * Crash points: `assign:written` (rolled back), `assign:committed` (a parcel without a file: void at start, its
 * deliveries ready again).
 */
export function assign(
  store: Store,
  producer: ProducerRow,
  { lane, sequenceFloor = 0, upTo = Number.POSITIVE_INFINITY }: AssignOptions,
): number | undefined {
  const { db, deliveries, gate, parcels, time } = store;
  const begun = parcels.inState('packing', producer.id)[0];
  if (begun) return begun.sha256 === null ? begun.id : undefined;
  const chosen = choose(store, producer, lane, upTo);
  if (chosen.records === 0) return undefined;
  const parcelId = db
    .transaction(() => {
      const last = parcels.lastPublished(producer.id);
      const at = time.now();
      const id = parcels.insert({
        pid: randomUUID(),
        producer: producer.id,
        lane,
        sequence: Math.max(last?.sequence ?? 0, sequenceFloor) + 1,
        previous: last?.pid ?? null,
        registerVersion: gate.version(),
        judgedOn: dayJst(at),
        records: chosen.records,
        payloadBytes: chosen.bytes,
        createdAt: at,
      });
      const bound = deliveries.bind({ producer: producer.id, lane, upTo: chosen.upTo }, id);
      assert(bound === chosen.records, 'what was chosen is not what was bound');
      store.reached('assign:written');
      return id;
    })
    .immediate();
  store.reached('assign:committed');
  return parcelId;
}

/** As many of the oldest as fit; `upTo` is the last of them. */
function choose(
  store: Store,
  producer: ProducerRow,
  lane: Lane,
  upTo: number,
): { records: number; bytes: number; upTo: RecordRow } {
  const chosen = { records: 0, bytes: 0, upTo: 0 };
  for (const next of store.deliveries.ready(producer.id, lane)) {
    if (next.record > upTo || !hasRoom(chosen, next)) break;
    chosen.records++;
    chosen.bytes += next.bytes;
    chosen.upTo = next.record;
  }
  return chosen;
}
