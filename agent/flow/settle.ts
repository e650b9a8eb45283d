import { createHash } from 'node:crypto';
import { type Delivery, needsPayload, retracted } from '../buffer/deliveries.ts';
import { type Parcel, type ParcelState, stateAfter } from '../buffer/parcels.ts';
import type { SubjectId } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import type { Receipt } from '../model/wire.ts';
import { freePacked, retract } from './enforce.ts';
import { type AfterCommit, nothingAfter, type ProducerRow, type Store } from './store.ts';

/** A receipt whose signature, digest, sequence and place in the chain have been verified. */
export interface VerifiedReceipt {
  readonly receipt: Receipt;
  readonly jws: string;
}

/**
 * Makes a producer's receipt true, in one transaction with its place in the chain. `stored` writes the provision
 * record (Art. 54); `opened` is the only thing that destroys payloads; `rejected` keeps them for a person to decide.
 * The same receipt again changes nothing.
 *
 * Crash points: `settle:written` (rolled back; the receipt is fetched again), `settle:committed`.
 */
export function settle(store: Store, producer: ProducerRow, { receipt, jws }: VerifiedReceipt): AfterCommit {
  const after = store.db
    .transaction(() => {
      const done = nothingAfter();
      const last = store.parcels.lastReceipt(producer.id)?.sequence ?? 0;
      if (receipt.receiptSequence <= last) return done;
      const at = store.time.now();
      const digest = createHash('sha256').update(jws).digest('hex');
      store.parcels.addReceipt(producer.id, { sequence: receipt.receiptSequence, jws, digest, at });
      const parcel = store.parcels.byPid(receipt.parcelId);
      // One that a backup knew only before it was published is, after a restore, another parcel's past: what was in it
      // is ready again, and sent under the same record ids.
      if (parcel && parcel.statement !== null) apply(store, producer, parcel, { receipt, digest, at, after: done });
      store.reached('settle:written');
      return done;
    })
    .immediate();
  store.reached('settle:committed');
  return after;
}

interface Settlement {
  readonly receipt: Receipt;
  readonly digest: string;
  readonly at: Instant;
  readonly after: AfterCommit;
}

function apply(store: Store, producer: ProducerRow, parcel: Parcel, settlement: Settlement): void {
  const { receipt, at } = settlement;
  if (hasEnded.has(parcel.state)) return;
  // Whoever says `opened` or `rejected` has had it: what left is on record whatever order the answers come in.
  if (parcel.storedAt === null) storeParcel(store, producer, parcel, settlement);
  if (receipt.status === 'opened') openParcel(store, parcel, settlement);
  else if (receipt.status === 'rejected') rejectParcel(store, parcel, settlement);
  store.parcels.move(parcel.id, stateAfter[receipt.status], { at });
}

/** After these a further receipt changes nothing but the chain. A void one may yet turn out to have arrived. */
const hasEnded: ReadonlySet<ParcelState> = new Set(['opened', 'rejected']);

function storeParcel(store: Store, producer: ProducerRow, parcel: Parcel, { digest, at, after }: Settlement): void {
  const { deliveries, ledger } = store;
  const stopped = deliveries.ofParcel(parcel.id).filter(({ state }) => state === 'stopped');
  for (const delivery of deliveries.ofParcel(parcel.id)) {
    if (delivery.state === 'packed') deliveries.move(delivery, 'stored', delivery.reason);
  }
  const head = ledger.append('provision', at, {
    parcel: parcel.pid,
    producer: producer.name,
    sequence: parcel.sequence,
    records: parcel.records,
    receipt: digest,
  });
  if (parcel.provision) ledger.addProvision(parcel.pid, head.seq, parcel.provision);
  takeBack(store, producer, parcel, notYetRetracted(stopped), at);
  for (const delivery of stopped) deliveries.move(delivery, 'stored', retracted);
  after.files.push(parcel.pid);
  after.abort.push(parcel.pid);
}

function notYetRetracted(deliveries: readonly Delivery[]): Delivery[] {
  return deliveries.filter(({ reason }) => reason !== retracted);
}

/** Whoever said no after the last byte had left: what arrived, or may have, is retracted, person by person. */
function takeBack(
  store: Store,
  producer: ProducerRow,
  parcel: Parcel,
  tooLate: readonly Delivery[],
  at: Instant,
): void {
  const byRoot = new Map<SubjectId, string[]>();
  for (const { record } of tooLate) {
    const head = store.records.head(record);
    if (!head || head.subject === null) continue;
    const root = store.subjects.rootOf(head.subject);
    byRoot.set(root, [...(byRoot.get(root) ?? []), head.rid.toString('hex')]);
  }
  for (const [root, recordIds] of byRoot) {
    retract(store, producer, root, { recordIds, parcelIds: new Set([parcel.pid]) }, at);
  }
}

function openParcel(store: Store, parcel: Parcel, { receipt, at, after }: Settlement): void {
  for (const delivery of store.deliveries.ofParcel(parcel.id)) {
    if (delivery.state !== 'stored') continue;
    store.deliveries.move(delivery, 'opened', delivery.reason);
    const isNeeded = store.deliveries.of(delivery.record).some(needsPayload);
    const spooled = isNeeded ? undefined : store.records.destroy(delivery.record);
    if (spooled) after.spool.push(spooled);
  }
  store.ledger.append('opened', at, { parcel: parcel.pid, sequence: parcel.sequence, entries: receipt.entries });
}

function rejectParcel(store: Store, parcel: Parcel, { receipt, at }: Settlement): void {
  for (const delivery of store.deliveries.ofParcel(parcel.id)) {
    if (delivery.state !== 'stored') continue;
    // Nothing is left here of what was retracted, so there is nothing to decide about.
    if (delivery.reason === retracted) store.deliveries.move(delivery, 'stopped', retracted);
    else store.deliveries.move(delivery, 'rejected', 'rejected');
  }
  store.ledger.append('rejected', at, { parcel: parcel.pid, sequence: parcel.sequence, reason: receipt.reason });
}

/**
 * The producer has confirmed that a parcel will never be stored. Its fellow travellers may be packed anew. Where the
 * receiver could not promise that, and its last byte may have arrived, whoever stopped is retracted as well.
 */
export function settleVoid(
  store: Store,
  producer: ProducerRow,
  parcelId: number,
  answer: { readonly atomic: boolean },
): AfterCommit {
  return store.db
    .transaction(() => {
      const after = nothingAfter();
      const parcel = store.parcels.get(parcelId);
      if (!parcel || parcel.state !== 'voiding') return after;
      const at = store.time.now();
      const mayHaveArrived = !answer.atomic && parcel.bytesSent >= (parcel.bytes ?? 0);
      const stopped = store.deliveries.ofParcel(parcel.id).filter(({ state }) => state === 'stopped');
      store.parcels.move(parcel.id, 'void', { at });
      freePacked(store, parcel.id);
      store.ledger.append('void', at, { parcel: parcel.pid, reason: parcel.reason, sent: parcel.bytesSent });
      if (mayHaveArrived) {
        takeBack(store, producer, parcel, notYetRetracted(stopped), at);
        for (const delivery of stopped) store.deliveries.move(delivery, 'stopped', retracted);
      }
      after.files.push(parcel.pid);
      return after;
    })
    .immediate();
}
